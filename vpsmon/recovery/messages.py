"""The words of recovery, made last: nothing is decided by them. Each rule has the words for its own incidents.

Everything here takes fields and returns text; a test puts other words in their place and sees every decision unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vpsmon.core.text import clean, format_bytes, format_duration
from vpsmon.recovery.model import Action, Decision, Dependency, Incident, Question, Words

# What stands in recovery_state.json for `vpsmon status`: until when a change lasts.
UNTIL_RESTORE = "`vpsmon recover restore`"
UNTIL_NEXT_RUN = "the next run"
UNTIL_API_ANSWERS = "its API answers again"
_MEMORY_LOST = (
    "recovery_state.json was unreadable and is set aside: what was stopped, paused or raised before has to be looked "
    "after manually, and nothing is acted on for now"
)
_MANUAL = "manual action needed"
_OWNER_HAS_SPOKEN = "it is not as recovery left it: somebody has changed it since, so it stays as it is"
# What is to be done, and how it reads when it has been done.
_VERBS = {
    "restart_session": ("restart the WhatsApp session {name}", "restarted the WhatsApp session {name}"),
    "start_session": ("start the WhatsApp session {name}", "started the WhatsApp session {name}"),
    "start_sessions": (
        "start the WhatsApp sessions that ran before: {names}",
        "started the WhatsApp sessions that ran before ({names})",
    ),
    "restart_container": ("restart the container {name}", "restarted the container {name}"),
    "stop_container": ("stop the container {name}", "stopped the container {name}"),
    "start_container": ("start the container {name}", "started the container {name}"),
    "pause_workflows": ("pause the n8n workflows {names}", "paused the n8n workflows {names}"),
    "resume_workflows": ("activate the n8n workflows {names} again", "activated the n8n workflows {names} again"),
    "set_memory_limit": (
        "set the memory limit of the container {name} to {limit}",
        "set the memory limit of the container {name} to {limit}",
    ),
}
Describe = Callable[[Incident, "Action | None"], Words]


class Wording(NamedTuple):
    """A decision in words: the parts of its line in recovery.log, and the alert."""

    read: str
    text: str
    action: str = ""
    outcome: str = ""
    alert: str = ""
    advice: str = ""


def knows(action: Action) -> bool:
    """Return whether this version has that verb."""
    return action.verb in _VERBS


def describe(action: Action) -> str:
    """Return what an action will do, in words."""
    return _fill(_VERBS[action.verb][0], action) if knows(action) else _name_unknown(action)


def describe_done(action: Action) -> str:
    """Return what an action has done, in words."""
    return _fill(_VERBS[action.verb][1], action) if knows(action) else _name_unknown(action)


def _name_unknown(action: Action) -> str:
    return f"{clean(action.name)}: {clean(action.verb)}, which only a newer version of vpsmon can undo"


def _fill(text: str, action: Action) -> str:
    names = [str(each["name"] if isinstance(each, dict) else each) for each in action.details.get("items", ())]
    limit = format_bytes(action.details.get("memory_bytes", 0))
    return text.format(name=clean(action.name), names=clean(", ".join(names), 300) or "none", limit=limit)


def put_into_words(decision: Decision, describe_incident: Describe | None = None) -> Wording:
    """Return a decision in words; those of the incident are its rule's."""
    if decision.change is not None:
        return _word_undo(decision)
    if decision.recalled:
        return _word_recalled(decision)
    words = Words(_MEMORY_LOST)
    if decision.incident is not None and describe_incident is not None:
        words = describe_incident(decision.incident, decision.action)
    if decision.verdict != "act" or decision.action is None:
        text = explain(decision)
        return Wording(words.message, text, alert=to_sentences(words.message, text), advice=words.advice)
    return _word_action(decision, decision.action, words)


def _word_action(decision: Decision, action: Action, words: Words) -> Wording:
    text, outcome = describe(action), describe_ending(decision, words.note)
    has_failed = decision.error and decision.ending != "repaired"
    did = f"tried to {text}" if has_failed else describe_done(action)
    alert = f"{to_sentences(words.message, did)}: {outcome.removeprefix('done; ')}"
    return Wording(words.message, text, text, outcome, alert, _advise(decision, words.advice))


def _advise(decision: Decision, advice: str) -> str:
    """What went well needs none."""
    return advice if decision.severity == "critical" else ""


def explain(decision: Decision) -> str:
    """Return why nothing is done."""
    incident = decision.incident
    if decision.reason == "dependency" and incident is not None and incident.waits_for is not None:
        return _describe_dependency(incident.waits_for)
    if decision.reason == "memory_lost":
        who = "recovery has lost its memory and" if incident else "it"
        return f"{who} only looks for {format_duration(decision.wait_seconds or 0.0)}"
    if decision.reason == "pause":
        return f"the next attempt is in {format_duration(decision.wait_seconds or 0.0)}"
    planned = f"; it would {describe(decision.next_action)}" if decision.next_action else ""
    return {
        "hold": f"what is needed for it cannot be read: {decision.error}",
        "person": _MANUAL,
        "disabled": f"ENABLE_AUTO_RECOVERY is off{planned}",
        "given up": f"tried {decision.attempts} times without lasting success; {_MANUAL}",
        "wait": "another repair of the same container has to show its effect first",
        "budget": f"there were {decision.limit} repairs in the last hour (RECOVERY_MAX_ACTIONS_PER_HOUR)",
        "not needed": "it was over when looked at again",
    }.get(decision.verdict, "")


