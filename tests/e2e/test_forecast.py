"""The forecast in a whole pass: the history grows with each one, and a leak is told with the container that grows."""

from __future__ import annotations

import json

from tests.kit.command import Workdir
from tests.kit.host import FakeMachine
from vpsmon.config import load_config
from vpsmon.findings import Finding
from vpsmon.passes import PassContext, run_kernel_stage
from vpsmon.state import StateDirectory


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
