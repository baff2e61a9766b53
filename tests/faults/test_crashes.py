"""kill -9 at every write, rename, fsync and message: nothing lost, nothing torn, nothing twice but what was in flight.

A folder of its own for each kill is a disk that is too full: an alert that nobody has told before.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import Effort
from tests.kit.command import ConfigValue, Workdir, started_vpsmon
from tests.kit.strace import Call, record_calls, run_killed
from tests.kit.telegram import FakeTelegram

ONCE = ["monitor", "--once"]
KILLED = -signal.SIGKILL


class Bench:
    """Passes of one installation, each with an alert of its own, and what must be so after every one of them."""

    def __init__(self, workdir: Workdir, telegram: FakeTelegram, figures: Counter[str]) -> None:
        self.workdir = workdir
        self.telegram = telegram
        self.figures = figures
        self.count = 0

    @property
    def state(self) -> Path:
        return self.workdir.path / ".alerts"

    def have_a_new_alert(self, **keys: ConfigValue) -> str:
        """Fill a disk that nobody has heard of, and return its name."""
        self.count += 1
        name = f"disk-{self.count:05d}-"
        (self.workdir.path / name).mkdir()
        settings: dict[str, ConfigValue] = {
            "TELEGRAM_BOT_TOKEN": self.telegram.token,
            "TELEGRAM_CHAT_ID": str(self.telegram.chat_id),
            "TELEGRAM_API_BASE": self.telegram.url,
            "DISK_PATHS": str(self.workdir.path / name),
            "DISK_WARNING_PCT": 0,
            "DISK_CRITICAL_PCT": 0,
        }
        self.workdir.write_config(**{**settings, **keys})
        return name

    def kill_at(self, call: Call) -> bool:
        """Run a pass and kill it at this call; return whether it came to it."""
        is_killed = run_killed(ONCE, call, self.workdir.path).returncode == KILLED
        self.figures["kills survived"] += is_killed
        return is_killed

    def finish(self) -> None:
        """Run a pass in peace: it clears up what the killed ones have left."""
        done = self.workdir.run(*ONCE)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "unreadable" not in done.stderr

    def expect_told(self, name: str, kills: int) -> None:
        """The alert arrived, and only what was in flight when it was killed arrived again, under the same id."""
        about = [each.text for each in self.telegram.messages if name in each.text and "CRITICAL" in each.text]
        identities = {text.rpartition("id ")[2] for text in about}
        assert len(identities) == 1, about
        assert len(about) <= 1 + kills, about
        history = (self.state / "alert_history.log").read_text()
        assert len(re.findall(f"CRITICAL disk_usage.*{name}", history)) == 1
        self.figures["alerts lost"] += 0

    def expect_sound_state(self) -> None:
        """Every file can be read, and nothing of a change is left half done."""
        names = {path.name for path in self.state.iterdir()}
        assert not {name for name in names if "corrupt" in name or name == "commit.json"}, names
        for path in self.state.glob("*.json"):
            assert json.loads(path.read_text())["schema"] == 1, path
        assert json.loads((self.state / "outbox.json").read_text())["entries"] == []
        for path in self.state.glob("*.log"):
            assert path.read_bytes().endswith(b"\n"), path


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram, figures: Counter[str]) -> Bench:
    return Bench(workdir, telegram, figures)


def test_a_pass_that_is_killed_at_any_call_loses_nothing(bench: Bench, effort: Effort) -> None:
    bench.have_a_new_alert()
    bench.finish()
    bench.have_a_new_alert()
    calls = record_calls(ONCE, bench.workdir.path)
    assert {"write", "rename", "fsync", "unlink", "sendto"} <= {call.name for call in calls}
    chosen = effort.some(calls, 60) * effort.times(1, 8)
    kills = 0
    for call in chosen:
        name = bench.have_a_new_alert()
        kills += bench.kill_at(call)
        bench.finish()
        bench.expect_told(name, kills=1)
        bench.expect_sound_state()
    # A pass may need a call less than the recorded one.
    assert kills > len(chosen) * 0.9


def test_a_first_pass_that_is_killed_at_any_call_loses_nothing(
    tmp_path: Path, telegram: FakeTelegram, figures: Counter[str], effort: Effort
) -> None:
    (tmp_path / "recorded").mkdir()
    bench = Bench(Workdir(tmp_path / "recorded"), telegram, figures)
    bench.have_a_new_alert()
    calls = record_calls(ONCE, bench.workdir.path)
    for number, call in enumerate(effort.some(calls, 12)):
        (tmp_path / str(number)).mkdir()
        fresh = Bench(Workdir(tmp_path / str(number)), telegram, figures)
        fresh.count = 1000 + number
        name = fresh.have_a_new_alert()
        fresh.kill_at(call)
        fresh.finish()
        fresh.expect_told(name, kills=1)
        fresh.expect_sound_state()


def test_kill_after_kill_at_random_moments_loses_nothing(bench: Bench, effort: Effort) -> None:
    bench.have_a_new_alert()
    bench.finish()
    for _ in range(effort.times(6, 150)):
        name = bench.have_a_new_alert()
        kills = 4
        for _ in range(kills):
            with started_vpsmon(ONCE, cwd=bench.workdir.path) as process:
                time.sleep(effort.chance.uniform(0.03, 0.25))
                process.kill()
                if process.wait() == KILLED:
                    bench.figures["kills survived"] += 1
        bench.finish()
        bench.expect_told(name, kills)
        bench.expect_sound_state()
