"""The forecast in a whole pass: the history grows with each one, and a leak is told with the container that grows."""

from __future__ import annotations

import json

import pytest

from tests.kit.command import Workdir
from tests.kit.docker import DockerEngine, run_container
from tests.kit.host import FakeMachine
from tests.kit.kernel import wait_until
from vpsmon.checks.stack import container_memory
from vpsmon.config.load import load_config
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Finding
from vpsmon.passes.context import PassContext
from vpsmon.passes.stack_stage import run_rest_of_pass
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.state.directory import StateDirectory
from vpsmon.system.host import Host


def test_a_first_pass_knows_no_trend_and_says_so(workdir: Workdir) -> None:
    rows = {row["check"]: row for row in json.loads(workdir.run("monitor", "--once", "--json").stdout)["checks"]}
    for name, unit in (("memory_forecast", "hours"), ("disk_forecast", "days")):
        assert (rows[name]["value"], rows[name]["unit"]) == (None, unit)
        assert rows[name]["status"] in ("ok", "skipped")


def live_through_a_leak(workdir: Workdir, machine: FakeMachine, hours: int, lost_kb_an_hour: int) -> Finding:
    """Run passes of a simulated machine that loses memory steadily, and return the last forecast."""
    workdir.write_config(DISK_PATHS="")
    config = load_config(str(workdir.path / "monitor.conf"), {})
    machine.change("meminfo", "SwapTotal:", 0)
    machine.change("meminfo", "SwapFree:", 0)
    found: list[Finding] = []
    for number in range(hours * 30):
        machine.change("meminfo", "MemAvailable:", 900_000 - lost_kb_an_hour * number // 30)
        host = machine.host()
        context = PassContext(host, config, StateDirectory(config.state_directory, host.wall_seconds))
        found = [each for each in run_kernel_stage(context).findings if each.check == "memory_forecast"]
        machine.sleep(120)
    return found[0]


def test_a_steady_leak_is_told_hours_before_the_end(workdir: Workdir, machine: FakeMachine) -> None:
    finding = live_through_a_leak(workdir, machine, hours=20, lost_kb_an_hour=36_000)
    assert finding.status == "warning"
    assert finding.value is not None
    # 900 MB at 36 MB an hour last 25 hours, of which 20 are over.
    assert 3.5 < finding.value < 6
    assert "run out in" in finding.message


def test_a_machine_at_rest_has_no_trend(workdir: Workdir, machine: FakeMachine) -> None:
    finding = live_through_a_leak(workdir, machine, hours=20, lost_kb_an_hour=0)
    assert (finding.status, finding.value) == ("ok", None)
    assert "no trend" in finding.message


# A megabyte more of its own memory again and again, and never freed.
LEAK = 'BEGIN { while (1) { kept[n++] = sprintf("%1000000s", ""); system("sleep 0.05") } }'
LIMIT_MB = 160
STEP_MB = 2.0
MACHINE_MB = 200.0


class SmallMachine(Host):
    """This machine at the time of another, with the memory that its containers leave."""

    def __init__(self, machine: FakeMachine) -> None:
        super().__init__(wall_clock=lambda: machine.wall_seconds, monotonic_clock=lambda: machine.monotonic_seconds)
        self._meminfo = str(machine.root / "meminfo")

    def read_proc(self, name: str) -> str:
        return self.read_file(self._meminfo) if name == "meminfo" else super().read_proc(name)


class LeakyStack:
    """Whole passes over the real containers of an engine, on a small machine that has what they leave, 30 s apart."""

    def __init__(self, workdir: Workdir, machine: FakeMachine) -> None:
        workdir.write_config(DISK_PATHS="")
        self.config = load_config(str(workdir.path / "monitor.conf"), {})
        self.machine = machine
        self.sizes_mb: dict[str, float] = {}
        machine.change("meminfo", "SwapTotal:", 0)
        machine.change("meminfo", "SwapFree:", 0)

    def look(self) -> dict[str, float]:
        """Return the MB of each container now, with the limits, as the recorder writes them."""
        return container_memory.sample(container_memory.read(Host(), DEFAULTS, None), [])

    def run_pass(self) -> dict[str | None, Finding]:
        """Wait until the leak has grown by a step, and return the rows of the pass by container."""
        before_mb = self.sizes_mb.get("leaky", 0.0)
        wait_until(lambda: self.look().get("leaky", 1e9) >= before_mb + STEP_MB, 60, "the leak has grown")
        self.sizes_mb = self.look()
        free_mb = MACHINE_MB - sum(size for name, size in self.sizes_mb.items() if not name.endswith("/limit"))
        self.machine.change("meminfo", "MemAvailable:", int(free_mb * 1024))
        host = SmallMachine(self.machine)
        context = PassContext(host, self.config, StateDirectory(self.config.state_directory, host.wall_seconds))
        kernel = run_kernel_stage(context)
        run_rest_of_pass(context, kernel.entry_id)
        self.machine.sleep(30)
        return {finding.object: finding for finding in kernel.findings if finding.check == "memory_forecast"}


def test_a_real_leak_in_a_container_is_announced_before_machine_and_limit_are_hit(
    engine: DockerEngine, workdir: Workdir, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    limit = {"mem_limit": f"{LIMIT_MB}m", "memswap_limit": f"{LIMIT_MB}m"}
    stack = LeakyStack(workdir, machine)
    with (
        run_container(engine, "quiet", "sleep 1000", mem_limit="64m"),
        run_container(engine, "leaky", ["awk", LEAK], **limit) as leaky,
    ):
        rows = stack.run_pass()
        while not all(name in rows and rows[name].value is not None for name in (None, "leaky")):
            rows = stack.run_pass()
            assert "leaky" in stack.sizes_mb, "the limit was hit before it was announced"
        leaky.reload()
        assert leaky.status == "running"
        assert stack.sizes_mb["leaky"] < LIMIT_MB
    assert rows[None].status == "critical"
    assert "growing: leaky +" in rows[None].message
    assert rows["leaky"].status == "critical"
    assert f"leaky reaches its limit of {LIMIT_MB} MB in" in rows["leaky"].message
    assert (rows["quiet"].status, rows["quiet"].value) == ("ok", None)
    told = (workdir.path / ".alerts" / "alert_history.log").read_text(encoding="utf-8")
    assert "at this rate memory and swap run out in" in told
    assert "at this rate leaky reaches its limit" in told
