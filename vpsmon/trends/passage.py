"""When a dip below the curve of a trend meets zero: the median of a first passage. Pure.

Dips come again as often as they were seen, each at any moment, so ln 2 of those that reach zero are expected until one
has done so as likely as not (Siegert 1951, doi:10.1103/PhysRev.81.617), and so for any other chance.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vpsmon.trends.curves import Curve
from vpsmon.trends.rhythm import Rhythm, value_at
from vpsmon.trends.series import Point

_RHYTHM_STEP_HOURS = 0.25
# How many dips that reach zero are expected when one has come with a chance of 10, 50 and 90 %.
_EXPECTED = [-math.log1p(-chance) for chance in (0.1, 0.5, 0.9)]


class Dips(NamedTuple):
    """How far the lows of so many hours were below the curve, in MB, none above 0, the deepest first."""

    depths: list[float]
    seen_hours: float


class Passage(NamedTuple):
    """The hours until a dip meets zero: one in ten does earlier than the earliest, and one later than the latest."""

    earliest: float
    middle: float
    latest: float


def find_dips(curve: Curve, lows: Sequence[Point], origin: float) -> Dips:
    """Return the dips of points; the hours of the curve are counted from the origin."""
    depths = sorted([min(0.0, point.low - curve.at(point.hours - origin)) for point in lows])
    return Dips(depths, lows[-1].hours - lows[0].hours)


def find_passage(curve: Curve, dips: Dips, now: float) -> Passage:
    """Return the hours left; `now` in hours of the curve, which falls there."""
    level = curve.at(now)
    crossings = (curve.find_hours_to_fall(level + depth, now) for depth in dips.depths)
    return _find_times((hours, count / dips.seen_hours) for count, hours in enumerate(crossings, start=1))


def find_passage_with_rhythm(
    curve: Curve, dips: Dips, rhythm: Rhythm, now: float, origin: float, most_hours: float
) -> Passage:
    """Return the hours left while the day's rhythm goes on, or a little more than the most that is asked for."""
    return _find_times(_follow_rhythm(curve, dips, rhythm, now, origin, most_hours))


def _follow_rhythm(
    curve: Curve, dips: Dips, rhythm: Rhythm, now: float, origin: float, most_hours: float
) -> Iterator[tuple[float, float]]:
    """Yield from which hour on so many dips an hour meet zero."""
    hours = 0.0
    while hours <= most_hours:
        middle = now + hours + _RHYTHM_STEP_HOURS / 2
        level = curve.at(middle - origin) + value_at(rhythm, middle)
        yield hours, bisect_right(dips.depths, -level) / dips.seen_hours
        hours += _RHYTHM_STEP_HOURS
    yield hours, math.inf


def _find_times(rates: Iterator[tuple[float, float]]) -> Passage:
    """Return when as many dips are expected as each chance takes, at rates that each hold from an hour on."""
    times: list[float] = []
    expected = since = rate = 0.0
    for hours, next_rate in (*rates, (math.inf, 0.0)):
        while rate and len(times) < len(_EXPECTED) and (_EXPECTED[len(times)] - expected) / rate <= hours - since:
            times.append(since + (_EXPECTED[len(times)] - expected) / rate)
        expected, since, rate = expected + (hours - since) * rate, hours, next_rate
    return Passage(*times)
