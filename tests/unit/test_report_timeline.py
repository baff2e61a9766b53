"""Two days on one time line, whatever a crash, a clock or an upgrade has left of the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.host import BOOT_ID, FakeMachine
from vpsmon.report.sparkline import draw_sparkline
from vpsmon.report.timeline import DAY_SECONDS, SLOTS, Measure, Placed, count_watched_seconds, make_day, place, squeeze
from vpsmon.trends.history import History
from vpsmon.trends.samples import MACHINE, Sample, decode

WALL = 1_800_000_000.0
NOW = 200_000.0
BOOT = BOOT_ID[:8]
USED = Measure(lambda values: values.get("used"), lambda values: values.get("high", values.get("used")))


def sample(age_seconds: float, used: float, boot: str = BOOT, wall_shift_seconds: float = 0.0) -> Sample:
    return Sample(WALL - age_seconds + wall_shift_seconds, NOW - age_seconds, boot, {"used": used})


def placed(*samples: Sample) -> list[Placed]:
    return place(samples, BOOT_ID, NOW, WALL)


def test_every_slot_holds_its_highest_and_the_day_its_mean_and_peak() -> None:
    samples = [sample(hour * 3600 + 60, 100.0 + hour) for hour in range(48)]
    today, yesterday = make_day(placed(*samples), USED), make_day(placed(*samples), USED, days_ago=1)
    assert (len(today.slots), today.slots[-1], today.slots[-7]) == (SLOTS, 100.0, 101.0)
    assert (today.average, today.peak, today.peak_age_seconds) == (111.5, 123.0, 23 * 3600 + 60)
    assert (yesterday.average, yesterday.peak) == (135.5, 147.0)
    assert count_watched_seconds(today) == 24 * 600


def test_a_slot_counts_once_however_many_samples_it_has() -> None:
    samples = [*(sample(30 * number, 500.0) for number in range(20)), sample(7200, 100.0)]
    assert make_day(placed(*samples), USED).average == 300.0


def test_copies_of_a_sample_count_once() -> None:
    assert len(placed(sample(60, 1.0), sample(60, 1.0), sample(90, 1.0))) == 2


def test_a_clock_that_was_set_back_an_hour_moves_no_sample_of_this_boot() -> None:
    before = [sample(age, 100.0, wall_shift_seconds=3600) for age in (600, 1200, 5400)]
    after = [sample(age, 200.0) for age in (60, 120)]
    assert [round(each.age_seconds) for each in placed(*before, *after)] == [60, 120, 600, 1200, 5400]


def test_another_boot_is_taken_at_its_word_and_its_future_is_left_out() -> None:
    other = Sample(WALL - 7200, 999_999.0, "99999999", {"used": 3.0})
    future = Sample(WALL + 3600, 999_999.5, "99999999", {"used": 4.0})
    assert placed(other, future) == [Placed(7200.0, {"used": 3.0})]


def test_a_gap_of_days_stays_empty_and_is_no_zero() -> None:
    day = make_day(placed(sample(60, 5.0), sample(5 * DAY_SECONDS, 9.0)), USED)
    assert set(day.slots[:-1]) == {None}
    assert (day.average, day.peak) == (5.0, 5.0)
    assert draw_sparkline(squeeze(day.slots, 24), 10.0) == "·" * 23 + "▅"
    assert make_day([], USED).peak is None


def test_a_peak_does_not_vanish_when_the_day_is_squeezed() -> None:
    slots = [1.0] * SLOTS
    slots[50] = 80.0
    assert max(value or 0.0 for value in squeeze(slots, 24)) == 80.0


@pytest.mark.parametrize(
    ("values", "top", "drawn"),
    [
        ([0, 50, 100], 100, "▁▅█"),
        ([None, 0], 100, "·▁"),
        ([5, 500, -5], 100, "▁█▁"),
        ([0, 0], 0, "▁▁"),
    ],
)
def test_a_sparkline_is_as_high_as_its_numbers(values: list[float | None], top: float, drawn: str) -> None:
    assert draw_sparkline(values, top) == drawn


def test_a_history_cut_in_the_middle_of_a_line_loses_that_line_only(tmp_path: Path, machine: FakeMachine) -> None:
    history = History(str(tmp_path))
    for number in range(5):
        history.record(MACHINE, sample(300 - number * 30, 10.0 * number))
    path = tmp_path / "history_machine_passes.log"
    path.write_bytes(path.read_bytes()[:-20])
    kept = place(history.read_all(MACHINE, "passes"), BOOT_ID, NOW, WALL)
    assert sorted(each.age_seconds for each in kept) == [210, 240, 270, 300]
    assert decode([b"[1800000000,5"]) == []
