"""What was free over time, and what a forecast does with it first: medians, and points joined into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple


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


def median(values: Sequence[float]) -> float:
    """Return the middle value; `statistics` would take the resident monitor a megabyte."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@lru_cache(maxsize=64)
def make_blocks(points: tuple[Point, ...], count: int) -> tuple[Point, ...]:
    """Return the points joined into at most so many blocks of equal length, with the last point at 0 hours."""
    first, last = points[0].hours, points[-1].hours
    width = (last - first) / count or 1.0
    groups: dict[int, list[Point]] = {}
    for point in points:
        groups.setdefault(int((point.hours - first) / width), []).append(point)
    # The last point is where another block would begin.
    if count in groups:
        groups.setdefault(count - 1, []).extend(groups.pop(count))
    return tuple([join_points(group, last) for group in groups.values()])


def join_points(points: Sequence[Point], origin: float) -> Point:
    """Return several points as one, with its time in hours since the origin."""
    # The middle time, as the middle value: together they lie on a line also when the points are unevenly spaced.
    hours, lows, middles, highs = zip(*points, strict=True)
    return Point(median(hours) - origin, min(lows), median(middles), max(highs))
