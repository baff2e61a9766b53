"""Taking one step: write down what will be done and the way back, do it, look whether it helped, tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError, Severity
from vpsmon.core.text import format_duration
from vpsmon.recovery.actions import Effectors
from vpsmon.recovery.actions.outcome import Refused
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import (
    Action,
    Change,
    Decision,
    Incident,
    Outcome,
    Snapshot,
    Step,
    Undo,
    describe,
    describe_done,
    to_sentences,
)
from vpsmon.recovery.rules import Rule, name_rule

POLL_SECONDS = 2.0
_MOST_CALM_DOUBLINGS = 5
_DRY = "nothing is done in a dry run"


def find_pause(rule: Rule, record: dict[str, Any], now: float) -> float:
    """Return the seconds until the next attempt; the pauses grow."""
    if record["last"] is None:
        return 0.0
    pause_seconds: float = rule.COOLDOWN_SECONDS * 2 ** min(record["attempts"] - 1, 10)
    return float(record["last"]) + pause_seconds - now


class StepTaker:
    """Takes steps with this run's effectors; a dry run's only say what they would do."""

    def __init__(
        self,
        machine: Machine,
        effectors: Effectors,
        journal: Journal,
        settings: Settings,
        look: Callable[[], Snapshot],
        is_interrupted: Callable[[Rule, Snapshot], bool],
    ) -> None:
        self._machine = machine
        self._effectors = effectors
        self._journal = journal
        self._settings = settings
        self._look = look
        self._is_interrupted = is_interrupted

    @property
    def _book(self) -> Book:
        return self._journal.book

    def take(self, rule: Rule, incident: Incident) -> None:
        """Take the step that is next for an incident. Raises StateError, and then nothing was done."""
        record = self._book.find(name_rule(rule), incident, self._journal.now())
        step = incident.steps[min(record["attempts"], len(incident.steps) - 1)]
        text = describe(step.action)
        if not self._effectors.is_real:
            self._effectors.perform(step.action)
            self._book.note_attempt(name_rule(rule), incident, step.action, self._journal.now())
            self._journal.say(Decision(name_rule(rule), incident.name, incident.message, "act", text, text, _DRY))
            return
        changes = self._write_intention(rule, incident, step, record)
        result = self._perform(step.action)
        if result.is_refused:
            self._write_refusal(rule, incident, step, record, changes, result.error)
            return
        if result.how:
            step = step._replace(note="; ".join(part for part in (result.how, step.note) if part))
        outcome = self._verify(rule, incident, step, changes, result.error)
        if outcome == "failing" and not step.verify_seconds:
            self._book.expire_changes([change.id for change in changes])
        self._write_outcome(rule, incident, step, record, outcome, result.error)

    def _write_intention(self, rule: Rule, incident: Incident, step: Step, record: dict[str, Any]) -> list[Change]:
        """Write down what will be done, and how to undo it, before it is done. Raises StateError."""
        now, name, text = self._journal.now(), name_rule(rule), describe(step.action)
        undos = [step.undo] if step.undo else []
        if step.follow_up:
            undos.append(Undo(step.follow_up, 0.0, "its API answers again"))
        changes = [self._make_change(name, step.action, undo, record["attempts"], now) for undo in undos]
        new = [change for change in changes if self._book.add_change(change)]
        self._book.note_attempt(name, incident, step.action, now)
        record.update(told="act", pending=_describe_pending(incident, step, new, now))
        self._journal.log(Decision(name, incident.name, incident.message, "act", text, text, "begun"))
        self._journal.commit()
        return new

    def _make_change(self, rule: str, action: Action, undo: Undo, attempts: int, now: float) -> Change:
        """What is needed again soon after it was undone is undone later the next time."""
        calm_seconds = undo.calm_seconds
        if calm_seconds:
            calm_seconds *= 2 ** min(attempts, _MOST_CALM_DOUBLINGS)
        identity = f"{undo.action.verb}/{undo.action.target}/{now:.3f}"
        wall_seconds = self._journal.wall_seconds()
        return Change(identity, rule, action, undo.action, calm_seconds, undo.until, now, wall_seconds)

    def _perform(self, action: Action) -> _Result:
        try:
            return _Result(how=self._effectors.perform(action).text)
        except Refused as refusal:
            return _Result(str(refusal), is_refused=True)
        except ReadError as error:
            return _Result(str(error))

    def _verify(self, rule: Rule, incident: Incident, step: Step, changes: list[Change], error: str) -> Outcome:
        """Return how it turned out, as soon as that can be seen; later runs look again where this one must not wait."""
        if not step.verify_seconds:
            return "failing" if error else "repaired"
        deadline = self._journal.now() + step.verify_seconds
        follow_up = step.follow_up
        while True:
            if follow_up and not self._perform(follow_up).error:
                follow_up = None
                for change in changes:
                    if change.calm_seconds == 0.0:
                        self._book.drop_change(change.id)
            snapshot = self._look()
            outcome = rule.verify(snapshot, incident.target, self._settings)
            if outcome in ("repaired", "gone") or self._journal.now() >= deadline:
                return outcome
            if self._is_interrupted(rule, snapshot):
                return "pending"
            self._machine.sleep(POLL_SECONDS)

    def _write_refusal(
        self, rule: Rule, incident: Incident, step: Step, record: dict[str, Any], changes: list[Change], why: str
    ) -> None:
        """Note that something had changed at the last moment, so that nothing was done."""
        for change in changes:
            self._book.drop_change(change.id)
        record["pending"] = None
        text = describe(step.action)
        words = f"nothing was done: {why}"
        self._journal.say(Decision(name_rule(rule), incident.name, incident.message, "act", text, text, words))
        self._journal.commit()

    def _write_outcome(
        self, rule: Rule, incident: Incident, step: Step, record: dict[str, Any], outcome: Outcome, error: str
    ) -> None:
        name, text = name_rule(rule), describe(step.action)
        words, severity, advice = self._describe_outcome(rule, incident, step, record, outcome, error)
        if outcome != "pending":
            record["pending"] = None
            self._book.count(name, outcome if outcome != "gone" else "failing")
        did = f"tried to {text}" if error and outcome != "repaired" else describe_done(step.action)
        told = f"{to_sentences(incident.message, did)}: {words.removeprefix('done; ')}"
        self._journal.say(
            Decision(name, incident.name, incident.message, "act", text, text, words, severity, advice, told)
        )
        self._journal.commit()

    def _describe_outcome(
        self, rule: Rule, incident: Incident, step: Step, record: dict[str, Any], outcome: Outcome, error: str
    ) -> tuple[str, Severity | None, str | None]:
        note = f"; {step.note}" if step.note else ""
        if outcome == "repaired":
            words = "it helped" if step.verify_seconds else "done"
            if error:
                words = f"it is well again, although this failed: {error}"
            return f"{words}{note}", *_weigh_success(step, incident)
        if outcome == "pending":
            return "done; a later run tells whether it helped", None, None
        if outcome == "gone":
            return "it is no longer there", None, None
        failure = f"it did not help: {error}" if error else "it did not help"
        if record["attempts"] < len(incident.steps):
            following = describe(incident.steps[record["attempts"]].action)
            pause = format_duration(find_pause(rule, record, float(record["last"])))
            return f"{failure}; next: {following}, in {pause}", "critical", incident.advice
        if getattr(rule, "IS_ONE_AT_A_TIME", False):
            # The next of the alternatives is tried in this same run, or there is none left, which is said as well.
            return f"not enough yet{f': {error}' if error else ''}{note}", "warning", None
        record["told"] = "given up"
        record["alerted"].append("given up")
        return f"{failure}; that was the last attempt, a person has to look at it", "critical", incident.advice


class _Result(NamedTuple):
    """What went wrong; what was refused has changed nothing."""

    error: str = ""
    is_refused: bool = False
    # How it was done, where that is not the usual way.
    how: str = ""


def _weigh_success(step: Step, incident: Incident) -> tuple[Literal["critical", "info"], str | None]:
    return ("critical", incident.advice) if step.needs_a_person else ("info", None)


def _describe_pending(incident: Incident, step: Step, changes: list[Change], now: float) -> dict[str, Any]:
    """Return what a later run has to know to tell how it turned out."""
    return {
        "until": now + step.verify_seconds,
        "did": describe(step.action),
        "done": describe_done(step.action),
        "read": incident.message,
        "note": step.note,
        "advice": incident.advice or "",
        "needs_a_person": step.needs_a_person,
        # Only where the doing itself is what has to be known.
        "changes": [] if step.verify_seconds else [change.id for change in changes],
    }
