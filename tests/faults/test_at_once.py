"""Many processes on one state directory, a lock that was left behind, and a holder of the lock that has been frozen."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import Effort
from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir, clean_environment, started_vpsmon
from tests.kit.engine import FakeEngine, PretendContainer
from tests.kit.kernel import wait_until
from tests.kit.telegram import FakeTelegram

PATIENCE_SECONDS = 120.0
# All commands that touch the state; what each may end with when 49 others do the same.
COMMANDS = (
    ONCE,
    ["monitor", "--once", "--json"],
    ["monitor", "--once", "--no-alerts"],
    ["recover"],
    ["recover", "restore"],
    ["recover", "--dry-run"],
    ["export"],
    ["export", "--stdout"],
    ["status"],
    ["selftest"],
)


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


@pytest.mark.alone  # fifty processes leave nothing for anybody else
def test_fifty_processes_at_once_tell_an_alert_once_and_leave_a_sound_state(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    with FakeEngine(*(PretendContainer(f"{number:064x}", f"c{number}") for number in range(3))) as engine:
        for _ in range(effort.times(1, 20)):
            # The engine says at each look that they were started just now: after five it is a loop, and a recovery that
            # restarts them looks for minutes whether it helped.
            name = bench.have_a_new_alert(ENABLE_AUTO_RECOVERY=False)
            with ExitStack() as processes:
                started = [
                    processes.enter_context(started_vpsmon(words, {"DOCKER_HOST": engine.host}, bench.path))
                    for words in COMMANDS * 5
                ]
                for process in started:
                    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
                    assert "Traceback" not in errors, (process.args, errors)
                    assert process.returncode in (0, 1), (process.args, errors)
                    # Whoever could not do its job says that others were in the way.
                    if process.returncode == 1 and "selftest" not in process.args:  # type: ignore[operator]
                        assert re.search("locked by another|another recovery", output + errors), (output, errors)
            bench.finish()
            bench.expect_told(name, in_flight=0)
            bench.expect_sound_state()
            figures["processes at once on one state directory"] += len(COMMANDS) * 5


def test_a_lock_file_that_was_left_behind_locks_nothing(bench: Installation) -> None:
    bench.state.mkdir(mode=0o700)
    for name in ("lock", "delivery.lock", "recovery.lock", "export.lock"):
        (bench.state / name).write_text("4711\n")
    name = bench.have_a_new_alert()
    bench.finish()
    bench.expect_told(name, in_flight=0)


FREEZE = """
import os, signal, sys
from vpsmon.state.shm_fallback import SparedState
state = SparedState(sys.argv[1])
with state.lock():
    os.kill(os.getpid(), signal.SIGSTOP)
    state.commit({"frozen.json": {"n": 1}})
"""


def test_a_frozen_holder_of_the_lock_is_named_and_nothing_is_lost_when_it_goes_on(bench: Installation) -> None:
    name = bench.have_a_new_alert()
    frozen = subprocess.Popen([sys.executable, "-c", FREEZE, str(bench.state)], env=clean_environment())
    try:
        wait_until(lambda: _is_stopped(frozen.pid), PATIENCE_SECONDS, "it is frozen")
        done = bench.workdir.run(*ONCE, timeout_seconds=PATIENCE_SECONDS)
        assert done.returncode == 1
        assert "locked by another vpsmon" in done.stderr
        assert "Traceback" not in done.stderr
        assert "disk_usage" in done.stdout
        frozen.send_signal(signal.SIGCONT)
        assert frozen.wait(PATIENCE_SECONDS) == 0
    finally:
        frozen.kill()
        frozen.wait()
    bench.finish()
    bench.expect_told(name, in_flight=0)
    assert json.loads((bench.state / "frozen.json").read_text())["n"] == 1


def _is_stopped(process_id: int) -> bool:
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_the_watcher_outlives_a_frozen_holder_of_the_lock(bench: Installation) -> None:
    name = bench.have_a_new_alert()
    bench.state.mkdir(mode=0o700)
    descriptor = os.open(bench.state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with started_vpsmon(["monitor", "--interval", "0.2"], cwd=bench.path) as process:
        assert process.stderr is not None
        while "locked by another vpsmon" not in process.stderr.readline():
            assert process.poll() is None
        os.close(descriptor)
        wait_until(lambda: bool(bench.list_messages(name)), PATIENCE_SECONDS, "the alert that had to wait")
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    bench.finish()
    # It may have been stopped before it could write down that the message has arrived.
    bench.expect_told(name, in_flight=1)
