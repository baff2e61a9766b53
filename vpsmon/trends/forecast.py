"""How long until something runs out at its present trend: memory with swap, a container's limit, a disk. Pure.

The longest stretch up to now that one curve explains is looked for, and that curve is followed to zero. So a saw tooth
of garbage collections that has been seen before is noise around a flat line, while a leak that began or grew faster an
hour ago makes the long curves miss the present, and a shorter one speaks.

- The curves are robust lines, parabolas and exponentials (curves.py).
- A restart, a deploy or new memory begins a new trend (restarts.py); the rhythm of days is taken out first
  (rhythm.py).
- Sure is a fall that Kendall's tau of the blocks with time confirms (Mann 1945, doi:10.2307/1907187), that has used up
  two fifths of what was free, in more than a few steps, to less than was ever free since the latest restart, and that
  is not followed farther ahead than it has been seen for, times _FARTHEST.
- Where no curve explains the present (uneven steps, a leak that changes its speed) and everything falls all the same,
  the slope of the newer half is followed from the present.
- What runs out first is a dip below the curve (passage.py).

How well that does is measured by benchmarks/forecast and told in docs/forecast.md.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from vpsmon.trends.curves import ROUNDING, Curve, fit_curve, fit_line
from vpsmon.trends.passage import Passage, find_dips, find_passage, find_passage_with_rhythm
from vpsmon.trends.recurrence import Fall, is_recurring
from vpsmon.trends.restarts import find_new_start, find_reset
from vpsmon.trends.rhythm import Rhythm, find_rhythm, most_rhythm, take_out
from vpsmon.trends.series import Point, Series, join_points, make_blocks, median

_LEAST_POINTS = 8
_PRESENT_POINTS = 5
_LEAST_TAU = 0.6
# Of a fall that no curve explains: nearly every block is lower than all before.
_LEAST_TAU_UNEXPLAINED = 0.85
# How many times the time it was seen for a trend is followed.
_FARTHEST = 1.3
# So much of what is left must have been used up already, two fifths of what was free: a nightly job takes less.
_LEAST_USED = 0.66
# A fall of which two blocks have half is jobs that happened to begin one after the other.
_MOST_IN_TWO_BLOCKS = 0.5
# What has been idle for this share of the time has stopped falling; less is a tread of a stair.
_LEAST_REST = 0.2
_RECENT_SHARE = 6
_MOST_OFF = 2.2
_BEYOND = 1.1
# Eight hours of the lows of ten minutes.
_RECENT_LOWS = 48
# What chance leaves of the curve's own error, beside that of the dips: with it eight ends of ten are within the range.
_CURVE_ERROR = 0.12
_BEGINNING = float("-inf")


class Plan(NamedTuple):
    """The stretches to try in hours, the longest first, and into how many blocks each is divided."""

    stretch_hours: tuple[float, ...]
    blocks: int


class Trend(NamedTuple):
    """The change per hour (negative: being used up), the hours left with their range, and the hours it was seen for."""

    per_hour: float
    hours_left: float
    seen_hours: float
    # Eight ends of ten are between these.
    earliest_hours: float
    latest_hours: float


class View(NamedTuple):
    """What a forecast looks at: the series without the day's rhythm, the rhythm, what is free at present, and when."""

    series: Series
    rhythm: Rhythm | None
    plan: Plan
    has_end: bool
    present: Point
    now: float


MEMORY_PLAN = Plan((128, 88, 60, 40, 24, 16, 11, 7, 4, 2.5, 1.6, 0.9, 0.6, 0.4, 0.25, 0.16, 0.1), 24)


