"""Undoing what recovery changed for a while: when it has been calm for long enough, or all of it when a person says so.

A change stays written down until its undoing is known to have worked. What is no longer there, or was undone by
somebody else, is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError, Severity
from vpsmon.recovery.actions import Effectors
from vpsmon.recovery.actions.outcome import Gone, Refused
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.last_hand import UNDOES_A_CONTAINER, adopt_left, is_as_left
from vpsmon.recovery.messages import UNTIL_RESTORE
from vpsmon.recovery.model import Change, Decision, Reason, Snapshot
from vpsmon.recovery.rule import Rule

# An engine that hung may carry out late what it was asked for: until then one that runs may yet be stopped.
_LATE_SECONDS = 180.0
_NOTIFIED_AFTER_TRIES = 3
_LEFT_TO_A_PERSON_AFTER_TRIES = 6


class Undoer:
    """Undoes changes of this run's book."""

    def __init__(self, effectors: Effectors, journal: Journal, settings: Settings) -> None:
        self._effectors = effectors
        self._journal = journal
        self._settings = settings

    @property
    def _book(self) -> Book:
        return self._journal.book

    def undo_what_is_over(self, rules: Sequence[Rule], snapshot: Snapshot) -> None:
        """Undo at most one change of each rule: what follows from it shows in the next run."""
        for rule in rules:
            for known in [each for each in self._book.changes if each.rule == rule.name]:
                if self._forget_if_pointless(known, snapshot):
                    continue
                change = self._note_what_is_left(known, snapshot)
                if self._is_due(rule, change, snapshot) and self._may_act(change):
                    self._undo(change, "calm")
                    break

    def undo_all(self, snapshot: Snapshot) -> bool:
        """Undo every change now, whatever the time and the budget; return whether all of it worked."""
        for change in list(self._book.changes):
            if not self._forget_if_pointless(change, snapshot):
                self._undo(change, "requested")
        return not (self._effectors.is_real and self._book.changes)

    def _forget_if_pointless(self, change: Change, snapshot: Snapshot) -> bool:
        reason = _find_why_pointless(change, snapshot)
        if reason:
            self._book.drop_change(change.id)
            severity: Severity | None = "info" if reason == "owner" else None
            decision = self._decide(change)._replace(action=None, ending="forgotten", reason=reason)
            self._journal.say(decision._replace(severity=severity))
        return bool(reason)

    def _note_what_is_left(self, change: Change, snapshot: Snapshot) -> Change:
        """Return the change; where nobody has seen how it left its container, that is how it is now."""
        container = snapshot.find_container(change.undo.target)
        if container is None or snapshot.has_only_known_containers:
            return change
        change = adopt_left(change, container)
        self._book.replace_change(change)
        return change

    def _is_due(self, rule: Rule, change: Change, snapshot: Snapshot) -> bool:
        """Return whether it has been calm for long enough; every look that is not calm starts the time anew."""
        if change.calm_seconds is None:
            return False
        if change.calm_seconds <= 0:
            return True
        is_calm = rule.is_calm(snapshot, self._settings, change)
        since = None if not is_calm else change.calm_since_seconds
        if is_calm and since is None:
            since = snapshot.seconds
        self._book.replace_change(change._replace(calm_since_seconds=since))
        return since is not None and snapshot.seconds - since >= change.calm_seconds

    def _may_act(self, change: Change) -> bool:
        now = self._journal.now()
        if not self._settings.ENABLE_AUTO_RECOVERY:
            self._journal.say(self._decide(change)._replace(verdict="disabled"), is_logged=False)
            return False
        return (
            now >= self._book.quiet_until
            and self._book.count_actions(now) < self._settings.RECOVERY_MAX_ACTIONS_PER_HOUR
        )

    def _undo(self, change: Change, reason: Reason) -> None:
        if not self._effectors.is_real:
            self._effectors.perform(change.undo)
            self._book.actions.append(self._journal.now())
            self._journal.say(self._decide(change)._replace(reason=reason, ending="dry_run"))
            return
        # A failed one waits for as long as the first time before it is tried again.
        change = change._replace(tries=change.tries + 1, calm_since_seconds=None)
        # Cut off, it leaves another state, which is recovery's and not its owner's.
        self._book.replace_change(change._replace(left=()))
        self._book.actions.append(self._journal.now())
        decision = self._decide(change)._replace(reason=reason)
        self._journal.log(decision._replace(ending="begun"))
        self._journal.commit()
        self._perform(change, decision)
        self._journal.commit()

    def _perform(self, change: Change, decision: Decision) -> None:
        try:
            details = {**change.undo.details, "left": change.left} if change.left else change.undo.details
            questions = self._effectors.perform(change.undo._replace(details=details)).questions
        except Gone as gone:
            self._book.drop_change(change.id)
            self._journal.say(decision._replace(ending="gone", error=str(gone)))
        except ReadError as error:
            self._note_failure(change, decision._replace(error=str(error)), isinstance(error, Refused))
        else:
            self._book.drop_change(change.id)
            self._book.count(change.rule, "undone")
            severity: Severity = "warning" if questions else "info"
            self._journal.say(decision._replace(ending="undone", severity=severity, questions=questions))

    def _note_failure(self, change: Change, decision: Decision, is_postponed: bool) -> None:
        if is_postponed:
            self._book.replace_change(change)
            self._journal.say(decision._replace(ending="postponed"))
            return
        is_last = change.tries >= _LEFT_TO_A_PERSON_AFTER_TRIES
        if is_last:
            self._book.replace_change(change._replace(calm_seconds=None, until=UNTIL_RESTORE, left=()))
        is_news = change.tries in (_NOTIFIED_AFTER_TRIES, _LEFT_TO_A_PERSON_AFTER_TRIES)
        self._journal.say(
            decision._replace(ending="failing", severity="critical" if is_news else None, is_last=is_last)
        )

    def _decide(self, change: Change) -> Decision:
        return Decision(
            rule=change.rule,
            target=change.undo.target,
            name=change.action.name,
            cause="undo",
            verdict="act",
            action=change.undo,
            attempts=change.tries,
            wait_seconds=self._journal.now() - change.since_seconds,
            change=change,
        )


def _find_why_pointless(change: Change, snapshot: Snapshot) -> Reason:
    if change.undo.verb not in UNDOES_A_CONTAINER or snapshot.containers is None:
        return ""
    container = snapshot.find_container(change.undo.target)
    if container is None:
        return "" if snapshot.has_only_known_containers else "removed"
    if not snapshot.has_only_known_containers and not is_as_left(change.undo, change.left, container):
        return "owner"
    runs = change.undo.verb == "start_container" and container.status in ("running", "restarting", "paused")
    return "runs_again" if runs and snapshot.seconds - change.since_seconds > _LATE_SECONDS else ""
