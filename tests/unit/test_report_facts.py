"""What is gathered becomes rows: true ones, and where something cannot be read, the reason instead of a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.host import BOOT_ID, FakeMachine
from vpsmon.checks.stack.container_memory import Measured, Reading
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.core.findings import Finding
from vpsmon.report.compose import compose
from vpsmon.report.facts import Facts, Unread
from vpsmon.report.gather import gather
from vpsmon.report.model import Report, Row
from vpsmon.report.sections.words import describe_status
from vpsmon.stack.docker.cgroups import Usage
from vpsmon.stack.n8n.day import Executions, Workflows
from vpsmon.stack.postgres.leads import LeadCount
from vpsmon.state.directory import StateDirectory
from vpsmon.trends.history import History
from vpsmon.trends.samples import CONTAINERS, MACHINE, Sample


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    (tmp_path / ".alerts").mkdir()
    return StateDirectory(str(tmp_path / ".alerts"))


def look(machine: FakeMachine, state: StateDirectory) -> Facts:
    return gather(machine.host(), Config(DEFAULTS, None, state.path), state)


def find(report: Report, label: str) -> Row:
    rows = [*report.attention, *(row for section in report.sections for row in section.rows)]
    return next(row for row in rows if row.label == label)


def record(machine: FakeMachine, state: StateDirectory, hours: float, total_mb: float = 976.6) -> None:
    """Record a leak of 40 MB an hour in n8n up to now."""
    machine.monotonic_seconds = hours * 3600 + 100
    history = History(state.path)
    for number in range(int(hours * 60)):
        age = (int(hours * 60) - number) * 60.0
        used = 60.0 + 40.0 * (hours - age / 3600)
        clocks = machine.wall_seconds - age, machine.monotonic_seconds - age
        machine_values = {"free": 1900 - used, "available": total_mb - used, "total": total_mb, "swap_used": 0.0}
        history.record(MACHINE, Sample(*clocks, BOOT_ID, {**machine_values, "score": 1.0}))
        history.record(CONTAINERS, Sample(*clocks, BOOT_ID, {"crm-n8n-1": used, "crm-redis-1": 9.0}))


def test_growing_containers_are_named_with_their_pace(machine: FakeMachine, state: StateDirectory) -> None:
    record(machine, state, 10)
    row = find(compose(look(machine, state)), "growing")
    assert row.text.startswith("crm-n8n-1 +4")
    assert row.text.endswith(" MB/h")
    assert "redis" not in row.text


def test_what_gained_most_in_a_day_is_named_also_without_a_trend(machine: FakeMachine, state: StateDirectory) -> None:
    history = History(state.path)
    for hours, megabytes in ((30, 1.0), (23, 100.0), (10, 90.0), (0.5, 400.0)):
        clocks = machine.wall_seconds - hours * 3600, 1000 - hours
        history.record(CONTAINERS, Sample(*clocks, "99999999", {"n8n": megabytes, "new": 5.0 if hours < 1 else 0.0}))
    measured = [Measured("a" * 64, 1, name, Usage(138 * 1024**2, None, None, 0)) for name in ("n8n", "waha")]
    facts = look(machine, state)
    facts.readings["container_memory"] = Reading(measured, 0.0)
    report = compose(facts)
    assert find(report, "growing") == Row("growing", "no container grows steadily", "most gained: n8n +38 MB")


def test_memory_that_was_added_draws_both_days_to_the_larger_size(machine: FakeMachine, state: StateDirectory) -> None:
    record(machine, state, 5, total_mb=500.0)
    memory = compose(look(machine, state)).trends[0]
    assert memory.top == pytest.approx(1_000_000 / 1024)
    assert memory.now == pytest.approx(400_000 / 1024)
    assert memory.today.peak == pytest.approx(60 + 40 * 5, abs=2)


def test_peaks_of_swap_between_two_slots_are_kept(machine: FakeMachine, state: StateDirectory) -> None:
    history = History(state.path)
    machine.monotonic_seconds = 30_000.0
    for number in range(600):
        age = 29_000.0 - number * 30
        values = {"swap_used": 800.0 if number == 25 else 10.0, "total": 1.0, "available": 1.0}
        clocks = machine.wall_seconds - age, machine.monotonic_seconds - age
        history.record(MACHINE, Sample(*clocks, BOOT_ID, values))
    Path(state.path, "history_machine_passes.log").unlink()
    swap = compose(look(machine, state)).trends[1]
    assert (swap.today.peak, swap.now) == (800.0, 0.0)


def test_without_any_reading_nothing_is_zero(tmp_path: Path, state: StateDirectory) -> None:
    broken = FakeMachine(tmp_path / "broken")
    for name in ("meminfo", "vmstat", "pressure/memory"):
        (broken.root / name).unlink()
    report = compose(look(broken, state))
    assert [trend.now for trend in report.trends] == [None, None, None]
    assert all(trend.reason for trend in report.trends)
    assert report.status == "unknown"
    assert "cannot be read" in find(report, "OOM kills").detail
    assert {row.status for row in report.attention} == {"unknown"}


def test_a_history_that_cannot_be_read_says_so(machine: FakeMachine, state: StateDirectory) -> None:
    Path(state.path, "history_machine_minutes.log").mkdir()
    facts = look(machine, state)
    assert isinstance(facts.machine, Unread)
    assert "history_machine_*.log cannot be read: Is a directory" in facts.machine.reason
    assert find(compose(facts), "history").text == "cannot be read"


def test_what_recovery_holds_is_told_with_its_end(machine: FakeMachine, state: StateDirectory) -> None:
    change = {
        "rule": "swap_thrashing",
        "action": ["stop_container", "a" * 64, "blog", {}],
        "undo": ["start_container", "a" * 64, "blog", {}],
        "since_wall_seconds": machine.wall_seconds - 600,
        "until": "10 calm minutes",
    }
    state.commit({"recovery_state.json": {"changes": [change]}})
    row = find(compose(look(machine, state)), "by recovery")
    assert (row.text, row.detail) == ("stopped the container blog", "since 10 min, until 10 calm minutes")


def test_services_that_are_not_there_share_one_row(machine: FakeMachine, state: StateDirectory) -> None:
    row = find(compose(look(machine, state)), "not here")
    assert "PostgreSQL" in row.text
    assert "leads" in row.text


def test_numbers_of_the_services(machine: FakeMachine, state: StateDirectory) -> None:
    executions = Executions(1204, 7, 1100, 2, (("Nightly sync", 5),))
    facts = look(machine, state)._replace(
        workflows=Workflows(12, 3), executions=executions, leads=LeadCount(1_200_000, True)
    )
    report = compose(facts)
    assert find(report, "workflows").text == "12 active, 3 inactive"
    assert find(report, "executions") == Row(
        "executions", "1,204 completed, 7 failed", "the day before 1,100 and 2; failed most: Nightly sync (5)"
    )
    assert find(report, "leads").text == "about 1,200,000"


def test_a_fault_of_a_service_is_told_with_its_reason(machine: FakeMachine, state: StateDirectory) -> None:
    facts = look(machine, state)._replace(leads=Unread("GRANT SELECT on public.leads", True))
    row = find(compose(facts), "leads")
    assert (row.text, row.detail, row.status) == ("cannot be read", "GRANT SELECT on public.leads", "unknown")


def test_the_days_that_a_disk_has_left_stand_beside_it(machine: FakeMachine, state: StateDirectory) -> None:
    facts = look(machine, state)
    kept = [each for each in facts.findings if not each.check.startswith("disk_")]
    usage = Finding(
        check="disk_usage",
        status="ok",
        message="41.0 % full, 5900 MB free",
        object="/",
        value=41.0,
        unit="percent",
    )
    forecast = Finding(
        check="disk_forecast",
        status="ok",
        message="at this rate disk / is full in 12 d, +20 MB/h",
        object="/",
        value=12.3,
        unit="days",
    )
    row = find(compose(facts._replace(findings=[*kept, usage, forecast])), "disk /")
    assert (row.text, row.detail) == ("41.0 % full, 5900 MB free", forecast.message)


def test_nobody_says_that_all_was_well_on_a_day_on_which_nothing_was_watched(
    machine: FakeMachine, state: StateDirectory
) -> None:
    facts = look(machine, state)
    facts = facts._replace(findings=[each._replace(status="ok") for each in facts.findings])
    report = compose(facts._replace(machine=[]))
    assert (report.status, describe_status(report)) == ("unknown", "no problem right now")
    report = report._replace(watched_seconds=600)
    assert describe_status(report) == "all is well"
