"""Whether a fall of what is free has come before, and has ended by itself: then it is no trend. Pure.

A collector, a working day, a restart every night: what is free falls and rises again. A fall that is no deeper and no
longer than two that were seen to rise again is one more of them. One that left little free is no comfort: it may have
risen because somebody restarted what leaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.trends.series import Point, Series

_LEAST_FALLS = 2
# No two are alike: one that is deeper or longer by this share, or by what those seen differ, is one more of the same.
_LEAST_DIFFERENCE = 0.15
# A fall counts when it, and the rise after it, have this share of the present one.
_LEAST_SHARE = 0.6
# Of the most that was ever free.
_LEAST_LEFT = 0.25


class Fall(NamedTuple):
    """A fall of what is free from a high to a low, in MB and hours."""

    high: float
    low: float
    hours: float


def is_recurring(series: Series, fall: Fall) -> bool:
    """Return whether falls like the present one have risen again often enough."""
    points = _join_tiers(series)
    falls = find_falls(points, (fall.high - fall.low) * _LEAST_SHARE)
    if not falls:
        return False
    present = falls[-1]
    depth, hours = max(fall.high, present.high) - fall.low, max(fall.hours, present.hours)
    least_left = max([point.middle for point in points]) * _LEAST_LEFT
    seen = [(each.high - each.low, each.hours) for each in falls[:-1] if each.low >= least_left]
    deep = _as_large(seen, 0, depth)
    return len(_as_large(deep, 1, hours)) >= _LEAST_FALLS


def _as_large(falls: Sequence[tuple[float, float]], of: int, present: float) -> list[tuple[float, float]]:
    """Return the falls that are as deep, or as long, as the present one, or nearly so: by as much as they differ."""
    sizes = [fall[of] for fall in falls]
    largest = max(sizes, default=0.0)
    if not largest:
        return []
    more = 1 + max(_LEAST_DIFFERENCE, 1 - min(sizes) / largest)
    return [fall for fall in falls if fall[of] * more >= present]


def find_falls(points: Sequence[Point], least: float) -> list[Fall]:
    """Return the falls that rose again, and the one that goes on, each of at least so much (a zigzag)."""
    falls: list[Fall] = []
    high = low = points[0]
    is_falling = False
    for point in points:
        if is_falling:
            if point.low <= low.low:
                low = point
            elif point.high - low.low >= least:
                falls.append(Fall(high.high, low.low, low.hours - high.hours))
                is_falling, high = False, point
        elif point.high >= high.high:
            high = point
        elif high.high - point.low >= least:
            is_falling, low = True, point
    if is_falling:
        falls.append(Fall(high.high, low.low, points[-1].hours - high.hours))
    return falls


def _join_tiers(series: Series) -> list[Point]:
    """Return all that was seen, each time in the finest tier that has it."""
    points: list[Point] = []
    for tier in (series.passes, series.minutes, series.hours):
        first = points[0].hours if points else float("inf")
        points = [*[point for point in tier if point.hours < first], *points]
    return points
