"""When the resident monitor looks: at its interval, at once when the kernel rings, and not all the time."""

from __future__ import annotations

import itertools

from vpsmon.resident.schedule import CLOSEST_SECONDS, Pace, StackTurns

INTERVAL = 30.0


def run(pace: Pace, seconds: float, rings_every: float | None, start: float = 0.0) -> list[tuple[float, bool]]:
    """Return when looks started, and whether they were regular ones."""
    looks = []
    now, next_ring = start, start
    while now < start + seconds:
        if rings_every and now >= next_ring:
            pace.ring()
            next_ring += rings_every
        if now >= pace.find_due():
            looks.append((now, pace.start(now, INTERVAL)))
        now += 0.1
    return looks


def test_without_a_bell_the_interval_is_kept() -> None:
    assert [round(time) for time, _ in run(Pace(0.0), 100, None)] == [0, 30, 60, 90]


def test_a_bell_is_heard_at_once_when_the_look_before_is_old_enough() -> None:
    pace = Pace(0.0)
    pace.start(0.0, INTERVAL)
    pace.ring()
    assert pace.find_due() == CLOSEST_SECONDS
    assert not pace.start(10.0, INTERVAL)
    assert pace.find_due() == INTERVAL


def test_looks_that_were_rung_for_do_not_put_off_the_regular_ones() -> None:
    regular = [time for time, is_regular in run(Pace(0.0), 100, 2.0) if is_regular]
    gaps = [after - before for before, after in itertools.pairwise(regular)]
    assert len(regular) == 4
    assert all(INTERVAL - CLOSEST_SECONDS <= gap <= INTERVAL + 0.2 for gap in gaps)


def test_a_storm_is_followed_closely_at_first_and_then_every_five_seconds() -> None:
    looks = run(Pace(0.0), 600, 0.1)
    assert len([1 for time, _ in looks if time < 30]) >= 12
    later = [time for time, _ in looks if time >= 300]
    assert 55 <= len(later) <= 75


def test_after_a_quiet_time_a_storm_is_followed_closely_again() -> None:
    pace = Pace(0.0)
    run(pace, 300, 0.1)
    run(pace, 300, None, 300.0)
    looks = run(pace, 30, 0.1, 600.0)
    assert len(looks) >= 12


def test_two_looks_are_never_closer_than_a_rate_needs() -> None:
    times = [time for time, _ in run(Pace(0.0), 300, 0.1)]
    assert min(after - before for before, after in itertools.pairwise(times)) >= CLOSEST_SECONDS - 0.01


def ask(turns: StackTurns, interval_seconds: float, looks: int) -> list[bool]:
    """Which of so many looks ask the stack, where each that does finds all well."""
    asked = []
    for _ in range(looks):
        asked.append(turns.is_next(interval_seconds))
        if asked[-1]:
            turns.note_end(is_well=True)
    return asked


def test_a_stack_that_is_well_is_asked_by_every_second_look_and_at_least_once_a_minute() -> None:
    assert ask(StackTurns(), 30, 6) == [True, False, True, False, True, False]
    assert all(ask(StackTurns(), 30.5, 6))


def test_a_stack_that_is_not_well_is_asked_by_every_look() -> None:
    turns = StackTurns()
    for _ in range(4):
        assert turns.is_next(30)
        turns.note_end(is_well=False)


def test_what_happens_after_a_look_that_found_all_well_has_the_next_one_ask() -> None:
    turns = StackTurns()
    assert ask(turns, 30, 3) == [True, False, True]
    turns.note_event()
    assert turns.is_next(30)


def test_what_happens_during_a_look_has_the_next_one_ask_whatever_it_finds() -> None:
    turns = StackTurns()
    assert turns.is_next(30)
    turns.note_event()
    turns.note_end(is_well=True)
    assert turns.is_next(30)
    turns.note_end(is_well=True)
    assert not turns.is_next(30)
