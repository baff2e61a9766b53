"""Recoveries on a real Docker engine, one after the other, on clocks that the test can put forward."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

import vpsmon.stack.docker.containers
from tests.kit.docker import DockerEngine, run_container
from tests.kit.host import FakeMachine
from tests.kit.kernel import wait_until
from tests.kit.telegram import FakeTelegram
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.recovery.rules import load_rules, swap_thrashing
from vpsmon.recovery.run import Result, recover, send_alerts
from vpsmon.system.host import Host

SLEEP = ["sleep", "600"]
QUICK: dict[str, Any] = {"stop_signal": "SIGKILL"}
SICK = {"test": ["CMD", "test", "-e", "/well"], "interval": 300_000_000, "retries": 1}
# The second start makes it well: a restart is what it needs.
WELL_AFTER_RESTART = "[ -e /was ] && touch /well; touch /was; exec sleep 600"


class Bench:
    """The recoveries of one installation; `on_look` is called before each look."""

    def __init__(
        self, folder: Path, proc: str = "/proc", telegram: FakeTelegram | None = None, **settings: Any
    ) -> None:
        self.folder = folder / ".alerts"
        self.settings = DEFAULTS._replace(**settings)
        if telegram is not None:
            self.settings = self.settings._replace(
                TELEGRAM_BOT_TOKEN=telegram.token,
                TELEGRAM_CHAT_ID=str(telegram.chat_id),
                TELEGRAM_API_BASE=telegram.url,
            )
        self.telegram = telegram
        self.proc = proc
        self.offset = 0.0
        self.wall_jump = 0.0
        self.looks = 0
        self.known: Sequence[vpsmon.stack.docker.containers.Container] = ()
        self.on_look: Callable[[], None] = lambda: None

    def make_host(self) -> Host:
        self.looks += 1
        self.on_look()
        return Host(
            self.proc,
            wall_clock=lambda: time.time() + self.offset + self.wall_jump,
            monotonic_clock=lambda: time.monotonic() + self.offset,
        )

    def run(self, what: str = "run-all", is_dry: bool = False) -> Result:
        """Run `vpsmon recover WHAT` in this process."""
        rules = [rule for rule in load_rules() if what in ("run-all", "restore", *rule.commands)]
        config = Config(self.settings, None, str(self.folder))
        result = recover(config, rules, is_dry, what == "restore", self.make_host, known_containers=self.known)
        return result if is_dry else send_alerts(config, result, self.make_host)

    def run_as_planned(self, engine: DockerEngine, what: str) -> Result:
        """Run it dry, which must change nothing; then run it, which must decide the same."""
        files, since = self.read_files(), time.time()
        planned = self.run(what, is_dry=True)
        assert list_actions(engine, since) == []
        assert self.read_files() == files
        result = self.run(what)
        keys = ("rule", "name", "verdict", "action")
        decisions = [[[getattr(each, key) for key in keys] for each in run.decisions] for run in (planned, result)]
        assert decisions[0] == decisions[1]
        return result

    def read_files(self) -> dict[str, bytes]:
        """Return the content of all files of the state directory."""
        return {each.name: each.read_bytes() for each in self.folder.glob("*")}

    def read_state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "recovery_state.json").read_text())
        return content

    def read_log(self) -> str:
        return (self.folder / "recovery.log").read_text()

    def read_events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "recovery_events.jsonl").read_text().splitlines()]

    def last_message(self) -> str:
        """Return the latest Telegram message without its first line (the machine and the time) and its id."""
        assert self.telegram is not None
        lines = self.telegram.messages[-1].text.splitlines()
        assert lines[-1].startswith("id ")
        return "\n".join(lines[1:-1])


def done(result: Result) -> list[tuple[str, str]]:
    """What was acted on, and how it turned out, in words."""
    return [(each.wording.action, each.wording.outcome) for each in result.entries if each.decision.verdict == "act"]


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


@contextmanager
def sick_container(
    engine: DockerEngine, name: str, script: str = "exec sleep 600", **options: Any
) -> Iterator[Container]:
    """A container whose health check fails until there is a file /well in it."""
    command = ["sh", "-c", script]
    with run_container(engine, name, command, healthcheck=SICK, **{**QUICK, **options}) as container:
        wait_until(lambda: health(container) == "unhealthy", 30, "it is unhealthy")
        yield container


class Thrash:
    """A machine whose numbers are those of thrashing while a container of the real engine runs; its sizes are real."""

    def __init__(self, engine: DockerEngine, machine: FakeMachine, culprits: set[str]) -> None:
        self.engine = engine
        self.machine = machine
        self.culprits = culprits
        self.pages = 1000
        self.is_page_cache_only = False
        # The second phase: swap is full, and program code is read again and again.
        self.is_swap_full = False
        (machine.root / "self").mkdir(exist_ok=True)

    def update(self) -> None:
        """Write the numbers of this moment."""
        running = {each.name for each in self.engine.client.containers.list()}
        for container in self.engine.client.containers.list():
            pid = container.attrs["State"]["Pid"]
            link = self.machine.root / str(pid)
            if not link.is_symlink():
                link.symlink_to(f"/proc/{pid}")
        (self.machine.root / "self/mountinfo").write_text(Path("/proc/self/mountinfo").read_text())
        self.write(bool(self.culprits & running))

    def write(self, is_bad: bool) -> None:
        """Write the numbers of a machine that thrashes, or of one that is well."""
        if is_bad:
            self.pages += 100_000
        is_file = self.is_page_cache_only or self.is_swap_full
        self.machine.change("vmstat", "workingset_refault_file" if is_file else "pswpin", self.pages)
        self.machine.change("meminfo", "SwapFree:", 4000 if is_bad and self.is_swap_full else 1048576)
        is_short = is_bad and not self.is_page_cache_only
        self.machine.change("meminfo", "MemAvailable:", 30000 if is_short else 600000)
        stall = "18.00" if is_short else "0.00"
        self.machine.write(
            {
                "pressure/memory": f"some avg10={stall} avg60=0.00 avg300=0.00 total=1000000\n"
                f"full avg10={stall} avg60=0.00 avg300=0.00 total=500000\n"
            }
        )


def thrashing_bench(
    engine: DockerEngine,
    tmp_path: Path,
    machine: FakeMachine,
    culprits: set[str],
    telegram: FakeTelegram | None = None,
    **settings: Any,
) -> tuple[Bench, Thrash]:
    """A bench whose machine thrashes while one of the culprits runs."""
    thrash = Thrash(engine, machine, culprits)
    bench = Bench(tmp_path, str(machine.root), telegram, **settings)
    bench.on_look = thrash.update
    return bench, thrash


FILL = "dd if=/dev/zero of=/dev/shm/x bs=1M count={}; exec sleep 600"


def filled(megabytes: int) -> list[str]:
    return ["sh", "-c", FILL.format(megabytes)]


def confirm_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the rule for memory look again sooner than it does."""
    quick = swap_thrashing.RULE._replace(confirm_after_seconds=seconds)
    monkeypatch.setattr(swap_thrashing, "RULE", quick)
