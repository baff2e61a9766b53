"""Thrashing: what can be spared is stopped, and started again when it is calm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.kit.command import clean_environment
from tests.kit.docker import BUSYBOX_IMAGE, DockerEngine, docker_engine, import_busybox_image, run_container
from tests.kit.host import FakeMachine
from tests.kit.recovery import (
    QUICK,
    SLEEP,
    Bench,
    confirm_after,
    done,
    filled,
    list_actions,
    sick_container,
    status,
    thrashing_bench,
)
from tests.kit.telegram import FakeTelegram
from vpsmon.recovery.changes import list_emergencies
from vpsmon.state.recovery_file import list_stopped_ids

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("docker_host")


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    confirm_after(monkeypatch, 0.3)
    monkeypatch.setattr("vpsmon.recovery.rules.swap_thrashing._VERIFY_SECONDS", 1.0)
    monkeypatch.setattr("vpsmon.recovery.engine.step.POLL_SECONDS", 0.3)


@pytest.mark.parametrize("is_swap_full", [False, True])
def test_thrashing_stops_the_largest_that_can_be_spared_and_starts_it_again(
    engine: DockerEngine,
    tmp_path: Path,
    machine: FakeMachine,
    telegram: FakeTelegram,
    quick_looks: None,
    is_swap_full: bool,
) -> None:
    bench, thrash = thrashing_bench(engine, tmp_path, machine, {"leaky"}, telegram)
    thrash.is_swap_full = is_swap_full
    essential = {"labels": {"vpsmon.essential": "true"}, **QUICK}
    with ExitStack() as stack:
        enter: Callable[[Any], Container] = stack.enter_context
        leaky = enter(run_container(engine, "leaky", filled(40), **QUICK))
        others = [
            enter(run_container(engine, "postgres", filled(60), **QUICK)),
            enter(run_container(engine, "small", SLEEP, **QUICK)),
            enter(run_container(engine, "kept", filled(50), **essential)),
            enter(run_container(engine, "task", filled(55), auto_remove=True, **QUICK)),
        ]
        time.sleep(1)
        result = bench.run_as_planned(engine, "swap")
        assert done(result)[0][0] == "stop the container leaky"
        assert done(result)[0][1].startswith("it helped")
        assert status(leaky) == "exited"
        assert [status(each) for each in others] == ["running"] * 4
        message = bench.last_message()
        assert message.startswith("🔵 INFO recovery swap_thrashing leaky\n")
        did = r"\. Stopped the container leaky: it helped; leaky \(4[01] MB\) is started again when"
        assert re.search(did, message)
        state = bench.read_state()
        assert list_stopped_ids(state) == {leaky.id}
        assert [each.text for each in list_emergencies(state)] == ["stopped the container leaky"]
        bench.offset += 300
        assert done(bench.run("swap")) == []
        bench.offset += 301
        assert done(bench.run("swap")) == []  # calm has been seen for 301 s
        bench.offset += 301
        assert done(bench.run_as_planned(engine, "swap")) == [("start the container leaky", "done")]
        assert status(leaky) == "running"
        assert bench.read_state()["changes"] == []
        assert bench.last_message() == (
            "🔵 INFO recovery swap_thrashing leaky\nStopped the container leaky 15 min ago. "
            "Started the container leaky: the machine has been calm for long enough"
        )


def test_a_container_that_asks_for_time_to_end_gets_it(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    """It ends by itself with 0; killed before that, its work would be lost."""
    bench, _ = thrashing_bench(engine, tmp_path, machine, {"worker"})
    finishes_first = ["sh", "-c", "trap 'sleep 7; exit 0' TERM; while true; do sleep 0.1; done"]
    made = engine.client.api.create_container(BUSYBOX_IMAGE, finishes_first, name="worker", stop_timeout=40)
    worker = engine.client.containers.get(made["Id"])
    try:
        worker.start()
        bench.run("swap")
        assert status(worker) == "exited"
        assert worker.attrs["State"]["ExitCode"] == 0
    finally:
        worker.remove(force=True)


def test_where_it_thrashes_again_it_is_stopped_for_longer(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    bench, _ = thrashing_bench(engine, tmp_path, machine, {"leaky"})
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        pauses = []
        for _ in range(3):
            bench.run("swap")
            assert status(leaky) == "exited"
            minutes = 0
            while status(leaky) == "exited":
                bench.offset += 300
                minutes += 5
                bench.run("swap")
            pauses.append(minutes)
        assert pauses == [15, 25, 45]


def test_what_did_not_help_is_followed_by_the_next_largest_and_never_by_an_essential_one(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, telegram: FakeTelegram, quick_looks: None
) -> None:
    bench, _ = thrashing_bench(engine, tmp_path, machine, {"postgres"}, telegram)
    with ExitStack() as stack:
        enter: Callable[[Any], Container] = stack.enter_context
        containers = [enter(run_container(engine, name, SLEEP, **QUICK)) for name in ("postgres", "one", "two")]
        result = bench.run("swap")
        assert {action for action, _ in done(result)} == {"stop the container one", "stop the container two"}
        assert result.decisions[-1].verdict == "person"
        message = bench.last_message()
        assert "🔴 CRITICAL recovery swap_thrashing machine\n" in message
        assert "Manual action needed\n→ no running container may be stopped: all are essential" in message
        assert "Stopped the container one: not enough yet; one (" in message
        assert [status(each) for each in containers] == ["running", "exited", "exited"]
        assert bench.run("restore").is_complete
        assert [status(each) for each in containers] == ["running", "running", "running"]
        assert bench.read_state()["changes"] == []
        assert bench.last_message().count("somebody asked for it (`vpsmon recover restore`)") == 2


def test_page_cache_refaults_are_no_thrashing(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    bench, thrash = thrashing_bench(engine, tmp_path, machine, {"leaky"})
    thrash.is_page_cache_only = True
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        for _ in range(3):
            bench.offset += 30
            assert bench.run("swap").decisions == []
        assert status(leaky) == "running"


def test_thrashing_that_begins_while_another_repair_is_verified_is_seen_to_at_once(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    bench, thrash = thrashing_bench(engine, tmp_path, machine, set(), UNHEALTHY_AFTER_SEC=1)
    with sick_container(engine, "n8n") as sick, run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        bench.run()
        bench.offset += 10
        before = sick.attrs["State"]["StartedAt"]

        def thrash_after_restart() -> None:
            sick.reload()
            thrash.culprits = {"leaky"} if sick.attrs["State"]["StartedAt"] != before else set()
            thrash.update()

        bench.on_look = thrash_after_restart
        looks = bench.looks
        outcomes = dict(done(bench.run()))
        assert outcomes["restart the container n8n"] == "done; a later run reports whether it helped"
        assert outcomes["stop the container leaky"].startswith("it helped")
        assert status(leaky) == "exited"
        assert bench.looks - looks < 30, "the verification would have taken hundreds"
        bench.offset += 120
        settled = [each for each in bench.run("unhealthy").decisions if each.is_of_earlier_run]
        assert [each.ending for each in settled] == ["failing"]


KILL_AFTER_STOP = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.kit.recovery import Bench
from tests.kit.host import FakeMachine
import vpsmon.recovery.actions, vpsmon.recovery.rules.swap_thrashing as rule
rule.RULE = rule.RULE._replace(confirm_after_seconds=0.2)
stop = vpsmon.recovery.actions.RealEffectors._stop_container
def stop_and_die(self, action):
    stop(self, action)
    os.kill(os.getpid(), signal.SIGKILL)
vpsmon.recovery.actions.RealEffectors._stop_container = stop_and_die
pages = [1000]
machine = FakeMachine(Path({proc!r}))
bench = Bench(Path({folder!r}), str(machine.root))
def shift():
    pages[0] += 1000000
    machine.change("vmstat", "pswpin", pages[0])
    machine.change("meminfo", "MemAvailable:", 30000)
    averages = "avg10=20.00 avg60=0.00 avg300=0.00 total=1"
    machine.write({{"pressure/memory": "some " + averages + "\\nfull " + averages + "\\n"}})
bench.on_look = shift
bench.run("swap")
bench.run("swap")
"""


