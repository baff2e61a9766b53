"""The resident monitor asks the stack less often while all is well, and by every pass when it is not."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.command import QUIET_LIMITS, ConfigValue, Workdir, started_vpsmon
from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import wait_until
from tests.kit.recovery import QUICK, SLEEP
from tests.kit.resident import Notes, forked_watcher, report
from tests.kit.telegram import FakeTelegram
from vpsmon.config.load import load_config
from vpsmon.config.settings import Config
from vpsmon.resident import wakeups as doorbells
from vpsmon.resident.pass_child import EXIT_WELL, run_pass

PATIENCE_SECONDS = 60.0


def read_looks(workdir: Workdir) -> tuple[float, float]:
    """When the kernel and when the stack were looked at last."""
    path = workdir.path / ".alerts/pass_state.json"
    noted = json.loads(path.read_text())["last_pass"] if path.exists() else {}
    return noted.get("kernel", {}).get("wall_seconds", 0.0), noted.get("stack", {}).get("wall_seconds", 0.0)


def count_stack_looks(workdir: Workdir, passes: int) -> int:
    """How often the stack is looked at in the time of so many passes."""
    looks: list[tuple[float, float]] = []

    def are_over() -> bool:
        looks.append(read_looks(workdir))
        return len({kernel for kernel, _ in looks}) > passes

    wait_until(are_over, PATIENCE_SECONDS, f"{passes} passes")
    return len({stack for _, stack in looks}) - 1


@pytest.mark.usefixtures("docker_host")
def test_a_real_stack_is_asked_by_every_second_pass_until_a_container_fails(
    workdir: Workdir, engine: DockerEngine, telegram: FakeTelegram
) -> None:
    workdir.write_config(**QUIET_LIMITS, RECOVER_ON_CRITICAL=False, HEARTBEAT_URL=f"{telegram.url}/ping")
    options = ["monitor", "--interval", "2"]
    with (
        run_container(engine, "web", SLEEP, restart_policy={"Name": "always"}, **QUICK),
        started_vpsmon(options, env={"DOCKER_HOST": engine.url}, cwd=workdir.path),
    ):
        wait_until(lambda: count_stack_looks(workdir, 6) in (2, 3), 2 * PATIENCE_SECONDS, "every second pass asks")
        beats = len(telegram.requests)
        count_stack_looks(workdir, 8)
        assert len(telegram.requests) - beats >= 6, "the heartbeat does not wait for the stack's turn"
        # A warning for as long as it is there: nobody has asked for this end.
        with run_container(engine, "job", ["sh", "-c", "sleep 3; exit 3"]):
            wait_until(lambda: count_stack_looks(workdir, 6) >= 5, 2 * PATIENCE_SECONDS, "every pass asks")


@pytest.mark.usefixtures("docker_host")
@pytest.mark.parametrize(("keys", "status"), [({}, EXIT_WELL), ({"DISK_WARNING_PCT": 0}, 0)])
def test_a_machine_that_is_not_well_has_the_stack_asked_by_every_pass(
    workdir: Workdir, engine: DockerEngine, keys: dict[str, ConfigValue], status: int
) -> None:
    config = load_config(str(workdir.write_config(**{**QUIET_LIMITS, **keys})), {})
    with run_container(engine, "web", SLEEP, **QUICK):
        statuses = [run_pass(config, True, True, os.open(os.devnull, os.O_WRONLY)) for _ in range(2)]
    assert statuses[1] == status


@contextmanager
def watcher_of_a_healthy_stack(engine_socket: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A monitor whose passes only note whether they were to ask the stack, and find all well."""

    def note_and_report(config: Config, is_regular: bool, with_stack: bool, descriptor: int) -> int:
        with notes.open("a") as file:
            file.write(str(int(with_stack)))
        report(descriptor, "ok")
        return EXIT_WELL

    monkeypatch.setattr("vpsmon.resident.watcher.run_pass", note_and_report)
    monkeypatch.setattr(doorbells, "_PAUSE_AFTER_EVENT_SECONDS", 0.0)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine_socket}")
    notes.touch()
    with forked_watcher(notes.parent, 0.5):
        yield


def test_the_end_of_a_container_that_docker_tells_of_has_the_next_pass_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, engine_socket = tmp_path / "notes", tmp_path / "engine.sock"
    # As Docker 20.10 wrote it for a container that was killed, without its attributes.
    event = b'{"status":"die","id":"%s","Type":"container","Action":"die"}\n' % (b"a" * 64)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(engine_socket))
        server.listen()
        server.settimeout(PATIENCE_SECONDS)
        with watcher_of_a_healthy_stack(engine_socket, notes, monkeypatch):
            client, _ = server.accept()
            assert b"%22die%22" in client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            wait_until(lambda: notes.read_text().endswith("101010"), PATIENCE_SECONDS, "every second pass asks")

            def asks_always() -> bool:
                client.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                return notes.read_text().endswith("1111")

            wait_until(asks_always, PATIENCE_SECONDS, "every pass asks")
            client.close()


def test_what_the_rule_for_memory_has_to_tell_is_sent_by_a_pass_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes(tmp_path / "notes")

    def report_short_memory(config: Config, is_regular: bool, with_stack: bool, descriptor: int) -> int:
        notes.add("regular" if is_regular else "rung")
        report(descriptor, "critical", ["memory_available"] if is_regular else [], is_memory_short=is_regular)
        return 0

    monkeypatch.setattr("vpsmon.resident.watcher.run_pass", report_short_memory)
    monkeypatch.setattr("vpsmon.resident.child_tasks.recover_memory", lambda config: notes.add("repair"))
    monkeypatch.setattr("vpsmon.resident.child_tasks.start_recovery", lambda path: notes.add("others"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with forked_watcher(tmp_path, 3600):
        wait_until(
            lambda: {"others", "rung"} <= set(notes.read()),
            PATIENCE_SECONDS,
            "another pass, and the other rules",
        )
    assert notes.read()[:2] == ["regular", "repair"]
