"""kill -9 at every write, rename, fsync and message: nothing lost or torn, nothing twice but what was in flight."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import Effort
from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir, started_vpsmon
from tests.kit.strace import Call, record_calls, run_killed
from tests.kit.telegram import FakeTelegram

KILLED = -signal.SIGKILL


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


def kill_at(bench: Installation, call: Call) -> bool:
    """Run a pass, kill it at this call, and return whether it came to it."""
    return run_killed(ONCE, call, bench.path).returncode == KILLED


def expect_nothing_lost(bench: Installation, name: str, kills: int, figures: Counter[str]) -> None:
    """Run one pass in peace; then everything is as if there had been no kill."""
    bench.finish()
    figures["alerts lost by kills"] += not bench.list_messages(name)
    bench.expect_told(name, in_flight=kills)
    bench.expect_sound_state()
    figures["kills survived"] += kills
    figures["alerts that came twice after a kill, with the same id"] += len(bench.list_messages(name)) - 1


def test_a_pass_that_is_killed_at_any_call_loses_nothing(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    bench.have_a_new_alert()
    bench.finish()
    bench.have_a_new_alert()
    calls = record_calls(ONCE, bench.path)
    assert {"write", "renameat", "fsync", "unlink", "sendto"} <= {call.name for call in calls}
    chosen = effort.some(calls, 30) * effort.times(1, 36)
    kills = 0
    for call in chosen:
        name = bench.have_a_new_alert()
        is_killed = kill_at(bench, call)
        expect_nothing_lost(bench, name, is_killed, figures)
        kills += is_killed
    # A pass may need a call less than the recorded one.
    assert kills > len(chosen) * 0.9


def test_a_first_pass_that_is_killed_at_any_call_loses_nothing(
    tmp_path: Path, telegram: FakeTelegram, effort: Effort, figures: Counter[str]
) -> None:
    (tmp_path / "recorded").mkdir()
    bench = Installation(Workdir(tmp_path / "recorded"), telegram)
    bench.have_a_new_alert()
    calls = record_calls(ONCE, bench.path)
    for number, call in enumerate(effort.some(calls, 6)):
        (tmp_path / str(number)).mkdir()
        fresh = Installation(Workdir(tmp_path / str(number)), telegram, first_number=1000 + number)
        name = fresh.have_a_new_alert()
        expect_nothing_lost(fresh, name, kill_at(fresh, call), figures)


def test_kill_after_kill_at_random_moments_loses_nothing(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    bench.have_a_new_alert()
    bench.finish()
    for _ in range(effort.times(3, 150)):
        name = bench.have_a_new_alert()
        kills = 0
        for _ in range(4):
            with started_vpsmon(ONCE, cwd=bench.path) as process:
                time.sleep(effort.chance.uniform(0.03, 0.25))
                process.kill()
                kills += process.wait() == KILLED
        expect_nothing_lost(bench, name, kills, figures)


def test_a_resident_monitor_that_is_killed_again_and_again_loses_nothing(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    """The watcher and whatever it has started: the whole group dies at once."""
    bench.have_a_new_alert()
    bench.finish()
    for _ in range(effort.times(3, 150)):
        name = bench.have_a_new_alert()
        for _ in range(2):
            with started_vpsmon(["monitor", "--interval", "0.1"], cwd=bench.path):
                time.sleep(effort.chance.uniform(0.1, 0.9))
        expect_nothing_lost(bench, name, 2, figures)
