"""Recoveries that are killed, whose state is corrupt or whose clock jumps: nothing is forgotten, nothing done twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command import clean_environment
from tests.kit.docker import DockerEngine, run_container
from tests.kit.host import FakeMachine
from tests.kit.recovery import (
    QUICK,
    SLEEP,
    WELL_AFTER_RESTART,
    Bench,
    done,
    list_actions,
    sick_container,
    status,
    thrashing_bench,
)
from tests.kit.telegram import FakeTelegram

pytestmark = pytest.mark.usefixtures("docker_host")
ROOT = Path(__file__).resolve().parents[2]


def test_with_a_corrupt_state_nothing_is_acted_on_for_a_while(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram
) -> None:
    bench = Bench(tmp_path, telegram=telegram, UNHEALTHY_AFTER_SEC=1)
    with sick_container(engine, "n8n", WELL_AFTER_RESTART):
        bench.run("unhealthy")
        (bench.folder / "recovery_state.json").write_text('{"schema": 1, "changes": [{"id": 3')
        bench.offset += 5
        (said,) = bench.run_as_planned(engine, "unhealthy").decisions
        assert said.cause == "memory_lost"
        assert bench.last_message().startswith(
            "🔴 CRITICAL recovery recovery memory\nrecovery_state.json was unreadable and is set aside: what was "
            "stopped, paused or raised before has to be looked after manually"
        )
        bench.offset += 5
        (waits,) = bench.run_as_planned(engine, "unhealthy").decisions
        assert (waits.verdict, waits.reason) == ("wait", "memory_lost")
        assert list(bench.folder.glob("recovery_state.json.corrupt-*"))
        bench.offset += 600
        assert done(bench.run("unhealthy")) == [("restart the container n8n", "it helped")]


@pytest.mark.parametrize("jump", [-86400.0, -3600.0, 3600.0, 86400.0])
def test_a_clock_that_jumps_neither_acts_early_nor_never(engine: DockerEngine, tmp_path: Path, jump: float) -> None:
    bench = Bench(tmp_path)
    with sick_container(engine, "n8n", WELL_AFTER_RESTART):
        bench.run("unhealthy")
        bench.wall_jump += jump
        assert bench.run("unhealthy").decisions == []
        bench.offset += 301
        assert len(done(bench.run("unhealthy"))) == 1


# An alarm that nobody handles ends a process on the spot, like kill -9, wherever it is.
RUN_AND_DIE = """
import signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import docker
from tests.kit.host import FakeMachine
from tests.kit.recovery import Bench, Thrash
import vpsmon.recovery.engine.step, vpsmon.recovery.rules.swap_thrashing as rule
rule.RULE = rule.RULE._replace(confirm_after_seconds=0.1)
rule._VERIFY_SECONDS, vpsmon.recovery.engine.step.POLL_SECONDS = 0.3, 0.1
class Engine:
    client = docker.from_env()
machine = FakeMachine(Path({proc!r}))
thrash = Thrash(Engine, machine, {{"postgres"}})
thrash.pages = {pages}
bench = Bench(Path({folder!r}), str(machine.root))
bench.offset, bench.on_look = {offset}, thrash.update
signal.setitimer(signal.ITIMER_REAL, {seconds})
bench.run("swap")
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_killed_at_any_moment_it_never_stops_what_is_essential_and_undoes_the_rest(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine
) -> None:
    """Killed at every tenth of a run, again and again; then a calm that lasts undoes all of it."""
    environment = clean_environment({"DOCKER_HOST": engine.url})
    options: dict[str, Any] = {"env": environment, "cwd": ROOT, "capture_output": True, "text": True, "timeout": 60}
    places = {"root": str(ROOT), "proc": str(machine.root), "folder": str(tmp_path)}
    with ExitStack() as stack:
        names = ("postgres", "one", "two", "three")
        containers = [stack.enter_context(run_container(engine, name, SLEEP, **QUICK)) for name in names]
        since = time.time()
        offset, whole_seconds, endings = 0.0, 0.0, []
        for number in range(11):
            offset += 7 * 3600
            for container in containers:
                container.start()  # by hand
            numbers = {"offset": offset, "pages": 10_000_000 * (number + 1), "seconds": whole_seconds * number / 10}
            command = [sys.executable, "-c", RUN_AND_DIE.format(**places, **numbers)]
            started = time.monotonic()
            endings.append(subprocess.run(command, check=False, **options).returncode)
            whole_seconds = whole_seconds or time.monotonic() - started
        assert endings[0] == 0
        assert set(endings) == {0, -signal.SIGALRM}
        assert endings.count(-signal.SIGALRM) > 3
        assert not [each for each in list_actions(engine, since) if each.startswith("stop postgres")]
        calm, _ = thrashing_bench(engine, tmp_path, machine, set())
        calm.offset = offset
        for _ in range(40):
            calm.offset += 1800
            calm.run("swap")
            if not calm.read_state()["changes"]:
                break
        assert [status(each) for each in containers] == ["running"] * 4
        assert calm.read_state()["changes"] == []
        begun = [line for line in calm.read_log().splitlines() if line.endswith(": begun")]
        stops = [each for each in list_actions(engine, since) if each.startswith("stop ")]
        assert len(stops) <= len([line for line in begun if "stop the container" in line])
    assert json.loads((calm.folder / "recovery_state.json").read_text())["schema"] == 1
