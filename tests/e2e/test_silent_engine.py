"""A machine that thrashes and an engine that is silent: what can be spared is ended by the signals of the engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.docker import DockerEngine, run_container
from tests.kit.host import FakeMachine
from tests.kit.kernel import wait_until
from tests.kit.recovery import QUICK, SLEEP, Thrash, confirm_after, done, status, thrashing_bench
from tests.kit.telegram import FakeTelegram
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.core.findings import ReadError
from vpsmon.recovery.actions import RealEffectors
from vpsmon.recovery.actions.outcome import Done, Gone, Refused
from vpsmon.recovery.model import Action
from vpsmon.resident.child_tasks import note_containers, recover_memory
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.docker.remembered import from_memory, to_memory, update
from vpsmon.stack.docker.stop_by_signal import end_first_process
from vpsmon.system.host import Host

pytestmark = pytest.mark.usefixtures("docker_host")
# Says in its exit status by which signal it was told to end.
POLITE = ["sh", "-c", "trap 'exit 40' TERM; trap 'exit 41' INT; while true; do sleep 0.05; done"]
DEAF = ["sh", "-c", "trap '' TERM INT; while true; do sleep 0.05; done"]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.recovery.actions.containers._SOON_SECONDS", 0.5)
    monkeypatch.setattr("vpsmon.recovery.actions.containers._DOCKER_TIMEOUT_SECONDS", 1.0)
    confirm_after(monkeypatch, 0.1)
    monkeypatch.setattr("vpsmon.recovery.rules.swap_thrashing._VERIFY_SECONDS", 1.0)


@contextmanager
def silenced(engine: DockerEngine) -> Iterator[None]:
    """The engine takes connections, and answers nothing."""
    signal_engine(engine, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_engine(engine, signal.SIGCONT)


def signal_engine(engine: DockerEngine, number: signal.Signals) -> None:
    os.kill(int((engine.folder / "dockerd.pid").read_text()), number)


def recall() -> list[Container]:
    """What a pass would have remembered of the containers of now."""
    return from_memory(to_memory(read_containers(Host(), DEFAULTS)))


def find(name: str) -> Container:
    return next(each for each in recall() if each.name == name)


def stop(container: Container, grace_seconds: int = 1, **settings: Any) -> Done:
    """Have a known container stopped; return how it was done."""
    effectors = RealEffectors(DEFAULTS._replace(**settings), known_containers=[container])
    details = {"default_grace_seconds": grace_seconds}
    return effectors.perform(Action("stop_container", container.id, container.name, details))


def find_first_process(container: Any) -> int:
    container.reload()
    return int(container.attrs["State"]["Pid"])


def thrash_while_running(monkeypatch: pytest.MonkeyPatch, thrash: Thrash, pid: int) -> None:
    """The machine of every look from now on is one that thrashes as long as this process is there."""
    (thrash.machine.root / str(pid)).symlink_to(f"/proc/{pid}")
    (thrash.machine.root / "self/mountinfo").write_text(Path("/proc/self/mountinfo").read_text())

    def make_host(patience: float = 1.0) -> Host:
        thrash.write(Path(f"/proc/{pid}").exists())
        return Host(str(thrash.machine.root), patience=patience)

    monkeypatch.setattr("vpsmon.system.host.Host", make_host)


def exit_code(container: Any) -> int:
    """How the engine says that it ended."""
    wait_until(lambda: status(container) == "exited", 10, "the engine knows that it has ended")
    return int(container.attrs["State"]["ExitCode"])


def test_thrashing_ends_what_can_be_spared_although_the_engine_is_silent(
    engine: DockerEngine,
    tmp_path: Path,
    machine: FakeMachine,
    telegram: FakeTelegram,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, thrash = thrashing_bench(engine, tmp_path, machine, {"leaky"}, telegram)
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky, run_container(engine, "n8n", SLEEP, **QUICK) as n8n:
        thrash.update()
        bench.known = recall()
        pid = find("leaky").pid
        bench.on_look = lambda: thrash.write(Path(f"/proc/{pid}").exists())
        with silenced(engine):
            (outcome,) = done(bench.run("swap"))
        assert outcome[0] == "stop the container leaky"
        assert outcome[1].startswith("it helped; by signals, since Docker did not answer; leaky"), outcome
        assert "Stopped the container leaky: it helped; by signals, since Docker did not answer" in bench.last_message()
        assert exit_code(leaky) == 128 + signal.SIGKILL
        assert status(n8n) == "running"
        monkeypatch.setattr("vpsmon.recovery.actions.containers._DOCKER_TIMEOUT_SECONDS", 20.0)
        bench.known = ()
        bench.on_look = thrash.update
        bench.run("swap")
        bench.offset += 601
        assert done(bench.run("swap")) == [("start the container leaky", "done")]
        assert status(leaky) == "running"


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        (POLITE, {}, 40),
        (POLITE, {"stop_signal": "SIGINT"}, 41),
        (POLITE, {"stop_signal": "2"}, 41),
        (DEAF, {}, 128 + signal.SIGKILL),
    ],
)
def test_it_is_ended_by_its_own_signal_and_killed_only_where_it_does_not_end(
    engine: DockerEngine, command: list[str], options: dict[str, Any], expected: int
) -> None:
    with run_container(engine, "leaky", command, **options) as leaky:
        time.sleep(0.3)  # its traps are set
        known = find("leaky")
        with silenced(engine):
            assert stop(known).is_by_signals
        assert exit_code(leaky) == expected


def test_a_policy_does_not_start_it_again(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.recovery.actions.containers._DOCKER_TIMEOUT_SECONDS", 20.0)
    with run_container(engine, "leaky", SLEEP, restart_policy={"Name": "always"}, **QUICK) as leaky:
        known = find("leaky")

        def wake(*arguments: Any) -> None:
            end_first_process(*arguments)
            signal_engine(engine, signal.SIGCONT)
            wait_until(
                lambda: status(leaky) == "running" and find("leaky").pid != known.pid, 10, "it was started again"
            )

        monkeypatch.setattr("vpsmon.recovery.actions.containers.end_first_process", wake)
        with silenced(engine):
            stop(known)
        assert status(leaky) == "exited"


@pytest.mark.parametrize(
    ("options", "settings", "why"),
    [
        ({"labels": {"vpsmon.essential": "true"}}, {}, "is essential"),
        ({"labels": {"com.docker.compose.service": "db"}}, {"ESSENTIAL_CONTAINERS": ["db"]}, "is essential"),
        ({"labels": {"vpsmon.recover": "false"}}, {}, "vpsmon.recover=false"),
        ({"auto_remove": True}, {}, "for one task"),
    ],
)
def test_what_is_never_stopped_is_not_ended_without_the_engine_either(
    engine: DockerEngine, options: dict[str, Any], settings: dict[str, Any], why: str
) -> None:
    with run_container(engine, "kept", SLEEP, **QUICK, **options) as kept:
        known = find("kept")
        with silenced(engine), pytest.raises(Refused, match=why):
            stop(known, **settings)
        assert status(kept) == "running"


def test_one_that_was_restarted_since_is_found_by_the_kernel(engine: DockerEngine) -> None:
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        known = find("leaky")
        leaky.exec_run(["sleep", "600"], detach=True)
        leaky.restart(timeout=0)
        leaky.exec_run(["sleep", "600"], detach=True)
        (updated,) = update(Host(), [known])
        assert updated.pid == find("leaky").pid != known.pid
        with silenced(engine):
            stop(known)
        assert exit_code(leaky) == 128 + signal.SIGKILL


def test_one_that_has_ended_since_is_not_looked_for_elsewhere(engine: DockerEngine) -> None:
    """Its number may be another's process by now."""
    with (
        run_container(engine, "leaky", SLEEP, **QUICK) as leaky,
        run_container(engine, "other", SLEEP, **QUICK) as other,
    ):
        known = find("leaky")._replace(pid=find("other").pid)
        leaky.stop()
        assert [each.status for each in update(Host(), [known])] == ["exited"]
        with silenced(engine), pytest.raises(Gone):
            stop(known)
        end_first_process(Host(), known, 1)
        end_first_process(Host(), known._replace(pid=2**22 - 1), 1)
        time.sleep(1)  # for the engine to hear of an end
        assert status(other) == "running"


