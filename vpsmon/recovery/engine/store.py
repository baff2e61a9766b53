"""Where recovery_state.json is kept: with the log and the alerts that belong to a change written in the same step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from vpsmon.alerts.incidents import Notice, format_history
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import add_entry, choose_identity
from vpsmon.alerts.totals import FILE as TOTALS_FILE
from vpsmon.alerts.totals import load_totals
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.passes.context import PassContext
from vpsmon.passes.stages import HISTORY_LOG
from vpsmon.recovery.engine.machine_lock import machine_lock
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.recovery_file import RECOVERY_FILE

LOG = "recovery.log"


class Store(Protocol):
    """What the engine needs of a place to remember."""

    def load(self) -> tuple[dict[str, Any], bool]:
        """Return what was remembered, and whether it was unreadable."""

    def load_pass_state(self) -> dict[str, Any]:
        """Return what the checks remember."""

    def set_aside(self) -> None:
        """Keep an unusable content for its owner, out of the way."""

    def commit(
        self,
        content: dict[str, Any],
        lines: Sequence[str],
        notices: Sequence[Notice],
        outcomes: Sequence[tuple[str, str]],
    ) -> None:
        """Remember the content, log the lines, tell the notices and count the outcomes: all of it or nothing.

        Raises StateError.
        """

    def keep_memories(self, pass_state: dict[str, Any]) -> None:
        """Remember for the checks. Raises StateError."""


class RealStore:
    """The state directory. Nothing in here waits for a network."""

    def __init__(self, context: PassContext) -> None:
        self._context = context
        self._entry_id: str | None = None

    def load(self) -> tuple[dict[str, Any], bool]:
        """Return the content of recovery_state.json, {} where there is none; an unreadable one is set aside."""
        with self._context.state.lock():
            is_there = os.path.exists(os.path.join(self._context.state.path, RECOVERY_FILE))
            content = self._context.state.load(RECOVERY_FILE)
        return content, is_there and not content

    def load_pass_state(self) -> dict[str, Any]:
        """Return the content of pass_state.json."""
        with self._context.state.lock():
            return self._context.state.load(MEMORIES_FILE)

    def set_aside(self) -> None:
        """Move recovery_state.json aside."""
        with self._context.state.lock():
            self._context.state.set_aside(RECOVERY_FILE, "its tables are of another form")

    def commit(
        self,
        content: dict[str, Any],
        lines: Sequence[str],
        notices: Sequence[Notice],
        outcomes: Sequence[tuple[str, str]],
    ) -> None:
        """Write state, log, outbox, history and counters in one step."""
        state = self._context.state
        with state.lock():
            files = {RECOVERY_FILE: content}
            if notices or outcomes:
                totals = load_totals(state)
                totals.count_alerts(notices)
                totals.count_actions(outcomes)
                files[TOTALS_FILE] = totals.to_state()
            logs: dict[str, Sequence[str]] = {LOG: lines}
            if notices:
                logs[HISTORY_LOG] = [format_history(notice) for notice in notices]
                if self._context.config.settings.has_telegram:
                    host = self._context.host
                    outbox = state.load(OUTBOX_FILE)
                    self._entry_id = choose_identity(outbox, self._entry_id)
                    files[OUTBOX_FILE] = add_entry(outbox, host.name, host.wall_seconds(), self._entry_id, notices)
            state.commit(files, logs, must_last=True)

    def keep_memories(self, pass_state: dict[str, Any]) -> None:
        """Write what the checks remember beside what the monitor has written meanwhile."""
        with self._context.state.lock():
            content = self._context.state.load(MEMORIES_FILE)
            content["without_alerts"] = pass_state.get("without_alerts", {})
            self._context.state.commit({MEMORIES_FILE: content})


class DryStore:
    """Reads what is remembered and writes nothing, not even a lock."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state

    def load(self) -> tuple[dict[str, Any], bool]:
        """Return the content of recovery_state.json as far as it can be read."""
        content = self._state.peek(RECOVERY_FILE)
        return content or {}, content is None

    def load_pass_state(self) -> dict[str, Any]:
        """Return the content of pass_state.json as far as it can be read."""
        return self._state.peek(MEMORIES_FILE) or {}

    def set_aside(self) -> None:
        """Leave it where it is."""

    def commit(
        self,
        content: dict[str, Any],
        lines: Sequence[str],
        notices: Sequence[Notice],
        outcomes: Sequence[tuple[str, str]],
    ) -> None:
        """Write nothing."""

    def keep_memories(self, pass_state: dict[str, Any]) -> None:
        """Write nothing."""


@contextlib.contextmanager
def hold_recovery_lock(state: StateDirectory) -> Iterator[bool]:
    """Give True to the only recovery of this machine, False where another one runs. Raises StateError."""
    with state.lock():
        # What recovery writes down must outlast the machine: memory will not do.
        if state.trouble:
            raise StateError(state.trouble)
    with machine_lock() as is_only_one:
        yield is_only_one