def _describe_dependency(needed: Dependency) -> str:
    name = clean(needed.name)
    if needed.state == "recovering":
        return f"{name} says that it is starting, recovering or loading: a restart would only begin that anew"
    if needed.state == "short":
        return "memory is short, and a restart needs more of it: that comes first"
    if needed.state == "started":
        return f"{name}, which it needs, was started {format_duration(needed.seconds)} ago: that may have helped"
    return f"{name}, which it needs, is {needed.state}: that comes first"


def describe_ending(decision: Decision, note: str = "") -> str:
    """Return how an action turned out."""
    error = f": {decision.error}" if decision.error else ""
    if decision.ending == "repaired":
        words = "it helped" if decision.is_verified else "done"
        if decision.error:
            words = f"it is well again, although this failed{error}"
        return "; ".join(part for part in (words, _describe_way(decision), note) if part)
    if decision.ending == "failing":
        return _describe_failure(decision, error, "; ".join(part for part in (_describe_way(decision), note) if part))
    return {
        "begun": "begun",
        "dry_run": "nothing is done in a dry run",
        "refused": f"nothing was done{error}",
        "pending": "done; a later run reports whether it helped",
        "gone": "it is no longer there",
    }.get(decision.ending, "")


def _describe_way(decision: Decision) -> str:
    return "by signals, since Docker did not answer" if decision.is_by_signals else ""


def _describe_failure(decision: Decision, error: str, note: str) -> str:
    if decision.next_action is not None:
        pause = format_duration(decision.wait_seconds or 0.0)
        return f"it did not help{error}; next: {describe(decision.next_action)}, in {pause}"
    if decision.is_last:
        return f"it did not help{error}; that was the last attempt, {_MANUAL}"
    return f"not enough yet{error}" + (f"; {note}" if note else "")


def _word_recalled(decision: Decision) -> Wording:
    """Return how something turned out that an earlier run began; it has left the words of its incident."""
    recalled, note = decision.recalled, decision.recalled["note"]
    outcome = {"repaired": "it helped", "gone": "it is no longer there"}.get(decision.ending, "it did not help")
    if decision.ending == "repaired" and note:
        outcome = note if recalled.get("needs_a_person") else f"{outcome}; {note}"
    alert = f"{to_sentences(recalled['read'], recalled['done'])} (in an earlier run): {outcome}"
    did = f"{recalled['did']} (in an earlier run)"
    return Wording(recalled["read"], did, "", outcome, alert, _advise(decision, recalled["advice"]))


def _word_undo(decision: Decision) -> Wording:
    change = decision.change
    assert change is not None  # noqa: S101 the caller has looked
    read = f"undoing what was done before ({describe(change.action)})"
    text = describe(decision.action) if decision.action else "nothing to do"
    outcome = _describe_undoing(decision)
    past = describe_done(change.action)
    past = f"{past[:1].upper()}{past[1:]} {format_duration(decision.wait_seconds or 0.0)} ago"
    if decision.ending == "undone":
        why = f"somebody asked for it ({UNTIL_RESTORE})" if decision.reason == "requested" else change.until
        result = f"{describe_done(change.undo)}: {why}"
        if decision.questions:
            result = f"undone as far as possible: {_list_questions(decision)}"
        return Wording(read, text, text, outcome, to_sentences(past, result))
    if decision.reason == "owner":
        return Wording(read, text, "", outcome, to_sentences(past, outcome))
    tried = f"tried {decision.attempts} times to {text}: {outcome}"
    alert, advice = to_sentences(past, tried), f"fix the cause, then {UNTIL_RESTORE}"
    return Wording(read, text, text if decision.action else "", outcome, alert, advice)


def _describe_undoing(decision: Decision) -> str:
    if decision.verdict == "disabled":
        return f"ENABLE_AUTO_RECOVERY is off: {UNTIL_RESTORE} does it"
    if decision.ending == "undone":
        return "; ".join(part for part in ("done", _list_questions(decision)) if part)
    if decision.ending == "forgotten":
        return {
            "removed": "it was removed or made anew, so there is nothing to undo",
            "owner": _OWNER_HAS_SPOKEN,
        }.get(decision.reason, "it runs again")
    if decision.ending == "failing":
        end = f"; it is not tried again: {UNTIL_RESTORE} does it" if decision.is_last else ""
        return f"it failed: {decision.error}{end}"
    if decision.ending == "postponed":
        return f"not possible now: {decision.error}"
    return decision.error if decision.ending == "gone" else describe_ending(decision)


def _list_questions(decision: Decision) -> str:
    return "; ".join(_ask(each) for each in decision.questions)


def _ask(question: Question) -> str:
    name = clean(question.name)
    if question.cause == "edited":
        return f"{name} was edited while it was paused: publish it in n8n if it is ready"
    return f"{name} has changes that were never published: activate it in n8n if they are ready"


def to_sentences(first: str, *others: str) -> str:
    """Return the texts as sentences; the first, which may begin with a name, stays as it is."""
    return ". ".join([first, *(each[:1].upper() + each[1:] for each in others if each)])


def format_line(decision: Decision, wording: Wording) -> str:
    """Return a decision on one line: what was read, decided and done, and how it turned out."""
    line = f"{decision.rule}[{decision.name}] {wording.read}: {wording.text}"
    return f"{line}: {wording.outcome}" if wording.outcome else line
