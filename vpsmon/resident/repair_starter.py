"""When the resident monitor has a recovery started: at once for what is critical, and not all the time."""

from __future__ import annotations

import time

from vpsmon.log import say
from vpsmon.resident.child_process import fork
from vpsmon.resident.pass_process import recover_memory, start_recovery
from vpsmon.settings import Config

_PAUSE_SECONDS = 60.0
# What tells that memory is running out. One rule helps then, and it has to look again within seconds.
_OF_MEMORY = frozenset({"memory_available", "memory_pressure", "swap_usage", "swap_in", "file_refaults"})
_PAUSE_OF_MEMORY_SECONDS = 5.0
# It waits for what it did to show an effect, container after container.
_LONGEST_RUN_SECONDS = 900


class RepairStarter:
    """Starts recoveries as processes. Recovery itself looks again, and knows what it did just before."""

    def __init__(self) -> None:
        self._memory_child = 0
        self._next_of_memory = 0.0
        self._next = 0.0
        self._rows: frozenset[str] = frozenset()

    def start(self, rows: frozenset[str], config: Config) -> int:
        """Have what is critical repaired; return the id of the process that was started for it, or 0."""
        if not (config.settings.ENABLE_AUTO_RECOVERY and config.settings.RECOVER_ON_CRITICAL):
            return 0
        try:
            return self._start_memory(config) if rows & _OF_MEMORY else self._start_all(rows, config)
        except OSError as error:
            say("error", f"recovery could not be started: {error.strerror}; its timer comes next")
            return 0

    def _start_memory(self, config: Config) -> int:
        if self._memory_child or time.monotonic() < self._next_of_memory:
            return 0
        self._memory_child = fork(lambda: recover_memory(config), _LONGEST_RUN_SECONDS)
        return self._memory_child

    def note_end(self, child_id: int, config: Config) -> int:
        """Take note that a process has ended; after the rule for memory the others have their turn, as `start`."""
        if child_id != self._memory_child:
            return 0
        self._memory_child = 0
        self._next_of_memory = time.monotonic() + _PAUSE_OF_MEMORY_SECONDS
        return self.start(frozenset({"after memory"}), config)

    def _start_all(self, rows: frozenset[str], config: Config) -> int:
        now = time.monotonic()
        if now < self._next:
            # Something else has become critical: what was done for the first is no answer to it.
            if rows <= self._rows:
                return 0
            rows |= self._rows
        self._rows = rows
        self._next = now + _PAUSE_SECONDS
        return fork(lambda: start_recovery(config.path))