def as_nobody(act: Callable[[], None]) -> str:
    """Return the ReadError that something raises for a user without rights, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            act()
        except ReadError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading) as pipe:
        return pipe.read()


def test_who_may_not_end_it_says_so_and_leaves_it_to_the_engine(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        known = find("leaky")
        text = as_nobody(lambda: end_first_process(Host(), known, 1))
        assert text == f"its process {known.pid} may not be ended: Operation not permitted"

        def refuse(*arguments: Any) -> None:
            signal_engine(engine, signal.SIGCONT)
            raise ReadError(text)

        monkeypatch.setattr("vpsmon.recovery.actions.containers.end_first_process", refuse)
        with silenced(engine):
            assert not stop(known).is_by_signals
        assert "leaky cannot be ended without it: its process" in capsys.readouterr().err
        assert status(leaky) == "exited"


def test_an_engine_that_did_late_what_it_was_asked_for_is_no_refusal(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, the stop would be forgotten, and nobody would start the container again."""
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        known = find("leaky")

        def find_it_ended(*arguments: Any) -> None:
            signal_engine(engine, signal.SIGCONT)
            leaky.stop()
            end_first_process(*arguments)

        monkeypatch.setattr("vpsmon.recovery.actions.containers.end_first_process", find_it_ended)
        with silenced(engine):
            assert stop(known).is_by_signals


