"""Falls that have come before are no trend; deeper, longer or nearly deadly ones are."""

from __future__ import annotations

import pytest

from vpsmon.trends.recurrence import Fall, find_falls, is_recurring
from vpsmon.trends.series import Point, Series

DEPTH_MB, HOURS = 400.0, 7.0


def tooth(hours: float, depth_mb: float = DEPTH_MB, most_mb: float = 1000.0) -> float:
    return most_mb - depth_mb * (hours % HOURS) / HOURS


def see(values: list[float]) -> Series:
    """Ten minutes each; passes and hours are not needed."""
    points = [Point(number / 6, value - 5, value, value + 5) for number, value in enumerate(values)]
    return Series(tuple(points[-3:]), tuple(points), ())


def live(falls: int, hours: float, depth_mb: float = DEPTH_MB, most_mb: float = 1000.0) -> Series:
    """So many whole teeth, and so many hours of the next fall, at the same speed and however deep."""
    whole = [tooth(number / 6, depth_mb, most_mb) for number in range(round(falls * HOURS * 6))]
    return see(whole + [most_mb - depth_mb / HOURS * number / 6 for number in range(round(hours * 6))])


def ask(series: Series, hours: float) -> bool:
    present = series.passes[-1].middle
    at = series.passes[-1].hours - hours
    first = min(series.minutes, key=lambda point: abs(point.hours - at)).middle
    return is_recurring(series, Fall(first, present, hours))


@pytest.mark.parametrize(("falls", "expected"), [(0, False), (1, False), (2, True), (5, True)])
def test_two_falls_are_enough(falls: int, expected: bool) -> None:
    assert ask(live(falls, 5.0), 4.5) is expected


@pytest.mark.parametrize(("hours", "expected"), [(3.0, True), (7.5, True), (9.0, False), (14.0, False)])
def test_a_fall_that_passes_those_before_is_new(hours: float, expected: bool) -> None:
    assert ask(live(4, hours), hours - 0.5) is expected


def test_a_fall_as_deep_as_those_before_that_takes_much_longer_is_new() -> None:
    values = [tooth(number / 6) for number in range(round(4 * HOURS * 6))]
    slow = [1000 - 200 / 20 * number / 6 for number in range(20 * 6)]
    assert not ask(see(values + slow), 19.5)


def test_falls_that_left_nearly_nothing_are_no_comfort() -> None:
    assert not ask(live(4, 6.0, most_mb=450.0), 5.5)


def test_a_stretch_of_several_falls_is_none_of_them() -> None:
    values = [tooth(number / 6) - number for number in range(round(4.9 * HOURS * 6))]
    assert not ask(see(values), 4.5 * HOURS)


def test_a_zigzag_is_cut_at_its_highs_and_lows() -> None:
    points = [Point(float(hour), value, value, value) for hour, value in enumerate([9, 8, 5, 6, 4, 9, 8, 9, 3])]
    assert find_falls(points, 3.0) == [Fall(9, 4, 4.0), Fall(9, 3, 1.0)]