def find_trend(series: Series, plan: Plan = MEMORY_PLAN, has_end: bool = True) -> Trend | None:
    """Return the trend towards zero, or None when there is none to be sure of; without an end only the slope counts."""
    if len(series.passes) < _LEAST_POINTS:
        return None
    if has_end and not _can_be_used_up(series, most_rhythm([point.middle for point in series.hours])):
        return None
    start = find_new_start(series)
    reset = find_reset(series) if has_end else start
    # Restarts that come again and again would look like the rhythm of days.
    calm = tuple(point for point in series.hours if point.hours >= max(start, reset))
    rhythm = find_rhythm(calm) if has_end else None
    series = take_out(series, rhythm) if rhythm else series
    if has_end and not _can_be_used_up(series):
        return None
    present = join_points(series.passes[-_PRESENT_POINTS:], 0.0)
    view = View(series, rhythm, plan, has_end, present, series.passes[-1].hours)
    beginnings = _find_beginnings(start, reset) if has_end else [start]
    found = (_find_since(view, since) for since in beginnings)
    return next((trend for trend in found if trend), None)


def _can_be_used_up(series: Series, rhythm_mb: float = 0.0) -> bool:
    """Return whether as much has been used up as a trend needs, whatever a rhythm of that size makes of it."""
    present = join_points(series.passes[-_PRESENT_POINTS:], 0.0).middle - rhythm_mb
    most = max([point.middle for tier in series for point in tier])
    return most + rhythm_mb - present >= present * _LEAST_USED


def _find_beginnings(start: float, reset: float) -> list[float]:
    """Return since when to look for a trend, and for the present to be lower than ever, in hours."""
    # A deep collection can look like a restart until the third of them.
    return [start, *([_BEGINNING] if start > _BEGINNING else []), *([reset] if reset > start else [])]


def _find_since(view: View, start: float) -> Trend | None:
    """Return the trend of the longest stretch since the start that a curve explains, or that falls all along."""
    longest: tuple[Point, ...] = ()
    for points in _stretches(view, start):
        blocks = make_blocks(points, view.plan.blocks)
        if len(blocks) < _LEAST_POINTS:
            continue
        longest = longest or points
        curve = fit_curve(blocks)
        if curve is None or not _explains(curve, blocks, view.present.middle, view.present.hours - points[-1].hours):
            continue
        if curve.tau > -_LEAST_TAU:
            if points[-1].hours - points[0].hours > (longest[-1].hours - longest[0].hours) * _LEAST_REST:
                return None
            break
        if view.has_end and _falls_in_few_steps(blocks):
            continue
        trend = _follow(curve, points, view) if not view.has_end or _uses_up(view, points, blocks, start) else None
        if trend:
            return trend if not view.has_end or _is_new(view, blocks, trend) else None
        break
    return _follow_newer_half(view, longest, start) if longest and view.has_end else None


def _stretches(view: View, start: float) -> Iterator[tuple[Point, ...]]:
    """Yield the points of each stretch of the plan that does not reach back before the start, the longest first."""
    tried_hours = 0.0
    for stretch_hours in view.plan.stretch_hours:
        points = _select(view.series, max(start, view.now - stretch_hours))
        seen_hours = view.now - points[0].hours if points else 0.0
        if seen_hours >= view.plan.stretch_hours[-1] * 0.8 and seen_hours != tried_hours:
            tried_hours = seen_hours
            yield points


def _select(series: Series, start: float) -> tuple[Point, ...]:
    """Return the points since then of the finest tier that reaches back so far; after hours, the ten minutes since.

    Single passes are never mixed with longer points: they have no lows, and the points would change in every pass.
    """
    late = start + (series.passes[-1].hours - start) / 10
    tiers = [tier for tier in series if tier]
    tier = next((each for each in tiers if each[0].hours <= late), min(tiers, key=lambda each: each[0].hours))
    finer = series.minutes if tier is series.hours else ()
    points = (*tier, *finer[bisect_right(finer, (tier[-1].hours, math.inf)) :])
    return points[bisect_left(points, (start,)) :]