def test_killed_between_stop_and_remember_the_next_run_starts_it_again(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, telegram: FakeTelegram
) -> None:
    script = KILL_AFTER_STOP.format(root=str(ROOT), proc=str(machine.root), folder=str(tmp_path))
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        command = [sys.executable, "-c", script]
        environment = clean_environment({"DOCKER_HOST": engine.url})
        options: dict[str, Any] = {"env": environment, "cwd": ROOT, "capture_output": True, "text": True, "timeout": 60}
        killed = subprocess.run(command, check=False, **options)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert status(leaky) == "exited"
        machine.change("meminfo", "MemAvailable:", 600000)
        bench = Bench(tmp_path, str(machine.root), telegram)
        (settled,) = bench.run("swap").entries
        assert ". Stopped the container leaky (in an earlier run): it helped; leaky is started" in bench.last_message()
        assert settled.wording.text == "stop the container leaky (in an earlier run)"
        assert status(leaky) == "exited"
        bench.offset += 601
        assert done(bench.run("swap")) == [("start the container leaky", "done")]
        assert status(leaky) == "running"
        log = bench.read_log()
        assert "stop the container leaky: begun" in log


def test_a_container_that_vanished_or_was_made_anew_is_forgotten(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    bench, thrash = thrashing_bench(engine, tmp_path, machine, {"leaky"})
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        bench.run("swap", is_dry=True)
        bench.run("swap")
        leaky.remove(force=True)
    thrash.culprits = set()
    with run_container(engine, "leaky", SLEEP, **QUICK) as anew:
        anew.stop()
        since = time.time()
        bench.offset += 700
        (decision,) = bench.run("swap").decisions
        assert (decision.ending, decision.reason) == ("forgotten", "removed")
        assert bench.read_state()["changes"] == []
        assert list_actions(engine, since) == []


def test_a_docker_that_hangs_while_stopping_is_told_and_the_stop_is_undone_later(
    tmp_path: Path, machine: FakeMachine, quick_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.recovery.actions.containers._DOCKER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr("vpsmon.recovery.actions.containers._DEFAULT_GRACE_SECONDS", 1)
    with docker_engine() as hung:
        import_busybox_image(hung)
        monkeypatch.setenv("DOCKER_HOST", hung.url)
        bench, thrash = thrashing_bench(hung, tmp_path, machine, {"leaky"})
        dockerd = int((hung.folder / "dockerd.pid").read_text())
        import vpsmon.recovery.actions

        stop = vpsmon.recovery.actions.RealEffectors._stop_container

        def hang_then_stop(self: Any, action: Any) -> None:
            bench.on_look = lambda: None
            os.kill(dockerd, signal.SIGSTOP)
            stop(self, action)

        monkeypatch.setattr(vpsmon.recovery.actions.RealEffectors, "_stop_container", hang_then_stop)
        with run_container(hung, "leaky", SLEEP, **QUICK) as leaky:
            bench.run("swap", is_dry=True)
            bench.run("swap", is_dry=True)
            try:
                started = time.monotonic()
                result = bench.run("swap")
                assert time.monotonic() - started < 40
            finally:
                os.kill(dockerd, signal.SIGCONT)
            assert any("does not answer in time" in outcome for _, outcome in done(result)), result.decisions
            assert [change.action.verb for change in result.changes] == ["stop_container"]
            leaky.stop()  # what a dockerd does that wakes up late
            thrash.culprits = set()
            bench.on_look = thrash.update
            for _ in range(4):
                bench.offset += 700
                bench.run("swap")
            assert status(leaky) == "running"
