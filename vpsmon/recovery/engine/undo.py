"""Undoing what recovery changed for a while: when it has been calm for long enough, or all of it when a person says so.

A change stays written down until its undoing is known to have worked. What is no longer there, or was undone by
somebody else, is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError, Severity
from vpsmon.core.text import format_duration
from vpsmon.recovery.actions import Effectors
from vpsmon.recovery.actions.outcome import Done, Gone, Refused
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.model import Change, Decision, Snapshot, describe, describe_done, to_sentences
from vpsmon.recovery.rules import Rule, name_rule

# An engine that hung may carry out late what it was asked for: until then one that runs may yet be stopped.
_LATE_SECONDS = 180.0
_TOLD_AFTER_TRIES = 3
_LEFT_TO_A_PERSON_AFTER_TRIES = 6
_OF_CONTAINERS = ("start_container", "set_memory_limit")


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
            for change in [each for each in self._book.changes if each.rule == name_rule(rule)]:
                if self._forget_if_pointless(change, snapshot):
                    continue
                if self._is_due(rule, change, snapshot) and self._may_act(change):
                    self._undo(change, change.until)
                    break

    def undo_all(self, snapshot: Snapshot) -> bool:
        """Undo every change now, whatever the time and the budget; return whether all of it worked."""
        for change in list(self._book.changes):
            if not self._forget_if_pointless(change, snapshot):
                self._undo(change, "somebody asked for it (`vpsmon recover restore`)")
        return not (self._effectors.is_real and self._book.changes)

    def _forget_if_pointless(self, change: Change, snapshot: Snapshot) -> bool:
        if change.undo.verb not in _OF_CONTAINERS or snapshot.containers is None:
            return False
        container = snapshot.find_container(change.undo.target)
        why = ""
        if container is None and snapshot.has_only_known_containers:
            return False
        if container is None:
            why = "it was removed or made anew, so there is nothing to undo"
        elif change.undo.verb == "start_container" and container.status in ("running", "restarting", "paused"):
            is_old = snapshot.seconds - change.since_seconds > _LATE_SECONDS
            why = "it runs again" if is_old else ""
        if why:
            self._book.drop_change(change.id)
            self._journal.say(self._decide(change, "", why))
        return bool(why)

    def _is_due(self, rule: Rule, change: Change, snapshot: Snapshot) -> bool:
        """Return whether it has been calm for long enough; every look that is not calm starts the time anew."""
        if change.calm_seconds is None:
            return False
        judge_calm = getattr(rule, "is_calm", None)
        if judge_calm is None or change.calm_seconds <= 0:
            return True
        is_calm = judge_calm(snapshot, self._settings, change)
        since = None if not is_calm else change.calm_since_seconds
        if is_calm and since is None:
            since = snapshot.seconds
        self._book.replace_change(change._replace(calm_since_seconds=since))
        return since is not None and snapshot.seconds - since >= change.calm_seconds

    def _may_act(self, change: Change) -> bool:
        now = self._journal.now()
        if not self._settings.ENABLE_AUTO_RECOVERY:
            text = "ENABLE_AUTO_RECOVERY is off: `vpsmon recover restore` does it"
            self._journal.say(self._decide(change, describe(change.undo), text), is_logged=False)
            return False
        return (
            now >= self._book.quiet_until
            and self._book.count_actions(now) < self._settings.RECOVERY_MAX_ACTIONS_PER_HOUR
        )

    def _undo(self, change: Change, why: str) -> None:
        text = describe(change.undo)
        if not self._effectors.is_real:
            self._effectors.perform(change.undo)
            self._book.actions.append(self._journal.now())
            self._journal.say(self._decide(change, text, "nothing is done in a dry run"))
            return
        # A failed one waits for as long as the first time before it is tried again.
        change = change._replace(tries=change.tries + 1, calm_since_seconds=None)
        self._book.replace_change(change)
        self._book.actions.append(self._journal.now())
        self._journal.log(self._decide(change, text, "begun"))
        self._journal.commit()
        try:
            done = self._effectors.perform(change.undo)
        except Gone as gone:
            self._book.drop_change(change.id)
            self._journal.say(self._decide(change, text, str(gone)))
        except ReadError as error:
            self._note_failure(change, error)
        else:
            self._book.drop_change(change.id)
            self._book.count(change.rule, "undone")
            self._say_undone(change, done, why)
        self._journal.commit()

    def _say_undone(self, change: Change, done: Done, why: str) -> None:
        words = "; ".join(part for part in ("done", done.text, done.question) if part)
        decision = self._decide(change, describe(change.undo), words, "warning" if done.question else "info")
        result = f"{describe_done(change.undo)}: {why}"
        if done.question:
            result = f"undone as far as possible: {done.question}"
        self._journal.say(decision._replace(told=to_sentences(self._recall(change), result)))

    def _recall(self, change: Change) -> str:
        """Return what was done, and how long ago."""
        seconds = self._journal.now() - change.since_seconds
        did = describe_done(change.action)
        return f"{did[:1].upper()}{did[1:]} {format_duration(seconds)} ago"

    def _note_failure(self, change: Change, error: ReadError) -> None:
        is_postponed = isinstance(error, Refused)
        severity: Literal["critical"] | None = None
        words = f"not possible now: {error}" if is_postponed else f"it failed: {error}"
        if change.tries >= _TOLD_AFTER_TRIES and not is_postponed:
            severity = "critical" if change.tries in (_TOLD_AFTER_TRIES, _LEFT_TO_A_PERSON_AFTER_TRIES) else None
        if change.tries >= _LEFT_TO_A_PERSON_AFTER_TRIES and not is_postponed:
            self._book.replace_change(change._replace(calm_seconds=None, until="`vpsmon recover restore`"))
            words += "; it is not tried again: `vpsmon recover restore` does it"
        told = to_sentences(self._recall(change), f"tried {change.tries} times to {describe(change.undo)}: {words}")
        decision = self._decide(change, describe(change.undo), words, severity)
        self._journal.say(decision._replace(told=told, advice="mend the cause, then `vpsmon recover restore`"))

    def _decide(self, change: Change, action: str, words: str, severity: Severity | None = None) -> Decision:
        read = f"undoing what was done before ({describe(change.action)})"
        text = action or "nothing to do"
        return Decision(change.rule, change.action.name, read, "act", text, action, words, severity)
