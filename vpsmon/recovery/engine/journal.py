"""What a run has decided and done so far: told to whoever called it, to recovery.log and to the owner.

Everything is written together with the state that it belongs to. The notices wait in that state until the end of the
run, so that they are one message, and are not lost when the run is killed.
"""

from __future__ import annotations

from vpsmon.alerts.incidents import Notice
from vpsmon.core.secrets import redact
from vpsmon.core.text import format_utc
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.engine.store import Store
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Decision, format_decision, to_sentences

_LEVELS = {"critical": "CRITICAL", "warning": "WARNING", "info": "INFO", None: "INFO"}


class Journal:
    """The book of this run, its clock, and what is said."""

    def __init__(self, book: Book, store: Store, machine: Machine) -> None:
        self.book = book
        self.decisions: list[Decision] = []
        self._store = store
        self._machine = machine
        self._lines: list[str] = []

    def now(self) -> float:
        """Return the time of recovery's clock."""
        return self.book.at(self._machine.monotonic_seconds())

    def wall_seconds(self) -> float:
        """Return the time of the wall clock."""
        return self._machine.wall_seconds()

    def say(self, decision: Decision, is_logged: bool = True) -> None:
        """Note a decision for the caller and, unless it is old news, for the log and the owner."""
        if decision not in self.decisions:
            self.decisions.append(decision)
        if is_logged:
            self.log(decision)
            self._tell(decision)

    def log(self, decision: Decision) -> None:
        """Note a line for recovery.log."""
        level = _LEVELS[decision.severity]
        self._lines.append(redact(f"{format_utc(self.wall_seconds())} {level} {format_decision(decision)}"))

    def _tell(self, decision: Decision) -> None:
        if decision.severity is None:
            return
        told = decision.told or to_sentences(decision.read, decision.text, decision.outcome)
        notice = Notice(
            decision.severity,
            f"recovery {decision.rule}",
            decision.name,
            redact(told),
            redact(decision.advice) if decision.advice else None,
            self.wall_seconds(),
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
        lines, self._lines = self._lines, []
        outcomes, self.book.outcomes = self.book.outcomes, []
        self._store.commit(content, lines, notices, outcomes)
