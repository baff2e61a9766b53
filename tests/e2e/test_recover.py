"""`vpsmon recover` as a command: what it prints and returns, dry, with nothing to do, and started in several ways."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.command import Workdir, started_vpsmon
from tests.kit.container_exec import run_in
from tests.kit.docker import DockerEngine
from tests.kit.kernel import wait_until
from tests.kit.recovery import WELL_AFTER_RESTART, sick_container
from tests.kit.waha import KEY, FakeWaha
from vpsmon.recovery.engine.store import hold_recovery_lock
from vpsmon.recovery.start import start_recovery
from vpsmon.state.directory import StateDirectory

pytestmark = pytest.mark.usefixtures("docker_host")


def test_with_nothing_to_do_it_looks_once_and_ends_with_0(engine: DockerEngine, workdir: Workdir) -> None:
    with FakeWaha() as waha:
        waha.add("default")
        workdir.write_config(WAHA_URL=waha.url, WAHA_API_KEY=KEY)
        plain = workdir.run("recover", "run-all")
        assert (plain.returncode, plain.stdout) == (0, "nothing to do\n")
        assert [request.path for request in waha.requests] == ["/api/sessions"], "one look at WAHA is one pass"
    as_json = json.loads(workdir.run("recover", "swap", "--dry-run", "--json").stdout)
    assert (as_json["schema"], as_json["dry_run"], as_json["decisions"]) == (1, True, [])
    assert workdir.run("recover", "everything").returncode == 2


def test_a_docker_that_cannot_be_reached_is_1_and_says_so(workdir: Workdir, tmp_path: Path) -> None:
    workdir.write_config()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/docker.sock")
    failed = workdir.run("recover", "unhealthy", env={"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert (failed.returncode, failed.stdout) == (1, "nothing to do in what could be read\n")
    assert "is not running: systemctl start docker" in failed.stderr


def test_a_state_directory_that_cannot_be_written_is_1(workdir: Workdir) -> None:
    workdir.write_config(STATE_DIR="/proc/nowhere")
    failed = workdir.run("recover")
    assert failed.returncode == 1
    assert "cannot be written" in failed.stderr


def test_while_another_one_runs_it_does_nothing_and_restore_says_that_it_failed(workdir: Workdir) -> None:
    workdir.write_config()
    with hold_recovery_lock(StateDirectory(str(workdir.path / ".alerts"))) as is_only_one:
        assert is_only_one
        second, restore = workdir.run("recover"), workdir.run("recover", "restore")
    assert (second.returncode, restore.returncode) == (0, 1)
    assert "another recovery is under way" in second.stdout
    assert "try again when it is over" in restore.stdout


def test_what_others_look_at_stays_for_recovery_to_find_unreadable(workdir: Workdir) -> None:
    state = workdir.path / ".alerts"
    state.mkdir(mode=0o700)
    (state / "recovery_state.json").write_text('{"schema": 1, "changes": [{"id": 3')
    environment = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    for words in (["monitor", "--once"], ["status"], ["report", "print"]):
        said = workdir.run(*words, env=environment)
        assert "Traceback" not in said.stderr
        assert ("recovery_state.json is unreadable" in said.stdout) == (words[0] != "monitor"), said.stdout
    done = workdir.run("recover", env=environment)
    assert "recovery_state.json was unreadable and is set aside" in done.stdout
    assert "it only looks for 10 min" in done.stdout
    assert list(state.glob("recovery_state.json.corrupt-*"))


def test_started_by_the_monitor_it_runs_on_its_own(workdir: Workdir) -> None:
    config = workdir.write_config()
    how = start_recovery(str(config), os.environ)
    assert how == "vpsmon recover run-all"
    wait_until((workdir.path / ".alerts/recovery_state.json").exists, 30, "it has run")


def test_by_hand_by_timer_and_by_the_monitor_at_once_it_acts_once(engine: DockerEngine, workdir: Workdir) -> None:
    workdir.write_config(UNHEALTHY_AFTER_SEC=1, MONITOR_INTERVAL_SEC=1)
    with ExitStack() as stack:
        script = f"echo started >> /starts; {WELL_AFTER_RESTART}"
        container = stack.enter_context(sick_container(engine, "postgres", script))
        monitor = stack.enter_context(started_vpsmon(["monitor"], os.environ, workdir.path))
        log = workdir.path / ".alerts/recovery.log"
        statuses = []
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (log.exists() and "begun" in log.read_text()):
            crowd = [stack.enter_context(started_vpsmon(["recover"], os.environ, workdir.path)) for _ in range(3)]
            statuses += [process.wait(120) for process in crowd]
        crowd = [stack.enter_context(started_vpsmon(["recover"], os.environ, workdir.path)) for _ in range(4)]
        statuses += [process.wait(120) for process in crowd]
        monitor.terminate()
        _, errors = monitor.communicate(timeout=60)
        # Docker remembers 256 events only, and every health check makes three.
        starts = run_in(container, ["cat", "/starts"]).output
    assert set(statuses) == {0}
    assert "critical: starting" in errors
    assert starts == "started\nstarted\n"
    assert len(re.findall("begun", log.read_text())) == 1