def events_of(identity: str) -> bytes:
    """What the engine tells of a start, and of the end of another container that is gone, in two lines of its form."""
    return f'{{"id":"{"f" * 64}","Action":"die"}}\n{{"id":"{identity}","Action":"start"}}\n'.encode()


@pytest.mark.parametrize("is_known", [True, False])
def test_the_monitor_recalls_what_its_last_pass_saw(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """Where nothing that it knows can be spared, there may be something new: then the engine is asked after all."""
    config = Config(DEFAULTS, None, str(tmp_path / ".alerts"))
    _, thrash = thrashing_bench(engine, tmp_path, machine, {"leaky"})
    with ExitStack() as stack:
        n8n = stack.enter_context(run_container(engine, "n8n", SLEEP, **QUICK))
        leaky = stack.enter_context(run_container(engine, "leaky", SLEEP, **QUICK))
        thrash_while_running(monkeypatch, thrash, find_first_process(leaky))
        for container in (n8n, leaky) if is_known else (n8n,):
            assert note_containers(config, events_of(str(container.id))) == 0
        if is_known:
            stack.enter_context(silenced(engine))
        assert recover_memory(config) == 0
    log = (tmp_path / ".alerts/recovery.log").read_text()
    assert "stop the container leaky: it helped" in log
    assert ("by signals, since Docker did not answer" in log) == is_known


def test_where_nothing_can_be_spared_the_monitor_knows_that_it_is_not_over(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(DEFAULTS, None, str(tmp_path / ".alerts"))
    _, thrash = thrashing_bench(engine, tmp_path, machine, {"n8n"})
    with run_container(engine, "n8n", SLEEP, **QUICK) as n8n:
        thrash_while_running(monkeypatch, thrash, find_first_process(n8n))
        assert recover_memory(config) == 1
        assert status(n8n) == "running"


def test_a_stopped_container_that_the_last_pass_did_not_see_is_not_forgotten(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine
) -> None:
    bench, _ = thrashing_bench(engine, tmp_path, machine, {"leaky"})
    with run_container(engine, "n8n", SLEEP, **QUICK):
        before = recall()
        with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
            bench.run("swap", is_dry=True)
            assert done(bench.run("swap"))[0][0] == "stop the container leaky"
            bench.known = before
            bench.run("swap")
            bench.known = ()
            bench.run("swap")
            bench.offset += 601
            assert done(bench.run("swap")) == [("start the container leaky", "done")]
            assert status(leaky) == "running"


def test_nothing_secret_is_remembered(engine: DockerEngine) -> None:
    labels = {"vpsmon.essential": "false", "traefik.http.middlewares.auth.basicauth.users": "admin:topsecret"}
    with run_container(
        engine,
        "leaky",
        ["sh", "-c", "sleep 600; echo topsecret"],
        environment={"A": "topsecret"},
        labels=labels,
        **QUICK,
    ):
        (record,) = [each for each in to_memory(read_containers(Host(), DEFAULTS)) if each["name"] == "leaky"]
        assert record["labels"] == {"vpsmon.essential": "false"}
        assert "topsecret" not in str(record)


@pytest.mark.parametrize("records", [None, 5, "x", [5, None, {}, {"id": 5}], {"id": "x"}])
def test_what_has_another_form_is_left_out(records: object) -> None:
    assert from_memory(records) == []
