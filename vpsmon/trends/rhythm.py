"""The rhythm of a day in what is free: taken out before a trend is sought, and put back when its end is. Pure.

What a centred mean of 24 hours leaves is the day (the classic decomposition; Kendall and Stuart, The Advanced Theory of
Statistics 3, ch. 46), and two harmonics of it are kept. One restart or the beginning of a leak looks like a day too,
once: so each day is drawn by itself, and the one counts, or their median, that calms the whole past most.

Before two days are known there is no mean of a day on both sides. Then the change from an hour to the same hour of the
next day is the trend (the seasonal slope of Hirsch, Slack and Smith 1982, doi:10.1029/WR018i001p00107), and what it
leaves of the latest day is the rhythm, if that change is the same at every hour that was seen twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from vpsmon.trends.curves import fit_curve, fit_line
from vpsmon.trends.series import Point, Series, median

_DAY_HOURS = 24
_PER_HOUR = 2 * math.pi / _DAY_HOURS
# The rhythm must take this much from the median bump over twice so many hours.
_MOST_LEFT = 0.65
_BUMP_HOURS = 6
# From four hours that were seen twice on: in less the beginning of a leak looks like a rhythm.
_LEAST_HOURS = _DAY_HOURS + 4
# Of how far the hours are from a curve; a leak that changes its speed is as far from it as from the day before.
_MOST_UNLIKE = 0.5
# Of the most that was free.
_MOST_HIGH = 0.25
# Of what stays within a range each of the four numbers is at most 4/pi, and a cosine and a sine are at right angles.
_RHYTHM_OF_RANGE = 8 * math.sqrt(2) / math.pi


class Rhythm(NamedTuple):
    """The cosine and the sine of a day, and those of half a day, in MB."""

    cosine: float
    sine: float
    half_cosine: float
    half_sine: float


# The same four of a rhythm of one MB, at one time.
Angles = tuple[float, float, float, float]


def value_at(rhythm: Rhythm, hours: float) -> float:
    """Return by how much more is free than the day's mean at that time."""
    return _draw(rhythm, [_find_angles(hours)])[0]


def _find_angles(hours: float) -> Angles:
    cosine, sine = math.cos(_PER_HOUR * hours), math.sin(_PER_HOUR * hours)
    return cosine, sine, 2 * cosine * cosine - 1, 2 * cosine * sine


def _draw(rhythm: Rhythm, angles: Sequence[Angles]) -> list[float]:
    """Return by how much more is free than the day's mean at each of the times."""
    first, second, third, fourth = rhythm
    return [
        first * cosine + second * sine + third * half_cosine + fourth * half_sine
        for cosine, sine, half_cosine, half_sine in angles
    ]


@lru_cache(maxsize=2)
def find_rhythm(hours: tuple[Point, ...]) -> Rhythm | None:
    """Return the rhythm of points that are an hour apart, or None: there is none, or it has not come again yet."""
    if len(hours) < _LEAST_HOURS or hours[-1].hours - hours[0].hours > len(hours) * 1.05:
        return None
    middles = [point.middle for point in hours]
    angles = [_find_angles(point.hours) for point in hours]
    is_young = len(hours) <= 2 * _DAY_HOURS
    rhythms = _draw_young_rhythm(hours, middles, angles) if is_young else _draw_rhythms(middles, angles)
    bumps = {
        _median_bump([middle - more for middle, more in zip(middles, _draw(rhythm, angles), strict=True)]): rhythm
        for rhythm in rhythms
    }
    least = min(bumps, default=math.inf)
    return bumps[least] if least < _median_bump(middles) * _MOST_LEFT else None


def _draw_rhythms(middles: Sequence[float], angles: Sequence[Angles]) -> list[Rhythm]:
    """Return the rhythm of each day from now back and of the first day, and the median of all."""
    rest = _leave_the_day(middles)
    inner = angles[_DAY_HOURS // 2 :]
    starts = {0, *range(len(rest) - _DAY_HOURS, 0, -_DAY_HOURS)}
    days = [_draw_rhythm(rest[start : start + _DAY_HOURS], inner[start : start + _DAY_HOURS]) for start in starts]
    return [*days, Rhythm(*[median(several) for several in zip(*days, strict=True)])]


def _draw_young_rhythm(hours: tuple[Point, ...], middles: Sequence[float], angles: Sequence[Angles]) -> list[Rhythm]:
    """Return the rhythm of the latest day, or nothing if what was seen of the day before was another."""
    changes = [later - earlier for earlier, later in zip(middles, middles[_DAY_HOURS:], strict=False)]
    change, curve = median(changes), fit_curve(hours) or fit_line(hours)
    off = _find_large([abs(point.middle - curve.at(point.hours)) for point in hours])
    if _find_large([abs(each - change) for each in changes]) >= off * _MOST_UNLIKE:
        return []
    day = [middle - change * index / _DAY_HOURS for index, middle in enumerate(middles)][-_DAY_HOURS:]
    # What is seen once and is that high can be a restart between two leaks.
    return [_draw_rhythm(day, angles[-_DAY_HOURS:])] if max(day) - min(day) < max(middles) * _MOST_HIGH else []


def _find_large(values: Sequence[float]) -> float:
    """Return the value that a fifth of them reach: a leak that has just begun is not in the middle one."""
    return sorted(values)[len(values) * 4 // 5]


def _draw_rhythm(day: Sequence[float], angles: Sequence[Angles]) -> Rhythm:
    """Return the Fourier coefficients of a day."""
    sums = [sum([value * part for value, part in zip(day, wave, strict=True)]) for wave in zip(*angles, strict=True)]
    return Rhythm(*[2 * each / _DAY_HOURS for each in sums])


def most_rhythm(middles: Sequence[float]) -> float:
    """Return how far from its mean a rhythm of these hours can be at most, without looking for one."""
    if len(middles) < _LEAST_HOURS:
        return 0.0
    return _RHYTHM_OF_RANGE * (max(middles) - min(middles))


def _leave_the_day(middles: Sequence[float]) -> list[float]:
    """Return how far each value that is half a day from either end is from the mean of the day around."""
    half = _DAY_HOURS // 2
    sums = list(accumulate(middles, initial=0.0))
    # A day from half an hour to half an hour is the mean of the one that begins earlier and the one that ends later.
    days = [later - earlier for earlier, later in zip(sums, sums[_DAY_HOURS:], strict=False)]
    return [
        middle - (first + last) / 2 / _DAY_HOURS
        for middle, first, last in zip(middles[half:], days, days[1:-1], strict=False)
    ]


def _median_bump(values: Sequence[float]) -> float:
    """Return the median second difference: a line has none, and a kink has it once."""
    bumps = zip(values, values[_BUMP_HOURS:], values[2 * _BUMP_HOURS :], strict=False)
    return median([abs(first - 2 * second + third) for first, second, third in bumps])


def take_out(series: Series, rhythm: Rhythm) -> Series:
    """Return the series without the rhythm."""
    return Series(*(_take_out(points, rhythm) for points in series))


@lru_cache(maxsize=8)
def _take_out(points: tuple[Point, ...], rhythm: Rhythm) -> tuple[Point, ...]:
    more = _draw(rhythm, [_find_angles(point.hours) for point in points])
    return tuple(
        [
            Point(hours, low - extra, middle - extra, high - extra)
            for (hours, low, middle, high), extra in zip(points, more, strict=True)
        ]
    )
