"""An upgrade keeps everything: this version goes on from a full state directory that the version before has written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.host import FakeMachine
from tests.kit.telegram import FakeTelegram
from vpsmon.alerts.totals import load_totals
from vpsmon.checks import load_checks
from vpsmon.checks.stack import container_memory, container_state
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.run_check import Attempt
from vpsmon.passes.stack_stage import deliver
from vpsmon.passes.stages import record_stack_stage, run_kernel_stage
from vpsmon.recovery.changes import list_emergencies
from vpsmon.recovery.rules import load_rules
from vpsmon.recovery.run import recover
from vpsmon.report.gather import gather
from vpsmon.state.directory import StateDirectory
from vpsmon.state.recovery_file import list_stopped_ids
from vpsmon.system.host import Host

FIXTURE = Path(__file__).parents[1] / "fixtures/state_14d00b1"
SETTINGS = DEFAULTS._replace(ESSENTIAL_CONTAINERS=("crm",), N8N_QUEUE_MAX=10, POSTGRES_DSN="host=127.0.0.1 port=9")
NOTHING = "unix:///nonexistent/docker.sock"


class KernelLogHost(Host):
    """A host whose kernel log is a list of records."""

    records: list[str]

    def read_kernel_log(self) -> Iterator[str]:
        return iter(list(self.records))


class Upgraded:
    """This version on the machine of the fixture, half a minute after the last pass of the version before."""

    def __init__(self, folder: Path) -> None:
        self.scene: dict[str, Any] = json.loads((FIXTURE / "scene.json").read_text())
        shutil.copytree(FIXTURE / "state", folder / ".alerts")
        (folder / ".alerts").chmod(0o700)
        for path in (folder / ".alerts").iterdir():
            path.chmod(0o600)
        self.machine = FakeMachine(folder / "proc", self.scene["wall_seconds"], self.scene["monotonic_seconds"])
        shutil.copytree(FIXTURE / "proc", folder / "proc", dirs_exist_ok=True)
        self.path = folder / ".alerts"
        self.records: list[str] = self.scene["kernel_log"]
        self.settings = SETTINGS
        self.machine.sleep(30)

    def host(self) -> Host:
        host = KernelLogHost(
            str(self.machine.root),
            wall_clock=lambda: self.machine.wall_seconds,
            monotonic_clock=lambda: self.machine.monotonic_seconds,
        )
        host.records = self.records
        return host

    def context(self) -> PassContext:
        config = Config(self.settings, None, str(self.path))
        return PassContext(self.host(), config, StateDirectory(str(self.path), lambda: self.machine.wall_seconds))

    def run_kernel(self) -> StageResult:
        return self.checked(self.context(), run_kernel_stage)

    def run_stack(self) -> StageResult:
        """Judge the containers as they were; the services are asked by nobody."""
        attempts = [Attempt(check, self.see(), None) for check in load_checks("stack") if is_container_state(check)]
        return self.checked(self.context(), lambda context: record_stack_stage(context, attempts, None))

    @staticmethod
    def checked(context: PassContext, run: Any) -> StageResult:
        result: StageResult = run(context)
        assert result.state_error is None
        assert context.state.notices == [], "something was set aside"
        return result

    def see(self) -> container_state.Reading:
        now = self.machine.wall_seconds
        running = container_state.Observed("", "", False, "running", 0, "", False, "", now - 9000, now - 9000)
        killed = running._replace(status="exited", exit_code=137, finished_wall_seconds=now - 300, cause="")
        containers = [
            (running if name == "small" else killed)._replace(id=identity, name=name, is_essential=name == "crm")
            for name, identity in self.scene["containers"].items()
        ]
        return container_state.Reading(containers, now, essentials={"crm": "crm"})

    def read(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / name).read_text())
        return content


def is_container_state(check: Any) -> bool:
    return bool(check.__name__ == container_state.__name__)


@pytest.fixture
def upgraded(tmp_path: Path) -> Upgraded:
    return Upgraded(tmp_path)


def describe(result: StageResult) -> list[tuple[str, str | None]]:
    return [(notice.check, notice.object) for notice in result.notices]


def test_no_incident_is_reported_anew_and_no_rate_limit_is_lost(upgraded: Upgraded) -> None:
    before = upgraded.read("alert_state.json")
    kernel, stack = upgraded.run_kernel(), upgraded.run_stack()
    status = {(each.check, each.object): each.status for each in kernel.findings + stack.findings}
    assert status["memory_available", None] == status["container_state", "crm"] == "critical"
    assert describe(kernel) == describe(stack) == []
    after = upgraded.read("alert_state.json")
    assert after["incidents"].keys() == before["incidents"].keys()
    for name, incident in before["incidents"].items():
        assert after["incidents"][name]["since"] == incident["since"], name
    # What the rate limit held back is still counted, and reported when it is over.
    memory = after["types"]["memory_available//critical"]
    assert memory["suppressed"] == before["types"]["memory_available//critical"]["suppressed"] + 1
    upgraded.machine.sleep(SETTINGS.ALERT_RATE_LIMIT_SEC)
    (notice,) = [each for each in upgraded.run_kernel().notices if each.check == "memory_available"]
    assert notice.suppressed_count == memory["suppressed"]
    # An end like that of `docker stop` is reported once, also where the version before has done so.
    crm = after["types"]["container_state/crm/critical"]
    assert crm["suppressed"] == before["types"]["container_state/crm/critical"]["suppressed"]
    assert not [each for each in upgraded.run_stack().notices if each.object == "crm"]


def test_an_incident_of_before_can_end(upgraded: Upgraded) -> None:
    upgraded.machine.change("meminfo", "MemAvailable:", 600_000)
    (notice,) = upgraded.run_kernel().notices
    assert (notice.check, notice.is_end) == ("memory_available", True)


def test_a_kill_that_was_reported_stays_reported_and_the_next_one_has_its_container_s_name(upgraded: Upgraded) -> None:
    assert "oom_kills" not in [check for check, _ in describe(upgraded.run_kernel())]
    upgraded.machine.change("vmstat", "oom_kill", 2)
    later = str(int(upgraded.machine.monotonic_seconds * 1e6))
    upgraded.records = upgraded.records + [
        ",".join([level, number, later, rest.replace("2731", "2999")])
        for (level, _, _, rest), number in zip(
            (each.split(",", 3) for each in upgraded.scene["kernel_log"][1:]), ("3", "4"), strict=True
        )
    ]
    upgraded.machine.sleep(SETTINGS.ALERT_RATE_LIMIT_SEC)
    notices = [each for each in upgraded.run_kernel().notices if each.check == "oom_kills"]
    assert [(each.object, "pid 2999" in each.message) for each in notices] == [("small", True)]
    assert "2731" not in notices[0].message


def test_what_recovery_has_stopped_is_still_excused(upgraded: Upgraded) -> None:
    findings = {each.object: each for each in upgraded.run_stack().findings}
    assert findings["leaky"].status == "ok"
    assert "stopped by recovery" in findings["leaky"].message


def test_recovery_keeps_attempts_pauses_and_what_it_has_to_undo(
    upgraded: Upgraded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOTHING)
    before = upgraded.read("recovery_state.json")
    config = Config(upgraded.settings, None, str(upgraded.path))
    result = recover(config, load_rules(), make_host=upgraded.host, sleep=lambda seconds: None)
    assert [each for each in result.decisions if each.verdict == "act"] == []
    after = upgraded.read("recovery_state.json")
    assert [each["id"] for each in after["changes"]] == [each["id"] for each in before["changes"]]
    assert [each["undo"] for each in after["changes"]] == [each["undo"] for each in before["changes"]]
    assert list_stopped_ids(after) == {upgraded.scene["containers"]["leaky"]}
    assert [each.text for each in list_emergencies(after)] == [
        "paused the n8n workflows LP newsletter webhook, LP report schedule",
        "stopped the container leaky",
    ]
    assert after["actions"] == before["actions"]
    for name, incident in before["incidents"].items():
        assert (after["incidents"][name]["attempts"], after["incidents"][name]["last"]) == (1, incident["last"]), name
    # Its clock goes on from where it was, so that no pause ends early or starts anew.
    elapsed_seconds = upgraded.machine.monotonic_seconds - before["clock"]["monotonic"]
    assert after["clock"]["seconds"] == pytest.approx(before["clock"]["seconds"] + elapsed_seconds)


def test_the_history_is_read_and_goes_on(upgraded: Upgraded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOTHING)
    lines = {each.name: each.read_text() for each in upgraded.path.glob("history_*.log")}
    context = upgraded.context()
    facts = gather(context.host, context.config, context.state)
    for samples, name, least in ((facts.machine, "free", 300), (facts.containers, "small", 15)):
        assert isinstance(samples, list)
        assert len(samples) >= least
        assert all(name in each.values for each in samples)
    upgraded.run_kernel()
    for name, text in lines.items():
        assert (upgraded.path / name).read_text().startswith(text), name
    assert len((upgraded.path / "history_machine_passes.log").read_text()) > len(lines["history_machine_passes.log"])


def test_the_checks_still_know_what_they_remembered(upgraded: Upgraded) -> None:
    memories = upgraded.context().recall_memories()
    for check in [*load_checks("kernel"), *load_checks("stack")]:
        has_memory = hasattr(check, "remember") and check.__name__.rpartition(".")[2] not in ("waha", "postgres", "n8n")
        assert not has_memory or memories.recall(check), check.__name__
    assert memories.recall_container_names()[upgraded.scene["containers"]["leaky"][:12]] == "leaky"
    (check,) = [each for each in load_checks("stack") if each.__name__ == container_memory.__name__]
    # What that version knew of containers does not say what they need: until the next pass the engine is asked.
    assert container_memory.recall_containers(memories.recall(check)) == []


def test_the_alert_that_waited_is_sent_once_and_the_counters_go_on(upgraded: Upgraded, telegram: FakeTelegram) -> None:
    upgraded.settings = SETTINGS._replace(
        TELEGRAM_BOT_TOKEN=telegram.token, TELEGRAM_CHAT_ID=str(telegram.chat_id), TELEGRAM_API_BASE=telegram.url
    )
    identity = upgraded.read("outbox.json")["entries"][0]["id"]
    upgraded.run_kernel()
    for _ in range(2):
        deliver(upgraded.context())
    (message,) = telegram.messages
    assert f"id {identity}" in message.text
    assert "critical below 50 MB" in message.text
    with upgraded.context().state.lock():
        totals = load_totals(upgraded.context().state).to_state()
    assert totals == {key: value for key, value in upgraded.read("totals.json").items() if key != "schema"}
    assert totals["oom_kills"] == 1
    assert totals["actions"] == {"n8n_queue_overflow/repaired": 1, "swap_thrashing/repaired": 1}
