"""How long until something runs out at its present trend: memory with swap, a container's limit, a disk. Pure.

The longest stretch up to now that one curve explains is looked for, and that curve is followed to zero. So a saw tooth
of garbage collections or a day's rhythm that has been seen before is noise around a flat line, while a leak that began
or grew faster an hour ago makes the long curves miss the present, and a shorter one speaks.

- A line's slope is the median slope of all pairs of blocks, which bursts and up to 29 % of foreign points do not move
  (Theil 1950; Sen 1968, doi:10.1080/01621459.1968.10480934). Where older and newer half differ, a parabola is tried:
  its bend from the slopes of the halves, the rest again by median slopes. It must leave no more than white noise
  (median second difference, as von Neumann 1941, doi:10.1214/aoms/1177731677), or the stretch is too long: a leak that
  has just begun is a kink and no parabola.
- Sure is a fall that Kendall's tau of the blocks with time confirms (Mann 1945, doi:10.2307/1907187), that has used up
  two fifths of what was free, to less than was ever free since the latest restart, and that is not followed farther
  ahead than it has been seen for, times _FARTHEST_LINE.
- A jump up of what is free is a restart, a deploy or new memory, and begins a new trend; unless it comes again and
  again: then it is a collector. Rare jumps down move a line little by themselves.
- What runs out first is the deepest point, so usual dips below the curve bring the end forward.

How well that does is measured by benchmarks/forecast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

_LEAST_POINTS = 8
_PRESENT_POINTS = 5
_LEAST_TAU = 0.6
# How many times the time it was seen for a trend is followed; a parabola's error grows faster.
_FARTHEST_LINE = 1.2
_FARTHEST_PARABOLA = 1.05
# So much of what is left must have been used up already, two fifths of what was free: a nightly job takes less.
_LEAST_USED = 0.66
# A parabola must lie this much closer to the blocks than the line; less is what any third number gains.
_BENT_SHARE = 0.6
# The median distance of white noise is 1/2.45 of its median second difference; 1.3 leaves room for chance.
_NOISE_OF_SECOND_DIFFERENCE = 1.3 / 2.45
# In MB: numbers are rounded, and joined ones lie up to half a pass beside their time.
_ROUNDING = 0.5
_RECENT_SHARE = 6
_MOST_OFF = 2.2
_BEYOND = 1.1
# Four hours of the lows of ten minutes. Their middle counts: deeper ones made most forecasts too early.
_RECENT_LOWS = 24
# Said a little early, of 24 hours one: a warning that comes too late costs the night.
_EARLY = 0.95
_LEAST_JUMP_SHARE = 0.05
_JUMP_OVER_USUAL = 6
_MOST_RARE_JUMPS = 2


class Point(NamedTuple):
    """What was free at a time: the middle of a stretch, and its lowest and highest value."""

    hours: float
    low: float
    middle: float
    high: float


class Series(NamedTuple):
    """What was free, oldest first, ending now: by pass, by ten minutes and by hour."""

    passes: tuple[Point, ...]
    minutes: tuple[Point, ...]
    hours: tuple[Point, ...]


class Plan(NamedTuple):
    """The stretches to try in hours, the longest first, and into how many blocks each is divided."""

    stretch_hours: tuple[float, ...]
    blocks: int


class Trend(NamedTuple):
    """The change per hour (negative: being used up), the hours left, and the hours over which it was seen."""

    per_hour: float
    hours_left: float
    seen_hours: float


class Curve(NamedTuple):
    """A line or a parabola; `hours` of 0 is now, `spread` the median distance of a block from it, tau Kendall's."""

    level: float
    per_hour: float
    bend: float
    spread: float
    tau: float

    def at(self, hours: float) -> float:
        """Return the value so many hours from now."""
        return self.level + self.per_hour * hours + self.bend * hours * hours / 2


MEMORY_PLAN = Plan((128, 88, 60, 40, 24, 16, 11, 7, 4, 2.5, 1.6, 0.9, 0.6, 0.4, 0.25, 0.16, 0.1), 24)


