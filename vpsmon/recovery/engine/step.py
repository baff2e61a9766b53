"""Taking one step: write down what will be done and the way back, do it, look whether it helped, tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.recovery.actions import Effectors
from vpsmon.recovery.actions.outcome import Refused
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.last_hand import expect_left
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.messages import UNTIL_API_ANSWERS, describe, describe_done
from vpsmon.recovery.model import Action, Change, Decision, Incident, Outcome, Snapshot, Step, Undo
from vpsmon.recovery.rule import Rule

POLL_SECONDS = 2.0
_MOST_CALM_DOUBLINGS = 5
# A machine that thrashes is lost within minutes: what saves it is never waited for longer.
_LONGEST_URGENT_PAUSE_SECONDS = 120.0


def find_pause(rule: Rule, record: dict[str, Any], now: float) -> float:
    """Return the seconds until the next attempt; the pauses grow."""
    if record["last"] is None:
        return 0.0
    pause_seconds: float = rule.cooldown_seconds * 2 ** min(record["attempts"] - 1, 10)
    if rule.is_urgent:
        pause_seconds = min(pause_seconds, _LONGEST_URGENT_PAUSE_SECONDS)
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
        record = self._book.find(rule.name, incident, self._journal.now())
        step = incident.steps[min(record["attempts"], len(incident.steps) - 1)]
        decision = decide(rule, incident)._replace(action=step.action, attempts=record["attempts"] + 1)
        if not self._effectors.is_real:
            self._effectors.perform(step.action)
            self._book.note_attempt(rule.name, incident, step.action, self._journal.now(), rule.is_urgent)
            self._journal.say(decision._replace(ending="dry_run"))
            return
        changes = self._write_intention(rule, incident, step, record, decision)
        result = self._perform(step.action)
        if result.is_refused:
            self._write_refusal(record, changes, decision._replace(error=result.error))
            return
        if step.undo and result.left:
            self._book.note_left(step.undo.action, result.left)
        decision = decision._replace(error=result.error, is_by_signals=result.is_by_signals)
        outcome = self._verify(rule, incident, step, changes, result.error)
        if outcome == "failing" and not step.verify_seconds:
            self._book.expire_changes([change.id for change in changes])
        self._write_outcome(rule, incident, step, record, decision._replace(ending=outcome))

    def _write_intention(
        self, rule: Rule, incident: Incident, step: Step, record: dict[str, Any], decision: Decision
    ) -> list[Change]:
        """Write down what will be done, and how to undo it, before it is done. Raises StateError."""
        now = self._journal.now()
        undos = [step.undo] if step.undo else []
        if step.follow_up:
            undos.append(Undo(step.follow_up, 0.0, UNTIL_API_ANSWERS))
        changes = [self._make_change(rule.name, step.action, undo, record["attempts"], now) for undo in undos]
        new = [change for change in changes if self._book.add_change(change)]
        self._book.note_attempt(rule.name, incident, step.action, now, rule.is_urgent)
        record.update(told="act", pending=_describe_pending(rule, incident, step, new, now))
        self._journal.log(decision._replace(ending="begun"))
        self._journal.commit()
        return new

    def _make_change(self, rule: str, action: Action, undo: Undo, attempts: int, now: float) -> Change:
        """What is needed again soon after it was undone is undone later the next time."""
        calm_seconds = undo.calm_seconds
        if calm_seconds:
            calm_seconds *= 2 ** min(attempts, _MOST_CALM_DOUBLINGS)
        return Change(
            id=f"{undo.action.verb}/{undo.action.target}/{now:.3f}",
            rule=rule,
            action=action,
            undo=undo.action,
            calm_seconds=calm_seconds,
            until=undo.until,
            since_seconds=now,
            since_wall_seconds=self._journal.wall_seconds(),
            left=expect_left(action, undo.action),
        )

    def _perform(self, action: Action) -> _Result:
        try:
            done = self._effectors.perform(action)
            return _Result(is_by_signals=done.is_by_signals, left=done.left)
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

    def _write_refusal(self, record: dict[str, Any], changes: list[Change], decision: Decision) -> None:
        """Note that something had changed at the last moment, so that nothing was done."""
        for change in changes:
            self._book.drop_change(change.id)
        record["pending"] = None
        self._journal.say(decision._replace(ending="refused"))
        self._journal.commit()

    def _write_outcome(
        self, rule: Rule, incident: Incident, step: Step, record: dict[str, Any], decision: Decision
    ) -> None:
        decision = decision._replace(is_verified=step.verify_seconds > 0)
        if decision.ending == "repaired":
            decision = decision._replace(severity="critical" if step.needs_a_person else "info")
        if decision.ending == "failing":
            decision = self._weigh_failure(rule, incident, record, decision)
        if decision.ending != "pending":
            record["pending"] = None
            self._book.count(rule.name, "repaired" if decision.ending == "repaired" else "failing")
        self._journal.say(decision)
        self._journal.commit()

    def _weigh_failure(self, rule: Rule, incident: Incident, record: dict[str, Any], decision: Decision) -> Decision:
        """Return the decision with what comes next."""
        if record["attempts"] < len(incident.steps):
            following = incident.steps[record["attempts"]].action
            pause_seconds = find_pause(rule, record, float(record["last"]))
            return decision._replace(severity="critical", next_action=following, wait_seconds=pause_seconds)
        if rule.has_alternatives:
            # The next of the alternatives is tried in this same run, or there is none left, which is said as well.
            return decision._replace(severity="warning")
        record["told"] = "given up"
        record["alerted"].append("given up")
        return decision._replace(severity="critical", is_last=True)


def decide(rule: Rule, incident: Incident) -> Decision:
    """Return the decision to act on an incident, as far as the incident goes."""
    return Decision(
        rule=rule.name,
        target=incident.target,
        name=incident.name,
        cause=incident.cause,
        verdict="act",
        incident=incident,
    )


class _Result(NamedTuple):
    """What went wrong; what was refused has changed nothing."""

    error: str = ""
    is_refused: bool = False
    is_by_signals: bool = False
    left: Sequence[Any] = ()


def _describe_pending(rule: Rule, incident: Incident, step: Step, changes: list[Change], now: float) -> dict[str, Any]:
    """Return what a later run has to know to tell how it turned out: fields, and the words of this moment."""
    words = rule.describe(incident, step.action)
    return {
        "until": now + step.verify_seconds,
        "cause": incident.cause,
        "facts": dict(incident.facts),
        "action": list(step.action),
        "did": describe(step.action),
        "done": describe_done(step.action),
        "read": words.message,
        "note": words.note,
        "advice": words.advice,
        "needs_a_person": step.needs_a_person,
        # Only where the doing itself is what has to be known.
        "changes": [] if step.verify_seconds else [change.id for change in changes],
    }
