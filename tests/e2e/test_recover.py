"""Recovery on a real Docker engine: each rule finds, acts once, verifies, tells and undoes, or leaves well alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.kit.command import Workdir, clean_environment, started_vpsmon
from tests.kit.docker import DockerEngine, docker_engine, import_busybox_image, run_container
from tests.kit.host import FakeMachine
from tests.kit.kernel import wait_until
from tests.kit.local_server import server_error
from tests.kit.n8n import KEY as N8N_KEY
from tests.kit.n8n import FakeN8n
from tests.kit.stack import RedisServer, redis_server
from tests.kit.telegram import FakeTelegram
from tests.kit.waha import KEY, OLD, FakeWaha
from vpsmon.config import Config
from vpsmon.host import Host
from vpsmon.recovery import load_rules
from vpsmon.recovery.engine.run import Result, recover
from vpsmon.recovery.engine.status import list_emergencies, list_stopped_ids
from vpsmon.recovery.engine.store import hold_recovery_lock
from vpsmon.settings import DEFAULTS
from vpsmon.state import StateDirectory

SLEEP = ["sleep", "600"]
QUICK: dict[str, Any] = {"stop_signal": "SIGKILL"}
SICK = {"test": ["CMD", "test", "-e", "/well"], "interval": 300_000_000, "retries": 1}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def docker_host(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)


class Bench:
    """Recoveries one after the other, on clocks that the test can put forward; `on_look` is called before each look."""

    def __init__(self, folder: Path, proc: str = "/proc", **settings: Any) -> None:
        self.folder = folder / ".alerts"
        self.settings = DEFAULTS._replace(**settings)
        self.proc = proc
        self.offset = 0.0
        self.wall_jump = 0.0
        self.on_look: Callable[[], None] = lambda: None

    def make_host(self) -> Host:
        self.on_look()
        return Host(
            self.proc,
            wall_clock=lambda: time.time() + self.offset + self.wall_jump,
            monotonic_clock=lambda: time.monotonic() + self.offset,
        )

    def run(self, what: str = "run-all", is_dry: bool = False) -> Result:
        """Run `vpsmon recover WHAT` in this process."""
        rules = [rule for rule in load_rules() if what in ("run-all", "restore", *rule.COMMANDS)]
        config = Config(self.settings, None, str(self.folder))
        return recover(config, rules, is_dry, what == "restore", self.make_host)

    def read_state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "recovery_state.json").read_text())
        return content

    def read_log(self) -> str:
        return (self.folder / "recovery.log").read_text()


def done(result: Result) -> list[tuple[str, str]]:
    """What was acted on, and how it turned out."""
    return [(each.action, each.outcome) for each in result.decisions if each.verdict == "act"]


def list_actions(engine: DockerEngine, since: float) -> list[str]:
    """What happened to containers since then, as `docker events` tells."""
    wanted = ("start", "stop", "restart", "update", "kill", "die")
    time.sleep(0.2)
    only = {"type": "container"}
    events = engine.client.events(since=int(since), until=int(time.time()) + 1, filters=only, decode=True)
    times = [each for each in events if each["Action"] in wanted and each["timeNano"] / 1e9 >= since]
    return [f"{each['Action']} {each['Actor']['Attributes']['name']}" for each in times]


def status(container: Container) -> str:
    container.reload()
    return str(container.status)


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


# --- an unhealthy container ------------------------------------------------------------------------------------------


@contextmanager
def sick_container(
    engine: DockerEngine, name: str, script: str = "exec sleep 600", **options: Any
) -> Iterator[Container]:
    """A container whose health check fails until there is a file /well in it."""
    command = ["sh", "-c", script]
    with run_container(engine, name, command, healthcheck=SICK, **{**QUICK, **options}) as container:
        wait_until(lambda: health(container) == "unhealthy", 30, "it is unhealthy")
        yield container


# The second start makes it well: a restart is what it needs.
WELL_AFTER_RESTART = "[ -e /was ] && touch /well; touch /was; exec sleep 600"


def test_an_unhealthy_container_is_restarted_once_verified_and_told(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram
) -> None:
    bench = Bench(
        tmp_path,
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
    )
    with sick_container(engine, "n8n", WELL_AFTER_RESTART) as container:
        assert bench.run().decisions == []  # it has only just been seen
        bench.offset += 301
        since = time.time()
        planned = bench.run("unhealthy", is_dry=True)
        assert list_actions(engine, since) == []
        result = bench.run("unhealthy")
        assert done(result) == [("restart the container n8n", "it helped")]
        assert [each.action for each in planned.decisions] == [each.action for each in result.decisions]
        assert [each[:2] for each in planned.decisions] == [each[:2] for each in result.decisions]
        assert health(container) == "healthy"
        assert "restart n8n" in list_actions(engine, since)
        assert bench.run().decisions == []
    (message,) = telegram.messages
    assert "INFO" in message.text
    assert "restart the container n8n" in message.text
    assert bench.read_log().count("\n") == 2


def test_one_that_stays_unhealthy_is_restarted_three_times_with_growing_pauses(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.recovery.container_unhealthy._VERIFY_SECONDS", 4.0)
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1)
    verdicts = []
    with sick_container(engine, "n8n"):
        for _ in range(16):
            bench.offset += 150
            verdicts += [each.verdict for each in bench.run("unhealthy").decisions]
            bench.offset += 2
            verdicts += [each.verdict for each in bench.run("unhealthy").decisions]
            if "given up" in verdicts:
                break
        record = next(iter(bench.read_state()["incidents"].values()))
    assert record["attempts"] == 3
    assert verdicts.count("act") == 3
    assert "given up" in verdicts
    assert bench.read_log().count("did not help") == 3


def test_what_is_starting_or_needs_a_database_that_is_down_is_left_alone(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1)
    slow = {**SICK, "start_period": 600_000_000_000, "retries": 100}
    with ExitStack() as stack:
        stack.enter_context(run_container(engine, "slow", SLEEP, healthcheck=slow))
        stack.enter_context(sick_container(engine, "mine", labels={"vpsmon.recover": "false"}))
        stack.enter_context(sick_container(engine, "n8n"))
        stack.enter_context(run_container(engine, "redis", ["true"]))
        bench.run("unhealthy")
        bench.offset += 10
        since = time.time()
        (decision,) = bench.run("unhealthy").decisions
        assert (decision.name, decision.verdict) == ("n8n", "hold")
        assert "redis, which it needs, is exited" in decision.text
        assert list_actions(engine, since) == []


def test_switched_off_it_says_what_it_would_do(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1, ENABLE_AUTO_RECOVERY=False)
    with sick_container(engine, "n8n"):
        bench.run("unhealthy")
        bench.offset += 10
        since = time.time()
        (decision,) = bench.run("unhealthy").decisions
        assert decision.verdict == "disabled"
        assert "it would restart the container n8n" in decision.text
        assert list_actions(engine, since) == []


# --- thrashing -------------------------------------------------------------------------------------------------------


class Thrash:
    """A machine whose numbers are those of thrashing while a container of the real engine runs; its sizes are real."""

    def __init__(self, engine: DockerEngine, machine: FakeMachine, culprits: set[str]) -> None:
        self.engine = engine
        self.machine = machine
        self.culprits = culprits
        self.pages = 1000
        self.is_page_cache_only = False
        (machine.root / "self").mkdir(exist_ok=True)

    def update(self) -> None:
        """Write the numbers of this moment."""
        running = {each.name for each in self.engine.client.containers.list()}
        is_bad = bool(self.culprits & running)
        for container in self.engine.client.containers.list():
            pid = container.attrs["State"]["Pid"]
            link = self.machine.root / str(pid)
            if not link.is_symlink():
                link.symlink_to(f"/proc/{pid}")
        (self.machine.root / "self/mountinfo").write_text(Path("/proc/self/mountinfo").read_text())
        if is_bad:
            self.pages += 100_000
        counter = "workingset_refault_file" if self.is_page_cache_only else "pswpin"
        self.machine.change("vmstat", counter, self.pages)
        is_short = is_bad and not self.is_page_cache_only
        self.machine.change("meminfo", "MemAvailable:", 30000 if is_short else 600000)
        stall = "18.00" if is_short else "0.00"
        self.machine.write(
            {
                "pressure/memory": f"some avg10={stall} avg60=0.00 avg300=0.00 total=1000000\n"
                f"full avg10={stall} avg60=0.00 avg300=0.00 total=500000\n"
            }
        )


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.recovery.swap_thrashing.CONFIRM_AFTER_SECONDS", 0.3)
    monkeypatch.setattr("vpsmon.recovery.swap_thrashing._VERIFY_SECONDS", 1.0)
    monkeypatch.setattr("vpsmon.recovery.engine.step.POLL_SECONDS", 0.3)


def thrashing_bench(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, culprits: set[str]
) -> tuple[Bench, Thrash]:
    thrash = Thrash(engine, machine, culprits)
    bench = Bench(tmp_path, str(machine.root))
    bench.on_look = thrash.update
    return bench, thrash


FILL = "dd if=/dev/zero of=/dev/shm/x bs=1M count={}; exec sleep 600"


def filled(megabytes: int) -> list[str]:
    return ["sh", "-c", FILL.format(megabytes)]


def test_thrashing_stops_the_largest_that_can_be_spared_and_starts_it_again(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    bench, _ = thrashing_bench(engine, tmp_path, machine, {"leaky"})
    with ExitStack() as stack:
        enter: Callable[[Any], Container] = stack.enter_context
        postgres = enter(run_container(engine, "postgres", filled(60), **QUICK))
        leaky = enter(run_container(engine, "leaky", filled(40), **QUICK))
        small = enter(run_container(engine, "small", SLEEP, **QUICK))
        kept = enter(run_container(engine, "kept", filled(50), labels={"vpsmon.essential": "true"}, **QUICK))
        time.sleep(1)
        since = time.time()
        bench.run("swap", is_dry=True)
        planned = bench.run("swap", is_dry=True)
        assert list_actions(engine, since) == []
        assert not bench.folder.exists()
        result = bench.run("swap")
        assert [action for action, _ in done(planned)] == [action for action, _ in done(result)]
        assert done(result)[0][0] == "stop the container leaky"
        assert done(result)[0][1].startswith("it helped")
        assert [status(each) for each in (postgres, leaky, small, kept)] == ["running", "exited", "running", "running"]
        state = bench.read_state()
        assert list_stopped_ids(state) == {leaky.id}
        assert [each.text for each in list_emergencies(state)] == ["stop the container leaky"]
        bench.offset += 300
        assert done(bench.run("swap")) == []
        bench.offset += 301
        assert done(bench.run("swap")) == []  # calm has been seen for 301 s
        bench.offset += 301
        thrash_over = bench.run("swap")
        assert done(thrash_over) == [("start the container leaky", "done")]
        assert status(leaky) == "running"
        assert bench.read_state()["changes"] == []


def test_what_did_not_help_is_followed_by_the_next_largest_and_never_by_an_essential_one(
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine, quick_looks: None
) -> None:
    bench, _ = thrashing_bench(engine, tmp_path, machine, {"postgres"})
    with ExitStack() as stack:
        enter: Callable[[Any], Container] = stack.enter_context
        containers = [enter(run_container(engine, name, SLEEP, **QUICK)) for name in ("postgres", "one", "two")]
        bench.run("swap", is_dry=True)
        result = bench.run("swap")
        assert {action for action, _ in done(result)} == {"stop the container one", "stop the container two"}
        assert result.decisions[-1].verdict == "person"
        assert "all are essential" in (result.decisions[-1].advice or "")
        assert [status(each) for each in containers] == ["running", "exited", "exited"]
        assert bench.run("restore").is_complete
        assert [status(each) for each in containers] == ["running", "running", "running"]
        assert bench.read_state()["changes"] == []


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


KILL_AFTER_STOP = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.e2e.test_recover import Bench, Thrash
from tests.kit.host import FakeMachine
import vpsmon.effectors, vpsmon.recovery.swap_thrashing as rule
rule.CONFIRM_AFTER_SECONDS = 0.2
stop = vpsmon.effectors.RealEffectors._stop_container
def stop_and_die(self, action):
    stop(self, action)
    os.kill(os.getpid(), signal.SIGKILL)
vpsmon.effectors.RealEffectors._stop_container = stop_and_die
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
    engine: DockerEngine, tmp_path: Path, machine: FakeMachine
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
        bench = Bench(tmp_path, str(machine.root))
        (settled,) = bench.run("swap").decisions
        assert settled.text == "stop the container leaky (in an earlier run)"
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
        assert "removed or made anew" in decision.outcome
        assert bench.read_state()["changes"] == []
        assert list_actions(engine, since) == []


def test_a_docker_that_hangs_while_stopping_is_told_and_the_stop_is_undone_later(
    tmp_path: Path, machine: FakeMachine, quick_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.effectors._DOCKER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr("vpsmon.effectors._DEFAULT_GRACE_SECONDS", 1)
    with docker_engine() as hung:
        import_busybox_image(hung)
        monkeypatch.setenv("DOCKER_HOST", hung.url)
        bench, thrash = thrashing_bench(hung, tmp_path, machine, {"leaky"})
        dockerd = int((hung.folder / "dockerd.pid").read_text())
        import vpsmon.effectors

        stop = vpsmon.effectors.RealEffectors._stop_container

        def hang_then_stop(self: Any, action: Any) -> None:
            bench.on_look = lambda: None
            os.kill(dockerd, signal.SIGSTOP)
            stop(self, action)

        monkeypatch.setattr(vpsmon.effectors.RealEffectors, "_stop_container", hang_then_stop)
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


def test_two_recoveries_at_once_the_second_says_so_and_ends_with_0(engine: DockerEngine, workdir: Workdir) -> None:
    workdir.write_config()
    with hold_recovery_lock(StateDirectory(str(workdir.path / ".alerts"))) as is_only_one:
        assert is_only_one
        second = workdir.run("recover", env={"DOCKER_HOST": engine.url})
    assert second.returncode == 0
    assert "another recovery is under way" in second.stdout


def test_with_a_corrupt_state_nothing_is_acted_on_for_a_while(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1)
    with sick_container(engine, "n8n", WELL_AFTER_RESTART):
        bench.run("unhealthy")
        (bench.folder / "recovery_state.json").write_text('{"schema": 1, "changes": [{"id": 3')
        bench.offset += 5
        (said,) = bench.run("unhealthy").decisions
        assert "unreadable" in said.read
        bench.offset += 5
        (waits,) = bench.run("unhealthy").decisions
        assert (waits.verdict, "only looks" in waits.text) == ("wait", True)
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


# --- WAHA ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        yield server


def waha_bench(tmp_path: Path, waha: FakeWaha, container: Container | None = None) -> Bench:
    """WAHA on this machine, that starts anew whenever its container does."""
    bench = Bench(tmp_path, WAHA_URL=waha.url, WAHA_API_KEY=KEY, WAHA_STUCK_AFTER_SEC=100)
    if container is not None:
        container.reload()
        starts = [container.attrs["State"]["StartedAt"]]

        def follow() -> None:
            container.reload()
            if container.attrs["State"]["StartedAt"] != starts[-1]:
                starts.append(container.attrs["State"]["StartedAt"])
                waha.restart_container()

        bench.on_look = follow
    return bench


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.recovery.waha_stuck._SESSION_SECONDS", 2.0)
    monkeypatch.setattr("vpsmon.recovery.waha_stuck._CONTAINER_SECONDS", 8.0)
    monkeypatch.setattr("vpsmon.recovery.engine.step.POLL_SECONDS", 0.3)


def make_stuck(bench: Bench, waha: FakeWaha) -> None:
    waha.add("default")
    bench.run("waha")
    waha.sessions["default"].status = "FAILED"
    bench.run("waha")
    bench.offset += 300


def test_a_stuck_session_is_restarted_and_verified(tmp_path: Path, waha: FakeWaha, short_waits: None) -> None:
    bench = waha_bench(tmp_path, waha)
    make_stuck(bench, waha)
    planned = bench.run("waha", is_dry=True)
    assert waha.actions == []
    assert done(bench.run("waha")) == [("restart the WhatsApp session default", "it helped")]
    assert [each.action for each in planned.decisions] == ["restart the WhatsApp session default"]
    bench.offset += 300
    assert bench.run("waha").decisions == []
    assert waha.actions == [("restart", "default")]


def test_an_api_that_says_500_after_having_done_it_is_believed_by_what_shows(
    tmp_path: Path, waha: FakeWaha, short_waits: None
) -> None:
    bench = waha_bench(tmp_path, waha)
    make_stuck(bench, waha)
    act = waha.judge

    def fail_posts(request: Any) -> Any:
        answer = act(request)
        return server_error() if request.verb == "POST" else answer

    waha.judge = fail_posts  # type: ignore[method-assign]
    assert "it is well again, although this failed" in done(bench.run("waha"))[0][1]
    assert waha.actions == [("restart", "default")]


@pytest.mark.parametrize("version", [OLD, "2026.7.1"])
def test_where_that_does_not_help_the_container_is_restarted_and_what_ran_is_started_again(
    engine: DockerEngine, tmp_path: Path, waha: FakeWaha, short_waits: None, version: str
) -> None:
    with run_container(engine, "waha", SLEEP, **QUICK) as container:
        bench = waha_bench(tmp_path, waha, container)
        waha.version = version
        waha.add("byhand", "STOPPED")
        make_stuck(bench, waha)
        waha.start_leads_to = None  # a session restart is accepted, and nothing happens
        result = bench.run("waha")
        assert "it did not help; next: restart the container waha, in 10 min" in done(result)[0][1]
        assert bench.run("waha").decisions[0].verdict == "wait"
        bench.offset += 601
        waha.start_leads_to = "WORKING"
        assert done(bench.run("waha")) == [("restart the container waha", "it helped")]
        assert bench.read_state()["changes"] == []
        assert [waha.sessions[name].status for name in ("default", "byhand")] == ["WORKING", "STOPPED"]
        assert "logout" not in {action for action, _ in waha.actions}


def test_after_the_last_attempt_a_person_is_asked_and_nothing_more_is_done(
    engine: DockerEngine, tmp_path: Path, waha: FakeWaha, short_waits: None
) -> None:
    with run_container(engine, "waha", SLEEP, **QUICK) as container:
        bench = waha_bench(tmp_path, waha, container)
        make_stuck(bench, waha)
        waha.start_leads_to = "FAILED"
        since = time.time()
        outcomes = []
        for _ in range(12):
            outcomes += [outcome for _, outcome in done(bench.run("waha"))]
            bench.offset += 601
        assert len(outcomes) == 3
        assert "last attempt, a person" in outcomes[-1]
        assert bench.run("waha").decisions[0].verdict == "given up"
        assert [each for each in list_actions(engine, since) if each.startswith("restart")] == ["restart waha"] * 2


def test_idle_stopped_and_waiting_sessions_are_left_alone(tmp_path: Path, waha: FakeWaha) -> None:
    bench = waha_bench(tmp_path, waha)
    waha.add("night", activity_milliseconds=round((time.time() - 30_000) * 1000))
    waha.add("stopped", "STOPPED")
    waha.add("code", "SCAN_QR_CODE")
    waha.add("passkey", "PASSKEY_REQUIRED")
    for _ in range(5):
        bench.offset += 3600
        assert bench.run("waha").decisions == []
    assert waha.actions == []


# --- n8n's queue -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=[1, 2])
def n8n(request: pytest.FixtureRequest) -> Iterator[FakeN8n]:
    with FakeN8n(request.param) as server:
        yield server


def fill_queue(redis: RedisServer, jobs: int, active: int = 1) -> None:
    """Jobs waiting, and some that a worker holds; the next job changes with the length, so the queue moves."""
    redis.cli("FLUSHALL")
    redis.cli("SET", "bull:jobs:id", 9999)
    if jobs:
        redis.cli("RPUSH", "bull:jobs:wait", *range(1, jobs + 1))
    for number in range(active):
        redis.cli("LPUSH", "bull:jobs:active", 5000 + number)
        redis.cli("SET", f"bull:jobs:{5000 + number}:lock", "x")


def queue_bench(tmp_path: Path, redis: RedisServer, n8n: FakeN8n | None, **settings: Any) -> Bench:
    fixed = {"N8N_URL": n8n.url if n8n else "http://127.0.0.1:9", "REDIS_URL": redis.url, "N8N_QUEUE_MAX": 10}
    return Bench(tmp_path, **{**fixed, "N8N_API_KEY": N8N_KEY, "POSTGRES_DSN": "host=127.0.0.1 port=9", **settings})


def overflow(bench: Bench, redis: RedisServer) -> Result:
    fill_queue(redis, 20)
    bench.run("queue")
    bench.offset += 130
    fill_queue(redis, 30)
    return bench.run("queue")


def active_names(n8n: FakeN8n) -> set[str]:
    return {each["name"] for each in n8n.workflows.values() if each["active"]}


def test_an_overflowing_queue_pauses_what_can_wait_and_activates_exactly_that_again(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n
) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    before = active_names(n8n)
    versions = {each["id"]: each["activeVersionId"] for each in n8n.workflows.values()}
    ((action, outcome),) = done(overflow(bench, redis))
    assert action == "pause the n8n workflows LP newsletter webhook, LP report schedule"
    assert "get 404 meanwhile" in outcome
    assert active_names(n8n) == before - {"LP newsletter webhook", "LP report schedule"}
    bench.offset += 300
    assert bench.run("queue").decisions == []  # once is enough
    fill_queue(redis, 2)
    for _ in range(3):
        assert active_names(n8n) != before
        bench.offset += 301
        bench.run("queue")
    assert active_names(n8n) == before
    assert {each["id"]: each["activeVersionId"] for each in n8n.workflows.values()} == versions
    assert bench.read_state()["changes"] == []


def test_a_workflow_that_somebody_edited_meanwhile_is_asked_about(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n, engine: DockerEngine
) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    overflow(bench, redis)
    n8n.edit(n8n.find("LP newsletter webhook")["id"])
    result = bench.run("restore")
    assert result.is_complete
    assert "LP newsletter webhook was edited while it was paused" in done(result)[0][1]
    assert "LP report schedule" in active_names(n8n)
    assert "LP newsletter webhook" not in active_names(n8n)


def test_a_draft_that_was_never_published_is_not_published_by_recovery(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n
) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    workflow = n8n.find("LP newsletter webhook")
    version = workflow["activeVersionId"]
    draft = n8n.edit(workflow["id"])
    overflow(bench, redis)
    bench.run("restore")
    assert workflow["activeVersionId"] == (version if n8n.major == 2 else None)
    assert workflow["versionId"] == draft


def test_n8n_says_500_after_having_paused_or_lies_about_it(tmp_path: Path, redis: RedisServer, n8n: FakeN8n) -> None:
    act = n8n.judge

    def fail_posts(request: Any) -> Any:
        answer = act(request)
        return server_error() if request.verb == "POST" and answer.status == 200 else answer

    n8n.judge = fail_posts  # type: ignore[method-assign]
    bench = queue_bench(tmp_path, redis, n8n)
    assert done(overflow(bench, redis))[0][1].startswith("it helped")
    bench.run("restore")
    assert "LP report schedule" in active_names(n8n)
    n8n.judge = act  # type: ignore[method-assign]
    n8n.deaf = {n8n.find("LP report schedule")["id"]}
    bench.offset += 7 * 3600
    assert "it is still active" in done(overflow(bench, redis))[0][1]


@pytest.mark.parametrize("fault", ["no key", "wrong key", "no scope"])
def test_without_a_key_that_may_do_it_the_alert_says_how_to_make_one(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n, fault: str
) -> None:
    if fault == "no scope":
        n8n.scopes = frozenset()
    key = {"no key": "", "wrong key": "x", "no scope": N8N_KEY}[fault]
    bench = queue_bench(tmp_path, redis, n8n, N8N_API_KEY=key)
    (decision,) = overflow(bench, redis).decisions
    assert decision.verdict == "person"
    assert "workflow:deactivate" in (decision.advice or "")
    assert n8n.actions == []


def test_a_long_queue_that_drains_is_left_alone(tmp_path: Path, redis: RedisServer, n8n: FakeN8n) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    for jobs in (900, 700, 500, 300, 100):
        fill_queue(redis, jobs)
        assert bench.run("queue").decisions == []
        bench.offset += 300
    assert n8n.actions == []


def test_a_dead_worker_is_restarted_and_not_n8n_itself(
    engine: DockerEngine, tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = queue_bench(tmp_path, redis, None)
    with ExitStack() as stack:
        stack.enter_context(run_container(engine, "n8n", SLEEP, environment={"EXECUTIONS_MODE": "queue"}, **QUICK))
        command = ["sh", "-c", "sleep 600", "worker"]
        worker = stack.enter_context(run_container(engine, "n8n-worker", command, **QUICK))
        fill_queue(redis, 5, active=0)
        bench.run("queue")
        bench.offset += 200
        started = worker.attrs["State"]["StartedAt"]

        def take_jobs() -> None:
            worker.reload()
            if worker.attrs["State"]["StartedAt"] != started:
                fill_queue(redis, 4, active=1)

        worker.reload()
        started = worker.attrs["State"]["StartedAt"]
        bench.on_look = take_jobs
        since = time.time()
        assert done(bench.run("queue")) == [("restart the container n8n-worker", "it helped")]
        assert [each for each in list_actions(engine, since) if "restart" in each] == ["restart n8n-worker"]


# --- a restart loop --------------------------------------------------------------------------------------------------


def test_killed_at_its_own_limit_it_gets_a_quarter_more_and_the_old_limit_back_later(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.recovery.restart_loop._STAYS_UP_SECONDS", 3.0)
    bench = Bench(tmp_path, RESTART_LOOP_COUNT=2)
    # 18 MB do not fit into 16, but into 20; tmpfs counts as memory of the container.
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=17 && sleep 600"
    limits: dict[str, Any] = {"mem_limit": "16m", "memswap_limit": "16m", "restart_policy": {"Name": "always"}}
    with run_container(engine, "hungry", ["sh", "-c", script], **limits, **QUICK) as hungry:
        found: list[Result] = []

        def acts() -> bool:
            found.append(bench.run("loops"))
            return bool(done(found[-1]))

        wait_until(acts, 60, "the loop is acted on")
        ((action, outcome),) = done(found[-1])
        assert action == "set the memory limit of the container hungry to 20 MB", (action, outcome)
        assert outcome.startswith("it helped"), outcome
        assert "mem_limit" in outcome
        hungry.exec_run(["rm", "/dev/shm/x"])
        for hours in (1, 25, 25):
            bench.offset += hours * 3600
            bench.run("loops")
        hungry.reload()
        assert hungry.attrs["HostConfig"]["Memory"] == 16 << 20
        assert bench.read_state()["changes"] == []


@pytest.mark.parametrize("name", ["job", "n8n"])
def test_another_loop_is_restarted_twice_then_stopped_only_where_it_is_not_essential(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("vpsmon.recovery.restart_loop._VERIFY_SECONDS", 1.0)
    bench = Bench(tmp_path, RESTART_LOOP_COUNT=2, RESTART_LOOP_WINDOW_SEC=100_000)
    script = "echo line1; echo cannot open config; exit 3"
    with run_container(engine, name, ["sh", "-c", script], restart_policy={"Name": "always"}, **QUICK) as container:
        acted: list[tuple[str, str]] = []
        advices: list[str] = []

        def is_over() -> bool:
            bench.offset += 310
            result = bench.run("loops")
            acted.extend(done(result))
            advices.extend(each.advice or "" for each in result.decisions)
            return any("stop the" in action for action, _ in acted) or any(
                each.verdict == "given up" for each in result.decisions
            )

        wait_until(is_over, 120, "the ladder ends")
        wanted = [f"restart the container {name}"] * 2 + (["stop the container job"] if name == "job" else [])
        assert [action for action, _ in acted] == wanted
        assert any("cannot open config" in each for each in advices)
        assert (status(container) == "exited") == (name == "job")
        if name == "job":
            bench.offset += 90_000
            assert done(bench.run("loops")) == []  # only a person starts it again
            assert bench.run("restore").is_complete


def test_a_deployment_with_three_restarts_is_no_loop(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with run_container(engine, "web", SLEEP, **QUICK) as container:
        for _ in range(4):
            assert bench.run("loops").decisions == []
            container.restart(timeout=0)
            bench.offset += 20


# --- the command -----------------------------------------------------------------------------------------------------


def test_with_nothing_to_do_the_command_ends_with_0_and_says_so(engine: DockerEngine, workdir: Workdir) -> None:
    workdir.write_config()
    environment = {"DOCKER_HOST": engine.url}
    plain = workdir.run("recover", "run-all", env=environment)
    assert (plain.returncode, plain.stdout) == (0, "nothing to do\n")
    as_json = json.loads(workdir.run("recover", "swap", "--dry-run", "--json", env=environment).stdout)
    assert (as_json["schema"], as_json["dry_run"], as_json["decisions"]) == (1, True, [])
    assert workdir.run("recover", "everything").returncode == 2


def test_a_docker_that_cannot_be_reached_is_1_and_says_so(workdir: Workdir, tmp_path: Path) -> None:
    import socket

    workdir.write_config()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/docker.sock")
    failed = workdir.run("recover", "unhealthy", env={"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert (failed.returncode, failed.stdout) == (1, "nothing to do in what could be read\n")
    assert "is not running: systemctl start docker" in failed.stderr


def test_a_state_directory_that_cannot_be_written_is_1(engine: DockerEngine, workdir: Workdir) -> None:
    workdir.write_config(STATE_DIR="/proc/nowhere")
    failed = workdir.run("recover", env={"DOCKER_HOST": engine.url})
    assert failed.returncode == 1
    assert "cannot be written" in failed.stderr


def test_started_by_the_monitor_it_runs_on_its_own(engine: DockerEngine, workdir: Workdir) -> None:
    from vpsmon.recovery.engine.start import start_recovery

    config = workdir.write_config()
    started = time.monotonic()
    how = start_recovery(str(config), {**os.environ, "DOCKER_HOST": engine.url}, unit_folders=())
    assert time.monotonic() - started < 2
    assert how == "vpsmon recover run-all"
    wait_until((workdir.path / ".alerts/recovery_state.json").exists, 30, "it has run")


def test_the_process_can_be_killed_at_any_moment(engine: DockerEngine, workdir: Workdir) -> None:
    workdir.write_config()
    for milliseconds in (50, 150, 250, 350):
        with started_vpsmon(["recover"], {"DOCKER_HOST": engine.url}, workdir.path) as process:
            time.sleep(milliseconds / 1000)
            process.kill()
    assert workdir.run("recover", env={"DOCKER_HOST": engine.url}).returncode == 0
