"""Clocks that lie: set back and forward, 1970, 2038, a leap second, daylight saving, a machine that slept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir
from tests.kit.host import FakeMachine
from tests.kit.telegram import FakeTelegram
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.state.shm_fallback import SparedState

# libfaketime changes what a real process, with everything that it loads, believes; the kernel's own clock stays.
FAKETIME = str(next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")))
DAY = 86_400.0


def run_pass(machine: FakeMachine, folder: Path, **settings: float) -> StageResult:
    """Run the kernel stage of a pass on a simulated machine and clock."""
    host = machine.host()
    configured = DEFAULTS._replace(DISK_PATHS=(), **settings)  # type: ignore[arg-type]
    state = SparedState(str(folder / ".alerts"), host.wall_seconds)
    result = run_kernel_stage(PassContext(host, Config(configured, None, state.path), state))
    assert result.state_error is None
    return result


@pytest.mark.parametrize(
    "jump_seconds",
    [-1, 1, -600, 600, -3600, 3600, -DAY, DAY, -365 * DAY, 365 * DAY, -1_800_000_000, 12 * 365 * DAY],
    ids=lambda value: f"{value:+.0f} s",
)
def test_after_a_step_of_the_clock_an_alert_is_neither_silenced_for_ever_nor_repeated_at_every_pass(
    machine: FakeMachine, tmp_path: Path, jump_seconds: float
) -> None:
    machine.change("meminfo", "MemAvailable:", 10_000)
    told = [len(run_pass(machine, tmp_path).notices)]
    machine.wall_seconds += jump_seconds
    for _ in range(60):
        machine.sleep(30)
        told.append(len(run_pass(machine, tmp_path).notices))
    # Half an hour after the step at one alert in ten minutes: three, and one more where the step counts as time.
    assert 1 + 2 <= sum(told) <= 1 + 4, told
    machine.change("meminfo", "MemAvailable:", 600_000)
    (end,) = (each for each in run_pass(machine, tmp_path).notices if each.is_end)
    assert end.check == "memory_available"


@pytest.mark.parametrize("jump_seconds", [-DAY, DAY, -1_800_000_000])
def test_rates_are_those_of_the_clock_that_nobody_sets(
    machine: FakeMachine, tmp_path: Path, jump_seconds: float
) -> None:
    run_pass(machine, tmp_path)
    machine.sleep(10)
    machine.wall_seconds += jump_seconds
    machine.change("vmstat", "pswpin", 1000 + 2560)
    rows = {each.check: each for each in run_pass(machine, tmp_path).findings}
    assert rows["swap_in"].value == pytest.approx(1024.0)


def test_a_machine_that_slept_is_not_taken_for_one_that_stalled(machine: FakeMachine, tmp_path: Path) -> None:
    """In suspend the wall clock goes on, and the kernel's monotonic clock stands still."""
    run_pass(machine, tmp_path)
    machine.wall_seconds += 8 * 3600
    machine.monotonic_seconds += 30
    result = run_pass(machine, tmp_path)
    assert {each.status for each in result.findings if each.check == "memory_pressure"} == {"ok"}
    assert result.notices == []


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


MOMENTS = {
    "1970": ("1970-01-01 00:00:05", "UTC", "1970-01-01 00:00"),
    "a second before 2038 overflows": ("2038-01-19 03:14:06", "UTC", "2038-01-19 03:14"),
    "after 2038": ("2040-06-01 12:00:00", "UTC", "2040-06-01 12:00"),
    "the hour that comes twice": ("2026-10-25 01:59:58", "Europe/Berlin", "2026-10-25 0"),
    "the hour that is missing": ("2026-03-29 01:59:58", "Europe/Berlin", "2026-03-29 0"),
    "a leap second": ("2016-12-31 23:59:59", "right/UTC", "2016-12-31 23:59|2017-01-01 00:0"),
    "a zone that is none": ("2026-06-01 12:00:00", "Mars/Olympus", "2026-06-01 12:00"),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_real_pass_at_an_odd_moment_tells_and_remembers(bench: Installation, name: str) -> None:
    moment, zone, shown = MOMENTS[name]
    faked = {"LD_PRELOAD": FAKETIME, "FAKETIME": f"@{moment}", "TZ": zone, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    alert = bench.have_a_new_alert()
    for words in (ONCE, ["recover", "--dry-run"], ["export", "--stdout"]):
        done = bench.workdir.run(*words, env=faked)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 3), (words, done.stderr)
    (text,) = bench.list_messages(alert)
    assert re.search(shown, text.splitlines()[0]), text


def test_from_1970_to_today_nothing_is_lost_and_nothing_repeated(bench: Installation) -> None:
    """A machine without a clock of its own starts in 1970, and learns the time a minute later."""
    faked = {"LD_PRELOAD": FAKETIME, "FAKETIME": "@1970-01-01 00:00:20", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    bench.telegram.stop()
    alert = bench.have_a_new_alert()
    assert bench.workdir.run(*ONCE, env=faked).returncode == 0
    bench.telegram.start()
    bench.finish()
    assert len(bench.list_messages(alert)) == 1 + 1  # of 1970, and of today: fifty years are more than the limit
    bench.finish()
    assert len(bench.list_messages(alert)) == 2
    bench.expect_sound_state()
