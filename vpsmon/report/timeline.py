"""The samples of two days put on a time line that ends now: ten minutes a slot, today beside yesterday. Pure.

Within this boot the kernel's clock says how old a sample is, so that a wall clock that was set moves nothing; samples
of another boot are taken at their word, and left out where that lies in the future. A slot without a sample stays
empty: a day on which nothing was watched is not a day on which nothing happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from vpsmon.trends.samples import Sample

SLOT_SECONDS = 600
DAY_SECONDS = 86_400
SLOTS = DAY_SECONDS // SLOT_SECONDS


class Placed(NamedTuple):
    """A sample and its age in seconds."""

    age_seconds: float
    values: dict[str, float]


class Measure(NamedTuple):
    """What is drawn: the usual and the highest value of a sample, or None where it has none."""

    usual: Callable[[dict[str, float]], float | None]
    highest: Callable[[dict[str, float]], float | None]


class Day(NamedTuple):
    """One measure over 24 h: the highest value of each slot, oldest first, the mean, and the peak with its age."""

    slots: tuple[float | None, ...]
    average: float | None
    peak: float | None
    peak_age_seconds: float


EMPTY_DAY = Day((None,) * SLOTS, None, None, 0.0)


def place(samples: Iterable[Sample], boot: str, monotonic_seconds: float, wall_seconds: float) -> list[Placed]:
    """Return the samples with their ages, newest first; copies and what seems to come from the future are left out."""
    ages: dict[tuple[str, float], Placed] = {}
    for sample in samples:
        is_of_this_boot = boot.startswith(sample.boot)
        elapsed = monotonic_seconds - sample.monotonic_seconds
        age_seconds = elapsed if is_of_this_boot else wall_seconds - sample.wall_seconds
        if age_seconds >= 0:
            ages[sample.boot, sample.monotonic_seconds] = Placed(age_seconds, sample.values)
    return sorted(ages.values(), key=lambda placed: placed.age_seconds)


def make_day(placed: Sequence[Placed], measure: Measure, days_ago: int = 0) -> Day:
    """Return a measure over the 24 h that end so many days ago."""
    usual: list[list[float]] = [[] for _ in range(SLOTS)]
    highest: list[float | None] = [None] * SLOTS
    peak, peak_age_seconds = None, 0.0
    for age_seconds, values in placed:
        slot = SLOTS - 1 - int((age_seconds - days_ago * DAY_SECONDS) // SLOT_SECONDS)
        middle, high = measure.usual(values), measure.highest(values)
        if not 0 <= slot < SLOTS or middle is None or high is None:
            continue
        usual[slot].append(middle)
        highest[slot] = max(high, highest[slot] or 0.0)
        if peak is None or high > peak:
            peak, peak_age_seconds = high, age_seconds
    # Slots and not samples, because the latest hours have twenty times as many samples.
    means = [sum(values) / len(values) for values in usual if values]
    average = sum(means) / len(means) if means else None
    return Day(tuple(highest), average, peak, peak_age_seconds)


def squeeze(slots: Sequence[float | None], width: int) -> list[float | None]:
    """Return the slots as so many columns, each the highest of its slots: a peak must not vanish in a mean."""
    columns: list[float | None] = []
    for column in range(width):
        part = slots[column * len(slots) // width : (column + 1) * len(slots) // width]
        columns.append(max((value for value in part if value is not None), default=None))
    return columns


def count_watched_seconds(day: Day) -> int:
    """Return for how much of the 24 h there is a sample."""
    return sum(slot is not None for slot in day.slots) * SLOT_SECONDS