def _explains(curve: Curve, blocks: Sequence[Point], present: float, present_hours: float) -> bool:
    """Return whether the present, and the latest blocks, are no farther from the curve than what was before."""
    recent = len(blocks) - max(2, len(blocks) // _RECENT_SHARE)
    lowest = min(block.low - curve.at(block.hours) for block in blocks[:recent])
    highest = max(block.high - curve.at(block.hours) for block in blocks[:recent])
    off = median([block.middle - curve.at(block.hours) for block in blocks[recent:]])
    distance = present - curve.at(present_hours)
    is_seen_before = lowest * _BEYOND - ROUNDING <= distance <= highest * _BEYOND + ROUNDING
    return is_seen_before and abs(off) <= _MOST_OFF * curve.spread + ROUNDING


def _falls_in_few_steps(blocks: Sequence[Point]) -> bool:
    """Return whether two steps have most of all that fell, also of what rose again in between."""
    falls = sorted([max(0.0, earlier.middle - later.middle) for earlier, later in pairwise(blocks)])
    return sum(falls[-2:]) > _MOST_IN_TWO_BLOCKS * sum(falls)


def _uses_up(view: View, points: Sequence[Point], blocks: Sequence[Point], start: float) -> bool:
    """Return whether much was used up, and less is left than ever was since the start."""
    present = view.present.middle
    if blocks[0].middle - present < present * _LEAST_USED:
        return False
    older = (*view.series.hours, *view.series.minutes)
    return not any(point.middle <= present for point in older if start <= point.hours < points[0].hours)


def _follow_newer_half(view: View, points: tuple[Point, ...], start: float) -> Trend | None:
    """Return the trend of a stretch that no curve explains, if all of it falls."""
    blocks = make_blocks(points, view.plan.blocks)
    newer = fit_line(blocks[len(blocks) // 2 :])
    is_fall = newer.tau <= -_LEAST_TAU and fit_line(blocks).tau <= -_LEAST_TAU_UNEXPLAINED
    if not is_fall or _falls_in_few_steps(blocks) or not _uses_up(view, points, blocks, start):
        return None
    trend = _follow(newer._replace(level=view.present.middle), points, view._replace(rhythm=None))
    return trend if trend and _is_new(view, blocks, trend) else None


def _is_new(view: View, blocks: Sequence[Point], trend: Trend) -> bool:
    """Return whether the fall is not one more of those that end by themselves."""
    return not is_recurring(view.series, Fall(blocks[0].middle, view.present.middle, trend.seen_hours))


def _follow(curve: Curve, points: tuple[Point, ...], view: View) -> Trend | None:
    """Return the trend if the curve falls at present and, where there is an end, meets zero soon enough."""
    origin = points[-1].hours
    seen_hours, per_hour = view.now - points[0].hours, curve.slope_at(view.now - origin)
    if per_hour >= 0:
        return None
    if not view.has_end:
        return Trend(per_hour, math.inf, seen_hours, math.inf, math.inf)
    passage = _find_passage(curve, points, view)
    if passage.middle > seen_hours * _FARTHEST:
        return None
    earliest, latest = passage.earliest * (1 - _CURVE_ERROR), passage.latest * (1 + _CURVE_ERROR)
    return Trend(per_hour, passage.middle, seen_hours, earliest, latest)


def _find_passage(curve: Curve, points: tuple[Point, ...], view: View) -> Passage:
    """Return the hours until a dip below the curve, or below curve and rhythm, meets zero, as likely as not."""
    lows = points if points[-1] is view.series.passes[-1] else view.series.minutes
    recent = [point for point in lows if point.hours >= points[0].hours][-_RECENT_LOWS:]
    origin = points[-1].hours
    dips = find_dips(curve, recent if len(recent) > 1 else points, origin)
    if not view.rhythm:
        return find_passage(curve, dips, view.now - origin)
    farthest_hours = (view.now - view.series.hours[0].hours) * _FARTHEST
    return find_passage_with_rhythm(curve, dips, view.rhythm, view.now, origin, farthest_hours)