def find_trend(series: Series, plan: Plan = MEMORY_PLAN, has_end: bool = True) -> Trend | None:
    """Return the trend towards zero, or None when there is none to be sure of; without an end only the slope counts."""
    if len(series.passes) < _LEAST_POINTS:
        return None
    start = find_new_start(series)
    present = _join(series.passes[-_PRESENT_POINTS:], 0.0)
    for points in _stretches(series, plan, start):
        blocks = make_blocks(points, plan.blocks)
        curve = fit_curve(blocks) if len(blocks) >= _LEAST_POINTS else None
        if curve is None or not _explains(curve, blocks, present.middle, present.hours - points[-1].hours):
            continue
        has_used_much = blocks[0].middle - present.middle >= present.middle * _LEAST_USED
        if has_end and (not has_used_much or _was_as_low(series, start, points[0].hours, present.middle)):
            return None
        lows = points if points[-1] is series.passes[-1] else series.minutes
        return _follow(curve, points, lows, series.passes[-1].hours, has_end)
    return None


def _stretches(series: Series, plan: Plan, start: float) -> Iterator[tuple[Point, ...]]:
    """Yield the points of each stretch of the plan that does not reach back before the start, the longest first."""
    now = series.passes[-1].hours
    tried_hours = 0.0
    for stretch_hours in plan.stretch_hours:
        points = _select(series, max(start, now - stretch_hours))
        seen_hours = now - points[0].hours if points else 0.0
        if seen_hours >= plan.stretch_hours[-1] * 0.8 and seen_hours != tried_hours:
            tried_hours = seen_hours
            yield points


def _was_as_low(series: Series, start: float, end: float, present: float) -> bool:
    """Return whether so little was free before, in this same run of things, and came back by itself."""
    older = (*series.hours, *series.minutes)
    return any(point.middle <= present for point in older if start <= point.hours < end)


def _select(series: Series, start: float) -> tuple[Point, ...]:
    """Return the points since then of the finest tier that reaches back so far; after hours, the ten minutes since.

    Single passes are never mixed with longer points: they have no lows, and the points would change in every pass.
    """
    late = start + (series.passes[-1].hours - start) / 10
    tiers = [tier for tier in series if tier]
    tier = next((each for each in tiers if each[0].hours <= late), min(tiers, key=lambda each: each[0].hours))
    finer = series.minutes if tier is series.hours else ()
    points = (*tier, *(point for point in finer if point.hours > tier[-1].hours))
    return tuple(point for point in points if point.hours >= start)


@lru_cache(maxsize=64)
def make_blocks(points: tuple[Point, ...], count: int) -> tuple[Point, ...]:
    """Return the points joined into at most so many blocks of equal length, with the last point at 0 hours."""
    first, last = points[0].hours, points[-1].hours
    width = (last - first) / count or 1.0
    groups: dict[int, list[Point]] = {}
    for point in points:
        groups.setdefault(min(count - 1, int((point.hours - first) / width)), []).append(point)
    return tuple(_join(group, last) for group in groups.values())


def _join(points: Sequence[Point], origin: float) -> Point:
    # The middle time, as the middle value: together they lie on a line also when the points are unevenly spaced.
    return Point(
        median([point.hours for point in points]) - origin,
        min(point.low for point in points),
        median([point.middle for point in points]),
        max(point.high for point in points),
    )


@lru_cache(maxsize=64)
def fit_curve(blocks: tuple[Point, ...]) -> Curve | None:
    """Return the line, or the parabola, or None where the blocks are clearly bent but follow no parabola."""
    line = _fit(blocks, 0.0)
    half = len(blocks) // 2
    older, newer = blocks[:half], blocks[half:]
    apart = median([block.hours for block in newer]) - median([block.hours for block in older])
    parabola = _fit(blocks, (median(_slopes(newer)) - median(_slopes(older))) / apart)
    if parabola.spread >= line.spread * _BENT_SHARE:
        return line
    differences = [later.middle - earlier.middle for earlier, later in pairwise(blocks)]
    noise = median([abs(later - earlier) for earlier, later in pairwise(differences)]) * _NOISE_OF_SECOND_DIFFERENCE
    return parabola._replace(tau=line.tau) if parabola.spread < noise + _ROUNDING else None


