"""When the resident monitor has a recovery started: at once for what is critical, and not all the time."""

from __future__ import annotations

import time

from vpsmon.resident.child_process import fork
from vpsmon.resident.reexec import Orders
from vpsmon.system.log import say

_PAUSE_SECONDS = 60.0
# What no rule repairs may stay critical for days; only its timer starts recovery for it again.
_PAUSE_BEYOND_REPAIR_SECONDS = 86_400.0
# Where memory is running out one rule helps, and it has to look again within seconds.
_PAUSE_OF_MEMORY_SECONDS = 5.0
# It waits for what it did to show an effect, container after container.
_LONGEST_RUN_SECONDS = 900


class RecoveryLauncher:
    """Starts recoveries as processes. Recovery itself looks again, and knows what it did just before."""

    def __init__(self) -> None:
        self._memory_child = 0
        self._next_of_memory = 0.0
        self._next: dict[str, float] = {}

    def start(self, rows: dict[str, bool], orders: Orders, is_memory_short: bool = False) -> int:
        """Have what is critical repaired; return the id of the process that was started for it, or 0.

        `rows` are those that are critical, each with whether it is beyond repair.
        """
        if not orders.may_start_recovery:
            return 0
        try:
            return self._start_memory(orders) if is_memory_short else self._start_all(rows, orders)
        except OSError as error:
            say("error", f"recovery could not be started: {error.strerror}; its timer comes next")
            return 0

    def _start_memory(self, orders: Orders) -> int:
        if self._memory_child or time.monotonic() < self._next_of_memory:
            return 0
        self._memory_child = fork(lambda: _recover_memory(orders), _LONGEST_RUN_SECONDS)
        return self._memory_child

    def is_of_memory(self, child_id: int) -> bool:
        """Return whether this is the process of the rule for memory."""
        return child_id == self._memory_child

    def note_end_of_memory(self, is_over: bool, orders: Orders) -> int:
        """Take note that the rule for memory has ended; when memory is no longer short the others have their turn.

        Before that they would only be in its way. Returns as `start`.
        """
        self._memory_child = 0
        self._next_of_memory = time.monotonic() + _PAUSE_OF_MEMORY_SECONDS
        return self.start({"after memory": False}, orders) if is_over else 0

    def _start_all(self, rows: dict[str, bool], orders: Orders) -> int:
        now = time.monotonic()
        # Something else that has become critical does not wait: what was done for the first is no answer to it.
        if all(now < self._next.get(row, now) for row in rows):
            return 0
        for row, is_beyond_repair in rows.items():
            self._next[row] = now + (_PAUSE_BEYOND_REPAIR_SECONDS if is_beyond_repair else _PAUSE_SECONDS)
        return fork(lambda: _start_recovery(orders))


def _recover_memory(orders: Orders) -> int:
    from vpsmon.resident.child_tasks import recover_memory

    return recover_memory(orders.unpack_config())


def _start_recovery(orders: Orders) -> int:
    from vpsmon.resident.child_tasks import start_recovery

    return start_recovery(orders.unpack_config().path)
