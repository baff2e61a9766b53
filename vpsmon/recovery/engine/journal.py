"""What a run has decided and done so far: for whoever called it, recovery.log, the events and the owner.

Everything is written together with the state that it belongs to. The notices wait in that state until the end of the
run, so that they are one message, and are not lost when the run is killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vpsmon.alerts.incidents import Notice
from vpsmon.core.secrets import redact
from vpsmon.core.text import format_utc
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.engine.store import Record, Store
from vpsmon.recovery.events import format_event
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.messages import Describe, Wording, format_line, put_into_words
from vpsmon.recovery.model import Decision
from vpsmon.recovery.rule import Rule

_LEVELS = {"critical": "CRITICAL", "warning": "WARNING", "info": "INFO", None: "INFO"}


class Entry(NamedTuple):
    """A decision, and its words."""

    decision: Decision
    wording: Wording


class Journal:
    """The book of this run, its clock, and what is said."""

    def __init__(self, book: Book, store: Store, machine: Machine, rules: Sequence[Rule]) -> None:
        self.book = book
        self.entries: list[Entry] = []
        self._store = store
        self._machine = machine
        self._describe: Mapping[str, Describe] = {rule.name: rule.describe for rule in rules}
        self._lines: list[str] = []
        self._events: list[str] = []

    def now(self) -> float:
        """Return the time of recovery's clock."""
        return self.book.at(self._machine.monotonic_seconds())

    def wall_seconds(self) -> float:
        """Return the time of the wall clock."""
        return self._machine.wall_seconds()

    def say(self, decision: Decision, is_logged: bool = True) -> None:
        """Note a decision for the caller and, unless it is old news, for the log and the owner."""
        wording = self._word(decision)
        if _identify(decision) not in [_identify(entry.decision) for entry in self.entries]:
            self.entries.append(Entry(decision, wording))
        if is_logged:
            self._log(decision, wording)
            self._notify(decision, wording)

    def log(self, decision: Decision) -> None:
        """Note a decision for recovery.log and the events alone."""
        self._log(decision, self._word(decision))

    def _word(self, decision: Decision) -> Wording:
        return put_into_words(decision, self._describe.get(decision.rule))

    def _log(self, decision: Decision, wording: Wording) -> None:
        level, wall_seconds = _LEVELS[decision.severity], self.wall_seconds()
        self._lines.append(redact(f"{format_utc(wall_seconds)} {level} {format_line(decision, wording)}"))
        self._events.append(format_event(decision, wording, wall_seconds))

    def _notify(self, decision: Decision, wording: Wording) -> None:
        if decision.severity is None:
            return
        notice = Notice(
            severity=decision.severity,
            check=f"recovery {decision.rule}",
            object=decision.name,
            message=redact(wording.alert),
            advice=redact(wording.advice) or None,
            wall_seconds=self.wall_seconds(),
        )
        self.book.notices.append(notice)

    def commit(self) -> None:
        """Write down what is so now. Raises StateError."""
        self._commit([])

    def finish(self) -> None:
        """Write down what is so now, and send the notices on their way. Raises StateError."""
        notices, self.book.notices = self.book.notices, []
        self._commit(notices)

    def _commit(self, notices: list[Notice]) -> None:
        content = self.book.to_content(self._machine.monotonic_seconds(), self._machine.wall_seconds())
        record = Record(content, self._lines, self._events, notices, self.book.outcomes)
        self._lines, self._events, self.book.outcomes = [], [], []
        self._store.commit(record)


def _identify(decision: Decision) -> tuple[object, ...]:
    """Return what makes a decision another one; how long ago something was is none of it."""
    change_id = decision.change.id if decision.change else ""
    return (*(decision.rule, decision.target, decision.verdict, decision.reason, decision.ending), change_id)
