"""The curves that a forecast follows: a line, a parabola or an exponential through blocks of points. Pure.

A line's slope is the median slope of all pairs of blocks, which bursts and up to 29 % of foreign points do not move
(Theil 1950; Sen 1968, doi:10.1080/01621459.1968.10480934). Where the older and the newer half differ, a parabola and an
exponential are tried: their bend comes from the slopes of the halves, the rest again from median slopes. A bent curve
must leave no more than white noise (median second difference, as von Neumann 1941, doi:10.1214/aoms/1177731677), or
the stretch is too long: a leak that has just begun is a kink and neither of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from typing import NamedTuple

from vpsmon.trends.series import Point, median

# A bent curve must lie this much closer to the blocks than the line; less is what any third number gains.
_BENT_SHARE = 0.6
# The median distance of white noise is 1/2.45 of its median second difference; 1.3 leaves room for chance.
_NOISE_OF_SECOND_DIFFERENCE = 1.3 / 2.45
# In MB: numbers are rounded, and joined ones lie up to half a pass beside their time.
ROUNDING = 0.5
# Of a half of the time; a steeper bend is a kink.
_MOST_GROWTH = 3.5


class Curve(NamedTuple):
    """A curve; `hours` of 0 is now, `spread` the median distance of a block from it, tau Kendall's of the blocks.

    A parabola has a `bend`, the change of its slope per hour; an exponential a `growth`, the share per hour by which
    its slope grows.
    """

    level: float
    per_hour: float
    bend: float
    growth: float
    spread: float
    tau: float

    def at(self, hours: float) -> float:
        """Return the value so many hours from now."""
        return self.level + self.per_hour * _stretch(hours, self.growth) + self.bend * hours * hours / 2

    def slope_at(self, hours: float) -> float:
        """Return the change per hour so many hours from now."""
        return self.per_hour * math.exp(self.growth * hours) + self.bend * hours

    def find_hours_to_fall(self, depth: float, origin: float) -> float:
        """Return the hours from the origin until the curve, which falls there, is that much lower.

        A fall that slows down is followed along its tangent: nothing says that it will end by itself.
        """
        if depth <= 0:
            return 0.0
        per_hour, bend = self.slope_at(origin), min(0.0, self.bend)
        if self.growth:
            return math.log1p(self.growth * depth / -per_hour) / self.growth
        return 2 * depth / (-per_hour + math.sqrt(per_hour**2 - 2 * bend * depth))


def _stretch(hours: float, growth: float) -> float:
    """Return the time in which an exponential is a line."""
    return math.expm1(growth * hours) / growth if growth else hours


@lru_cache(maxsize=64)
def fit_curve(blocks: tuple[Point, ...]) -> Curve | None:
    """Return the line or a bent curve, or None where the blocks are clearly bent but follow neither of them."""
    line = fit_line(blocks)
    half = len(blocks) // 2
    older, newer = blocks[:half], blocks[half:]
    apart = median([block.hours for block in newer]) - median([block.hours for block in older])
    before, after = _median_slope(older), _median_slope(newer)
    bent = _fit(blocks, (after - before) / apart, 0.0)
    if after < before < 0:
        exponential = _fit(blocks, 0.0, min(_MOST_GROWTH, math.log(after / before)) / apart)
        bent = min(bent, exponential, key=lambda curve: curve.spread)
    if bent.spread >= line.spread * _BENT_SHARE:
        return line
    differences = [later.middle - earlier.middle for earlier, later in pairwise(blocks)]
    noise = median([abs(later - earlier) for earlier, later in pairwise(differences)]) * _NOISE_OF_SECOND_DIFFERENCE
    return bent._replace(tau=line.tau) if bent.spread < noise + ROUNDING else None


def fit_line(blocks: Sequence[Point]) -> Curve:
    """Return the Theil-Sen line."""
    return _fit(blocks, 0.0, 0.0)


def _fit(blocks: Sequence[Point], bend: float, growth: float) -> Curve:
    """Return the Theil-Sen line of what bend and growth leave."""
    times = [_stretch(block.hours, growth) for block in blocks] if growth else [block.hours for block in blocks]
    values = [block.middle - bend * block.hours**2 / 2 for block in blocks]
    slopes = sorted(_slopes(times, values))
    per_hour = median(slopes)
    rest = [value - per_hour * time for time, value in zip(times, values, strict=True)]
    level = median(rest)
    spread = median([abs(each - level) for each in rest])
    concordance = len(slopes) - bisect_right(slopes, 0.0) - bisect_left(slopes, 0.0)
    return Curve(level, per_hour, bend, growth, spread, concordance / len(slopes))


def _median_slope(blocks: Sequence[Point]) -> float:
    return median(_slopes([block.hours for block in blocks], [block.middle for block in blocks]))


def _slopes(times: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return the slopes of all pairs: most of the time of a forecast is spent here."""
    pairs = combinations(zip(times, values, strict=True), 2)
    return [(value - earlier_value) / (time - earlier_time) for (earlier_time, earlier_value), (time, value) in pairs]
