"""The rhythm of a day: from the second day on, and neither a leak nor a restart taken for one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from vpsmon.trends.rhythm import find_rhythm, value_at
from vpsmon.trends.series import Point

Shape = Callable[[float], float]


def wave(hours: float) -> float:
    return 100 * math.sin(hours / 24 * 2 * math.pi) + 30 * math.cos(hours / 12 * 2 * math.pi)


def see(count: int, shape: Shape) -> tuple[Point, ...]:
    """So many hours, with a little noise that is the same in every run."""
    values = [(float(hour), shape(hour) + 3 * math.sin(hour * 2.4)) for hour in range(count)]
    return tuple(Point(hour, value, value, value) for hour, value in values)


def leaking(hours: float) -> float:
    return 2000 - 25 * hours + wave(hours)


@pytest.mark.parametrize("count", [30, 36, 47, 60, 100])
def test_the_rhythm_of_a_leaking_machine_is_known_on_the_second_day(count: int) -> None:
    rhythm = find_rhythm(see(count, leaking))
    assert rhythm
    for hour in range(count, count + 24):
        assert value_at(rhythm, hour) == pytest.approx(wave(hour), abs=15)


@pytest.mark.parametrize("count", [0, 24, 27])
def test_one_day_is_no_rhythm_yet(count: int) -> None:
    assert find_rhythm(see(count, leaking)) is None


@pytest.mark.parametrize(
    "shape",
    [
        lambda hours: 2000 - 40 * hours,
        lambda hours: 2000 - 0.9 * hours**2,
        lambda hours: 2000 - 60 * math.expm1(hours / 11),
        lambda hours: 2000 - 60 * max(0.0, hours - 20),
        lambda hours: 2000 - 12 * max(0.0, hours - 16),
        lambda hours: 2000 - 50 * (hours % 17),
    ],
    ids=[
        "line",
        "parabola",
        "exponential",
        "a leak that begins",
        "a slow leak that begins",
        "a restart between two leaks",
    ],
)
@pytest.mark.parametrize("count", [29, 34, 40])
def test_what_is_seen_once_is_no_rhythm(shape: Shape, count: int) -> None:
    assert find_rhythm(see(count, shape)) is None


def test_hours_that_are_missing_are_no_rhythm() -> None:
    hours = see(60, leaking)
    assert find_rhythm((*hours[:20], *hours[30:])) is None
