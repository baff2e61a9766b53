"""Reading the checks: one after another for the kernel's, side by side for the stack's, each with its own deadline.

Whatever goes wrong in a check becomes a row of that check and stays there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vpsmon.checks import Check
from vpsmon.findings import Finding, NotApplicable, Previous, ReadError, Status
from vpsmon.host import Host
from vpsmon.settings import Settings

DEADLINE_SECONDS = 5.0

Recall = Callable[[Check], Previous | None]


class Attempt(NamedTuple):
    """One check's reading, or what was raised instead of it."""

    check: Check
    reading: Any
    error: Exception | None


class Outcome(NamedTuple):
    """The rows of one check, and what it wants to remember; None keeps what it remembered before."""

    findings: list[Finding]
    memory: dict[str, Any] | None


def attempt(check: Check, host: Host, settings: Settings, previous: Previous | None) -> Attempt:
    """Read one check."""
    try:
        return Attempt(check, check.read(host, settings, previous), None)
    except (NotApplicable, ReadError, OSError) as error:
        return Attempt(check, None, error)
    except Exception as error:
        # What was remembered may be of another form: without it the check starts afresh.
        return Attempt(check, None, error) if previous is None else attempt(check, host, settings, None)


def attempt_side_by_side(
    checks: Sequence[Check], host: Host, settings: Settings, recall: Recall, deadline_seconds: float = DEADLINE_SECONDS
) -> Attempts:
    """Start reading all checks at once, each in a thread that nobody waits for longer than the deadline."""
    attempts = Attempts(checks, host.monotonic_seconds, deadline_seconds)
    for check in checks:
        previous = recall(check)
        work = (check, host, settings, previous)
        threading.Thread(target=lambda work=work: attempts.put(attempt(*work)), daemon=True).start()
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
        late = ReadError(f"no answer in {self._deadline_seconds:g} s; the next pass asks again")
        return [self._arrived.get(check.__name__) or Attempt(check, None, late) for check in self._checks]


def judge_attempt(attempt: Attempt, settings: Settings, previous: Previous | None) -> Outcome:
    """Return the rows of a check and what it remembers."""
    check, reading, error = attempt
    if isinstance(error, NotApplicable):
        return Outcome(_rows_without_value(check, "skipped", "not applicable here", str(error)), None)
    if isinstance(error, (ReadError, OSError)):
        return Outcome(_rows_without_value(check, "unknown", "cannot be read", str(error)), None)
    try:
        if error is not None:
            raise error
        remember = getattr(check, "remember", None)
        findings = check.judge(reading, settings, previous)
        return Outcome(findings, remember(reading, previous) if remember else None)
    except Exception as failure:
        if previous is not None and error is None:
            return judge_attempt(attempt, settings, None)
        reason = f"unexpected {type(failure).__name__} in {check.__name__}: please report this"
        return Outcome(_rows_without_value(check, "unknown", "failed", reason), None)


def _rows_without_value(check: Check, status: Status, message: str, reason: str) -> list[Finding]:
    return [Finding(name, None, status, None, unit, message, reason) for name, unit in check.ROWS.items()]
