"""Reading several checks at once, each in a thread of its own that nobody waits for longer than its deadline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from vpsmon.checks import Check
from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.passes.check_memory import Recall
from vpsmon.passes.run_check import Attempt, attempt
from vpsmon.system.host import Host

DEADLINE_SECONDS = 5.0


def start_in_parallel(
    checks: Sequence[Check], host: Host, settings: Settings, recall: Recall, deadline_seconds: float = DEADLINE_SECONDS
) -> Attempts:
    """Start reading all checks at once, each in a thread that nobody waits for longer than the deadline."""
    attempts = Attempts(checks, host.monotonic_seconds, deadline_seconds * host.patience)
    for check in checks:
        previous = recall(check)
        work = (check, host, settings, previous)
        try:
            threading.Thread(target=lambda work=work: attempts.put(attempt(*work)), daemon=True).start()
        except RuntimeError:
            # No memory for its stack, or TasksMax or pids.max is reached.
            attempts.put(Attempt(check, None, ReadError("no thread to read it could be started: see ulimit -u, free")))
    return attempts


class Attempts:
    """Readings that are on their way."""

    def __init__(self, checks: Sequence[Check], clock: Callable[[], float], deadline_seconds: float) -> None:
        self._checks = checks
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._started_seconds = clock()
        self._arrived: dict[str, Attempt] = {}
        self._queue: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self.put = self._queue.put

    def wait(self, longest_seconds: float) -> bool:
        """Wait until all have arrived or the time since the start is over; return whether all have arrived."""
        while len(self._arrived) < len(self._checks):
            remaining_seconds = self._started_seconds + longest_seconds - self._clock()
            try:
                arrived = self._queue.get(timeout=max(0.0, remaining_seconds))
            except queue.Empty:
                return False
            self._arrived[arrived.check.__name__] = arrived
        return True

    def collect(self) -> list[Attempt]:
        """Return what has arrived by the deadline, and for the rest that it has not, in the order of the checks."""
        self.wait(self._deadline_seconds)
        return [self._arrived.get(check.__name__) or self._give_up(check) for check in self._checks]

    def _give_up(self, check: Check) -> Attempt:
        error = ReadError(f"no answer in {self._deadline_seconds:g} s; the next pass asks again")
        return Attempt(check, None, error, duration_seconds=self._deadline_seconds)
