"""When a dip below the curve of a trend meets zero: the median of a first passage. Pure.

Dips come again as often as they were seen, each at any moment, so ln 2 of those that reach zero are expected until one
has done so as likely as not (Siegert 1951, doi:10.1103/PhysRev.81.617).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.trends.curves import Curve
from vpsmon.trends.rhythm import Rhythm, value_at
from vpsmon.trends.series import Point

_RHYTHM_STEP_HOURS = 0.25
_EXPECTED = math.log(2)


class Dips(NamedTuple):
    """How far the lows of so many hours were below the curve, in MB, none above 0, the deepest first."""

    depths: list[float]
    seen_hours: float


def find_dips(curve: Curve, lows: Sequence[Point], origin: float) -> Dips:
    """Return the dips of points; the hours of the curve are counted from the origin."""
    depths = sorted([min(0.0, point.low - curve.at(point.hours - origin)) for point in lows])
    return Dips(depths, lows[-1].hours - lows[0].hours)


def find_passage(curve: Curve, dips: Dips, now: float) -> float:
    """Return the hours left; `now` in hours of the curve, which falls there."""
    level, expected, meeting, since = curve.at(now), 0.0, 0, 0.0
    for depth in dips.depths:
        crossing = curve.find_hours_to_fall(level + depth, now)
        more = (crossing - since) * meeting / dips.seen_hours
        if expected + more >= _EXPECTED:
            break
        expected, meeting, since = expected + more, meeting + 1, crossing
    return since + (_EXPECTED - expected) * dips.seen_hours / meeting


def find_passage_with_rhythm(
    curve: Curve, dips: Dips, rhythm: Rhythm, now: float, origin: float, most_hours: float
) -> float:
    """Return the hours left while the day's rhythm goes on, or a little more than the most that is asked for."""
    expected, hours = 0.0, 0.0
    while hours <= most_hours:
        middle = now + hours + _RHYTHM_STEP_HOURS / 2
        level = curve.at(middle - origin) + value_at(rhythm, middle)
        more = bisect_right(dips.depths, -level) / dips.seen_hours * _RHYTHM_STEP_HOURS
        if expected + more >= _EXPECTED:
            return hours + (_EXPECTED - expected) / more * _RHYTHM_STEP_HOURS
        expected, hours = expected + more, hours + _RHYTHM_STEP_HOURS
    return hours
