"""When the resident monitor looks next, and at how much: at its interval, and at once when the kernel rings. Pure."""

from __future__ import annotations

# Over less than 2 s a single stall looks like a permanent one (vpsmon/checks/kernel/pressure.py); so a look that was
# asked for waits until the one before is old enough for a rate. The kernel rings at most every 2 s as well.
CLOSEST_SECONDS = 2.1
# A machine under lasting pressure rings all the time. A pass costs some 20 ms, and writes to a disk that is busy.
_MOST_AT_ONCE = 15
_SECONDS_FOR_ONE_MORE = 5.0
# The shortest times that a check or rule counts in are minutes: seen once a minute, none of them is missed.
_LONGEST_WITHOUT_STACK_SECONDS = 60.0


class Pace:
    """All times are seconds of the monotonic clock."""

    def __init__(self, now: float) -> None:
        self._next_regular = now
        self._is_rung = False
        self._latest = float("-inf")
        self._credit = float(_MOST_AT_ONCE)
        self._credit_since = now

    def ring(self) -> None:
        """Ask for a look as soon as that makes sense."""
        self._is_rung = True

    def look_now(self) -> None:
        """Have the next regular look at once."""
        self._next_regular = float("-inf")

    def find_due(self) -> float:
        """Return when the next look is due."""
        if not self._is_rung:
            return self._next_regular
        missing = max(0.0, 1.0 - self._credit) * _SECONDS_FOR_ONE_MORE
        return min(self._next_regular, max(self._latest + CLOSEST_SECONDS, self._credit_since + missing))

    def start(self, now: float, interval_seconds: float) -> bool:
        """Note that a look starts now; return whether it is a regular one, at everything."""
        # A regular look that would follow too closely is had now.
        is_regular = now >= self._next_regular - (CLOSEST_SECONDS if self._is_rung else 0.0)
        self._credit = min(float(_MOST_AT_ONCE), self._credit + (now - self._credit_since) / _SECONDS_FOR_ONE_MORE)
        self._credit_since = now
        if is_regular:
            self._next_regular = now + interval_seconds
        else:
            self._credit -= 1
        self._latest = now
        self._is_rung = False
        return is_regular


class StackTurns:
    """Which regular looks ask the stack: all, but only every second one while all is well. Asking it is most of a look.

    What Docker tells of containers in between is enough to have the next look ask.
    """

    def __init__(self) -> None:
        self._is_well = False
        # Since the latest look started: even if it found all well, it may have missed that.
        self._has_happened = False

    def note_event(self) -> None:
        """Note that something has happened."""
        self._has_happened = True

    def note_end(self, is_well: bool) -> None:
        """Note whether the look that asked found all well."""
        self._is_well = is_well

    def is_next(self, interval_seconds: float) -> bool:
        """Return whether the look that starts now asks the stack; after one that does not, the next one does."""
        is_short = 2 * interval_seconds <= _LONGEST_WITHOUT_STACK_SECONDS
        may_pause = is_short and self._is_well and not self._has_happened
        self._is_well = self._has_happened = False
        return not may_pause