def _fit(blocks: Sequence[Point], bend: float) -> Curve:
    """Return the Theil-Sen line of what the bend leaves."""
    straight = [Point(block.hours, 0, block.middle - bend * block.hours**2 / 2, 0) for block in blocks]
    slopes = _slopes(straight)
    per_hour = median(slopes)
    level = median([point.middle - per_hour * point.hours for point in straight])
    spread = median([abs(point.middle - per_hour * point.hours - level) for point in straight])
    concordance = sum(slope > 0 for slope in slopes) - sum(slope < 0 for slope in slopes)
    return Curve(level, per_hour, bend, spread, concordance / len(slopes))


def _slopes(points: Sequence[Point]) -> list[float]:
    return [
        (later.middle - earlier.middle) / (later.hours - earlier.hours)
        for index, later in enumerate(points)
        for earlier in points[:index]
    ]


def median(values: Sequence[float]) -> float:
    """Return the middle value; `statistics` would take the resident monitor a megabyte."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _explains(curve: Curve, blocks: Sequence[Point], present: float, present_hours: float) -> bool:
    """Return whether the present, and the latest blocks, are no farther from the curve than what was before."""
    recent = len(blocks) - max(2, len(blocks) // _RECENT_SHARE)
    lowest = min(block.low - curve.at(block.hours) for block in blocks[:recent])
    highest = max(block.high - curve.at(block.hours) for block in blocks[:recent])
    off = median([block.middle - curve.at(block.hours) for block in blocks[recent:]])
    distance = present - curve.at(present_hours)
    is_seen_before = lowest * _BEYOND - _ROUNDING <= distance <= highest * _BEYOND + _ROUNDING
    return is_seen_before and abs(off) <= _MOST_OFF * curve.spread + _ROUNDING


def _follow(curve: Curve, points: Sequence[Point], lows: Sequence[Point], now: float, has_end: bool) -> Trend | None:
    """Return the trend if the curve surely falls and, where there is an end, meets zero soon enough."""
    origin = points[-1].hours
    per_hour = curve.per_hour + curve.bend * (now - origin)
    if curve.tau > -_LEAST_TAU or per_hour >= 0:
        return None
    recent = [point for point in lows if point.hours >= points[0].hours][-_RECENT_LOWS:]
    dip = median([point.low - curve.at(point.hours - origin) for point in recent or points])
    level = max(0.0, curve.at(now - origin) + min(0.0, dip))
    # A fall that slows down is followed along its tangent: nothing says that it will end by itself.
    hours_left = _find_zero(level, per_hour, min(0.0, curve.bend))
    seen_hours = now - points[0].hours
    farthest = _FARTHEST_PARABOLA if curve.bend else _FARTHEST_LINE
    if has_end and hours_left > seen_hours * farthest:
        return None
    return Trend(per_hour, hours_left * _EARLY, seen_hours)


def _find_zero(level: float, per_hour: float, bend: float) -> float:
    """Return the hours from now until what falls meets zero; infinite when it turns before."""
    if level <= 0:
        return 0.0
    root = per_hour**2 - 2 * bend * level
    return float("inf") if root < 0 else 2 * level / (-per_hour + root**0.5)


def find_new_start(series: Series) -> float:
    """Return when the present trend can have begun: after the latest jump up that is rare in every tier."""
    rises = [find_rises(points) for points in series]
    start = float("-inf")
    for points, tier_rises in zip(series, rises, strict=True):
        if not tier_rises:
            continue
        usual = median([abs(rise) for rise in tier_rises])
        limit = max(_LEAST_JUMP_SHARE * max(abs(point.middle) for point in points), _JUMP_OVER_USUAL * usual)
        jumps = [index for index, rise in enumerate(tier_rises) if rise > limit]
        rare = [index for index in jumps if _count_alike(tier_rises[index], rises) <= _MOST_RARE_JUMPS]
        start = max(start, points[rare[-1] + 1].hours if rare else start)
    return start


def _count_alike(jump: float, rises: Sequence[Sequence[float]]) -> int:
    return max(sum(rise > jump / 2 for rise in tier_rises) for tier_rises in rises)


@lru_cache(maxsize=64)
def find_rises(points: tuple[Point, ...]) -> tuple[float, ...]:
    """Return by how much each point is higher than the one before."""
    return tuple(later.middle - earlier.middle for earlier, later in pairwise(points))
