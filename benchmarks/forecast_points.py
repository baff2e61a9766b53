"""The series that the history would give a pass, made at once for all passes of a trace instead of line by line.

Writing every pass of weeks takes longer than the forecasts themselves. A test holds that both ways give the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.checks.kernel import disk_forecast
from vpsmon.trends.history import TIERS
from vpsmon.trends.samples import MACHINE
from vpsmon.trends.series import Point, Series, median


class _Tier(NamedTuple):
    """The joined points of a tier, and in which pass each was first there."""

    points: list[Point]
    passes: list[int]
    most: int


class SeriesOfTrace:
    """What was free (or is left below a limit), as each pass looks back on it."""

    def __init__(self, hours: Sequence[float], free_mb: Sequence[float], what: str = MACHINE) -> None:
        self._passes = [Point(at, value, value, value) for at, value in zip(hours, free_mb, strict=True)]
        passes, minutes, coarse = TIERS.get(what, TIERS[MACHINE])
        self._most_passes = passes.lines_read if what in TIERS else disk_forecast.LATEST_PASSES
        self._minutes = _join(self._passes, hours, minutes.seconds, minutes.lines_read)
        self._hours = _join(self._minutes.points, hours, coarse.seconds, coarse.lines_read)

    def at(self, number: int) -> Series:
        """Return the series of that pass, which ends with what it reads itself."""
        return Series(
            tuple(self._passes[max(0, number - self._most_passes) : number + 1]),
            _tail(self._minutes, number),
            _tail(self._hours, number),
        )


def _tail(tier: _Tier, number: int) -> tuple[Point, ...]:
    end = bisect_left(tier.passes, number)
    return tuple(tier.points[max(0, end - tier.most) : end])


def _join(finer: Sequence[Point], hours: Sequence[float], seconds: int, most: int) -> _Tier:
    """Return the points of a coarser tier: one is there with the first pass of another bucket."""
    groups: dict[int, list[Point]] = {}
    for point in finer:
        groups.setdefault(int(point.hours * 3600 // seconds), []).append(point)
    points = [_join_points(group) for group in groups.values()]
    firsts = [bisect_left(hours, (bucket + 1) * seconds / 3600 - 1e-9) for bucket in groups]
    return _Tier(points, firsts, most)


def _join_points(points: Sequence[Point]) -> Point:
    hours, lows, middles, highs = zip(*points, strict=True)
    return Point(sum(hours) / len(hours), min(lows), round(median(middles), 1), max(highs))
