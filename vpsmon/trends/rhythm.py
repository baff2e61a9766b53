"""The rhythm of a day in what is free: taken out before a trend is sought, and put back when its end is. Pure.

What a centred mean of 24 hours leaves is the day (the classic decomposition; Kendall and Stuart, The Advanced Theory of
Statistics 3, ch. 46), and two harmonics of it are kept. It must calm the whole past, not only the days it was drawn
from: one restart or the beginning of a leak looks like a day too, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from vpsmon.trends.series import Point, Series, median

_DAY_HOURS = 24
_PER_HOUR = 2 * math.pi / _DAY_HOURS
# The rhythm must take this much from the median bump over twice so many hours.
_MOST_LEFT = 0.65
_BUMP_HOURS = 6
# A harmonic of what stays within a range reaches at most 4/pi of it, and there are two.
_HARMONICS_OF_RANGE = 8 / math.pi


class Rhythm(NamedTuple):
    """The cosine and the sine of a day, and those of half a day, in MB."""

    cosine: float
    sine: float
    half_cosine: float
    half_sine: float


def value_at(rhythm: Rhythm, hours: float) -> float:
    """Return by how much more is free than the day's mean at that time."""
    cosine, sine = math.cos(_PER_HOUR * hours), math.sin(_PER_HOUR * hours)
    day = rhythm[0] * cosine + rhythm[1] * sine
    return day + rhythm[2] * (2 * cosine * cosine - 1) + rhythm[3] * 2 * cosine * sine


@lru_cache(maxsize=2)
def find_rhythm(hours: tuple[Point, ...]) -> Rhythm | None:
    """Return the rhythm of points that are an hour apart, or None: there is none, or less than two days are known."""
    days = (len(hours) - 1) // _DAY_HOURS - 1
    if days < 1 or hours[-1].hours - hours[0].hours > len(hours) * 1.05:
        return None
    rest = list(_leave_the_day(hours[-(days + 1) * _DAY_HOURS - 1 :]))
    rhythm = Rhythm(*_find_wave(rest, 1), *_find_wave(rest, 2))
    before = [point.middle for point in hours]
    after = [point.middle - value_at(rhythm, point.hours) for point in hours]
    return rhythm if _median_bump(after) < _median_bump(before) * _MOST_LEFT else None


def most_rhythm(middles: Sequence[float]) -> float:
    """Return how far from its mean a rhythm of these hours can be at most, without looking for one."""
    if len(middles) <= 2 * _DAY_HOURS:
        return 0.0
    return _HARMONICS_OF_RANGE * (max(middles) - min(middles))


def _leave_the_day(hours: Sequence[Point]) -> Iterator[tuple[float, float]]:
    """Yield the times that are half a day from either end, and how far the value is from the mean of the day around."""
    middles = [point.middle for point in hours]
    half = _DAY_HOURS // 2
    for index in range(half, len(hours) - half - 1):
        first, last = index - half, index + half
        mean = (sum(middles[first + 1 : last]) + (middles[first] + middles[last]) / 2) / _DAY_HOURS
        yield hours[index].hours, middles[index] - mean


def _find_wave(rest: Sequence[tuple[float, float]], per_day: int) -> tuple[float, float]:
    """Return the Fourier coefficients of a whole number of days."""
    angles = [_PER_HOUR * per_day * hours for hours, _ in rest]
    cosine = sum([value * math.cos(angle) for angle, (_, value) in zip(angles, rest, strict=True)])
    sine = sum([value * math.sin(angle) for angle, (_, value) in zip(angles, rest, strict=True)])
    return 2 * cosine / len(rest), 2 * sine / len(rest)


def _median_bump(values: Sequence[float]) -> float:
    """Return the median second difference: a line has none, and a kink has it once."""
    bumps = zip(values, values[_BUMP_HOURS:], values[2 * _BUMP_HOURS :], strict=False)
    return median([abs(first - 2 * second + third) for first, second, third in bumps])


def take_out(series: Series, rhythm: Rhythm) -> Series:
    """Return the series without the rhythm."""
    return Series(*(_take_out(points, rhythm) for points in series))


@lru_cache(maxsize=8)
def _take_out(points: tuple[Point, ...], rhythm: Rhythm) -> tuple[Point, ...]:
    more = [value_at(rhythm, point.hours) for point in points]
    return tuple(
        [
            Point(hours, low - extra, middle - extra, high - extra)
            for (hours, low, middle, high), extra in zip(points, more, strict=True)
        ]
    )
