"""When a restart, a deploy or new memory has begun another trend: what is free jumps up and was not taken before. Pure.

The end of a job jumps up as well, to where it was before the job began with a jump down. A collector jumps up too, but
again and again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from vpsmon.trends.series import Point, Series, median

# A restart frees this share of the most that was ever free, and so much more than the usual change of a tier.
_LEAST_JUMP_SHARE = 0.05
_JUMP_OVER_USUAL = 6
_MOST_RARE_JUMPS = 2
# A jump of this share restarts most of what leaks, also when it comes again and again.
_RESET_SHARE = 0.25
_LONGEST_JOB_POINTS = 40
_BEGINNING = float("-inf")


def find_new_start(series: Series) -> float:
    """Return when the present trend can have begun, in hours: after the latest rare jump up, or minus infinity."""
    rises = [_find_rises(points) for points in series]
    ordered: list[list[float]] = []
    least = _LEAST_JUMP_SHARE * _most_free(series)
    start = _BEGINNING
    for points, tier_rises in zip(series, rises, strict=True):
        # Most series have no jump: the median is not needed then.
        if tier_rises and max(tier_rises) > least:
            limit = max(least, _JUMP_OVER_USUAL * median([abs(rise) for rise in tier_rises]))
            jumps = [index for index, rise in enumerate(tier_rises, start=1) if rise > limit]
            ordered = ordered or [sorted(each) for each in rises]
            rare = [index for index in jumps if _count_alike(tier_rises[index - 1], ordered) <= _MOST_RARE_JUMPS]
            start = max(start, _find_latest(points, rare, limit / 2))
    return start


def find_reset(series: Series) -> float:
    """Return when most of what was used was freed at once for the last time, in hours, however often that happens."""
    limit = _RESET_SHARE * _most_free(series)
    resets = [_BEGINNING]
    for points in (series.minutes, series.hours):
        jumps = [index for index, rise in enumerate(_find_rises(points), start=1) if rise > limit]
        resets.append(_find_latest(points, jumps, limit))
    return max(resets)


def _most_free(series: Series) -> float:
    middles = [point.middle for points in series for point in points]
    return max(max(middles), -min(middles)) if middles else 0.0


def _find_latest(points: Sequence[Point], jumps: Sequence[int], least: float) -> float:
    """Return when the latest of the jumps was that freed at least so much for good."""
    return next((points[index].hours for index in reversed(jumps) if _frees(points, index, least)), _BEGINNING)


def _frees(points: Sequence[Point], index: int, least: float) -> bool:
    """Return whether what is free from there on was not taken at once shortly before: else a job has only ended."""
    later = points[index : index + 3]
    if len(later) < 2:
        return False
    before = [point.middle for point in points[max(0, index - _LONGEST_JOB_POINTS) : index]]
    after = median([point.middle for point in later])
    jump = after - before[-1]
    # Of ten minutes one half is before the jump: it takes two steps.
    falls = zip(before, before[1:], [*before[2:], before[-1]], strict=False)
    return jump >= least and not any(
        first >= after - jump / 4 and first - min(second, third) >= jump / 2 for first, second, third in falls
    )


def _count_alike(jump: float, ordered_rises: Sequence[Sequence[float]]) -> int:
    return max(len(rises) - bisect_right(rises, jump / 2) for rises in ordered_rises)


@lru_cache(maxsize=64)
def _find_rises(points: tuple[Point, ...]) -> tuple[float, ...]:
    """Return by how much each point is higher than the one before."""
    middles = [point.middle for point in points]
    return tuple([later - earlier for earlier, later in pairwise(middles)])
