"""When a dip meets zero: the formulas against dice, and against each other where there is no rhythm."""

from __future__ import annotations

import math
import random

import pytest

from vpsmon.trends.curves import Curve
from vpsmon.trends.passage import Dips, find_passage, find_passage_with_rhythm
from vpsmon.trends.rhythm import Rhythm, value_at

NO_RHYTHM = Rhythm(0.0, 0.0, 0.0, 0.0)
DEPTHS = [-400.0, -150.0, -40.0, 0.0, 0.0, 0.0]


def fall(level: float, per_hour: float) -> Curve:
    return Curve(level, per_hour, 0.0, 0.0, 1.0, -1.0)


def throw(curve: Curve, dips: Dips, rhythm: Rhythm) -> list[float]:
    """The hours until a dip has met zero in 10, 50 and 90 % of 2,000 futures: each dip once in the hours seen."""
    dice, ends = random.Random(3), []  # noqa: S311
    step = 0.05
    for _ in range(2000):
        hours = 0.0
        while True:
            hours += step
            level = curve.at(hours) + value_at(rhythm, hours)
            meeting = sum(level + depth <= 0 for depth in dips.depths)
            if dice.random() < -math.expm1(-meeting * step / dips.seen_hours):
                break
        ends.append(hours)
    return [sorted(ends)[len(ends) * share // 10] for share in (1, 5, 9)]


@pytest.mark.parametrize("per_hour", [-10.0, -100.0])
def test_the_range_is_that_of_the_dice(per_hour: float) -> None:
    curve, dips = fall(1000.0, per_hour), Dips(DEPTHS, 8.0)
    assert find_passage(curve, dips, 0.0) == pytest.approx(throw(curve, dips, NO_RHYTHM), rel=0.05)


def test_with_a_rhythm_too() -> None:
    rhythm, curve, dips = Rhythm(0.0, 200.0, 0.0, 0.0), fall(1000.0, -12.0), Dips(DEPTHS, 8.0)
    found = find_passage_with_rhythm(curve, dips, rhythm, 0.0, 0.0, 200.0)
    assert found == pytest.approx(throw(curve, dips, rhythm), rel=0.05)
    assert find_passage_with_rhythm(curve, dips, NO_RHYTHM, 0.0, 0.0, 200.0) == pytest.approx(
        find_passage(curve, dips, 0.0), rel=0.01
    )


def test_a_machine_that_is_nearly_used_up_has_nothing_left() -> None:
    assert find_passage(fall(0.0, -10.0), Dips([-5.0, 0.0, 0.0], 1.0), 0.0).middle < 0.4


def test_an_end_beyond_the_most_that_is_asked_for_is_only_known_to_be_later() -> None:
    passage = find_passage_with_rhythm(fall(1000.0, -1.0), Dips([-5.0, 0.0], 1.0), NO_RHYTHM, 0.0, 0.0, 48.0)
    assert all(48.0 < hours <= 48.5 for hours in passage)
