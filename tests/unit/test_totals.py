"""The counters: counted once, in the same step as what they count, and never falling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kit.host import FakeMachine
from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.totals import OUTCOMES, load_totals
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.core.prometheus_text import parse_samples
from vpsmon.jobs.export import MEMORIES_FILE, export
from vpsmon.passes.context import PassContext
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.prometheus.exposition import compose
from vpsmon.recovery.engine.store import RealStore, Record
from vpsmon.state.directory import StateDirectory

SETTINGS = DEFAULTS._replace(DISK_PATHS=())
NOTICE = Notice("critical", "recovery swap", "leaky", "stopped", None, 0.0)


class Installation:
    """A machine with its state directory, on which passes, repairs and exports run."""

    def __init__(self, machine: FakeMachine, folder: Path) -> None:
        self.machine = machine
        self.path = folder / "alerts"

    def context(self, for_export: bool = False) -> PassContext:
        config = Config(SETTINGS, None, str(self.path))
        context = PassContext(self.machine.host(), config, StateDirectory(str(self.path)))
        return context._replace(with_alerts=False, memories_file=MEMORIES_FILE) if for_export else context

    def run_pass(self, seconds: float = 30) -> None:
        self.machine.sleep(seconds)
        assert run_kernel_stage(self.context()).state_error is None

    def repair(self, outcome: str) -> None:
        record = Record(content={}, lines=[], events=[], notices=[NOTICE], outcomes=[("swap_thrashing", outcome)])
        RealStore(self.context()).commit(record)

    def export(self) -> str:
        self.machine.sleep(1)
        text, look = export(self.context(for_export=True), None, publishes=True)
        assert look.state_error is None
        assert (self.path / "metrics/metrics.prom").read_text() == text
        return text

    def count_alerts(self) -> dict[str, float]:
        return {labels[0]: value for labels, value in parse_samples(self.export(), "alerts_total").items()}

    def count_kills(self) -> float | None:
        return parse_samples(self.export(), "vpsmon_oom_kills_total").get(())

    def count_actions(self) -> dict[tuple[str, ...], float]:
        counts = parse_samples(self.export(), "vpsmon_recovery_actions_total")
        return {labels: value for labels, value in counts.items() if value}

    def run_out_of_memory(self) -> None:
        self.machine.change("meminfo", "MemAvailable:", 10_000)

    def recover(self) -> None:
        self.machine.change("meminfo", "MemAvailable:", 600_000)


@pytest.fixture
def installation(machine: FakeMachine, tmp_path: Path) -> Installation:
    return Installation(machine, tmp_path)


def test_before_anything_has_happened_counters_are_zero_and_what_nobody_looked_for_is_absent(
    installation: Installation,
) -> None:
    assert installation.count_alerts() == {"critical": 0, "warning": 0, "info": 0}
    assert installation.count_kills() is None
    installation.run_pass()
    assert installation.count_kills() == 0
    actions = parse_samples(installation.export(), "vpsmon_recovery_actions_total")
    assert {outcome for _, outcome in actions} == set(OUTCOMES)
    assert set(actions.values()) == {0}


def test_alerts_are_counted_when_they_are_told_not_when_they_are_held_back(installation: Installation) -> None:
    installation.run_pass()
    installation.run_out_of_memory()
    for _ in range(3):
        installation.run_pass()
    assert installation.count_alerts() == {"critical": 1, "warning": 0, "info": 0}
    installation.recover()
    installation.run_pass()
    assert installation.count_alerts() == {"critical": 1, "warning": 0, "info": 1}


def test_a_look_without_alerts_counts_nothing(installation: Installation) -> None:
    installation.run_out_of_memory()
    run_kernel_stage(installation.context()._replace(with_alerts=False))
    assert installation.count_alerts() == {"critical": 0, "warning": 0, "info": 0}


def test_kills_are_counted_once_whoever_looks_in_between(installation: Installation) -> None:
    installation.run_pass()
    installation.machine.change("vmstat", "oom_kill", 2)
    assert installation.count_kills() == 0  # the monitor has not seen them yet
    installation.run_pass()  # the kernel counts a kill before it logs it, so an unnamed one is told a pass later
    installation.run_pass()
    installation.run_pass()
    assert installation.count_kills() == 2
    installation.machine.change("vmstat", "oom_kill", 3)
    installation.run_pass()
    installation.run_pass()
    assert installation.count_kills() == 3


def test_repairs_are_counted_by_rule_and_outcome_together_with_their_alerts(installation: Installation) -> None:
    for outcome in ("repaired", "undone", "repaired"):
        installation.repair(outcome)
    assert installation.count_actions() == {("swap_thrashing", "repaired"): 2, ("swap_thrashing", "undone"): 1}
    assert installation.count_alerts()["critical"] == 3


def test_nothing_falls_over_days_reboots_rotated_logs_and_damaged_files(
    installation: Installation, machine: FakeMachine
) -> None:
    least = {"critical": 0.0, "warning": 0.0, "info": 0.0}
    damage = ["alert_state.json", "pass_state.json", "recovery_state.json", "totals.json", "export_state.json"]
    for day in range(10):
        installation.run_out_of_memory()
        installation.run_pass(43_200)
        installation.recover()
        installation.run_pass(43_200)
        machine.write({"sys/kernel/random/boot_id": f"boot-{day}\n"})
        (installation.path / "alert_history.log").write_text("x\n" * 600_000)
        counts = installation.count_alerts()
        assert all(counts[severity] >= least[severity] for severity in least), (day, counts, least)
        assert counts["critical"] == day + 1
        least = counts
        (installation.path / damage[day % len(damage)]).write_text('{"schema": 1, "oom')
    assert list(installation.path.glob("*.corrupt-*"))


@pytest.mark.parametrize(
    "content",
    [
        '{"schema": 1, "alerts": 3}',
        '{"schema": 1, "alerts": {"critical": "x"}}',
        '{"schema": 1, "actions": []}',
        '{"schema": 9}',
        "[]",
    ],
)
def test_counters_that_no_version_wrote_go_on_from_the_last_export(installation: Installation, content: str) -> None:
    installation.run_pass()
    installation.repair("repaired")
    installation.export()
    (installation.path / "totals.json").write_text(content)
    installation.repair("repaired")
    assert installation.count_actions() == {("swap_thrashing", "repaired"): 2}
    assert installation.count_alerts()["critical"] == 2
    assert installation.count_kills() == 0


def test_a_pass_that_is_not_written_is_not_counted(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.run_pass()
    before = (installation.path / "totals.json").read_text()
    installation.run_out_of_memory()

    class KilledError(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(StateDirectory, "_write", die)
    with pytest.raises(KilledError):
        installation.run_pass()
    monkeypatch.undo()
    assert (installation.path / "totals.json").read_text() == before
    installation.run_pass()
    assert installation.count_alerts()["critical"] == 1


def test_a_journal_that_was_cut_off_counts_once(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.run_pass()
    installation.run_out_of_memory()

    class KilledError(BaseException):
        pass

    def die(*_: object) -> None:
        raise KilledError

    monkeypatch.setattr(StateDirectory, "_apply", die)
    with pytest.raises(KilledError):
        installation.run_pass()
    monkeypatch.undo()
    # Whoever comes next finishes it.
    assert installation.count_alerts()["critical"] == 1
    installation.run_pass()
    assert installation.count_alerts()["critical"] == 1


def test_an_export_leaves_what_the_monitor_remembers_alone(installation: Installation, machine: FakeMachine) -> None:
    installation.run_pass()
    before = json.loads((installation.path / "pass_state.json").read_text())
    machine.change("vmstat", "oom_kill", 1)
    machine.change("vmstat", "pswpin", 6000)
    installation.export()
    assert json.loads((installation.path / "pass_state.json").read_text()) == before


def test_rates_are_those_since_the_export_before(installation: Installation, machine: FakeMachine) -> None:
    first = installation.export()
    assert parse_samples(first, "swap_swapin_rate") == {}
    machine.change("vmstat", "pswpin", 1600)
    installation.run_pass(29)
    machine.sleep(30)
    second = installation.export()
    assert parse_samples(second, "swap_swapin_rate") == {(): 600 * 4 / 60}


def test_a_broken_measure_takes_no_other_metric_with_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vpsmon.checks.kernel import swap

    monkeypatch.setattr(swap, "measure", lambda *_: 1 / 0)
    text = installation.export()
    assert parse_samples(text, "swap_total_bytes") == {}
    success = parse_samples(text, "vpsmon_check_success")
    assert (success["swap_in",], success["memory_pressure",]) == (0, 1)
    assert parse_samples(text, "memory_pressure_score") == {(): 0}


def test_what_cannot_be_read_is_absent_and_its_check_says_so(installation: Installation, machine: FakeMachine) -> None:
    (machine.root / "pressure/memory").unlink()
    (machine.root / "vmstat").unlink()
    text = installation.export()
    success = parse_samples(text, "vpsmon_check_success")
    assert ("memory_pressure",) not in success  # not applicable: the kernel has no pressure
    assert success["swap_usage",] == 0
    for name in ("memory_pressure_score", "swap_total_bytes", "swap_used_bytes", "swap_swapin_rate"):
        assert parse_samples(text, name) == {}
    assert parse_samples(text, "vpsmon_memory_total_bytes") == {(): 1_024_000_000}


def test_load_totals_needs_no_files_at_all(tmp_path: Path) -> None:
    assert load_totals(StateDirectory(str(tmp_path / "none"))).alerts == {"critical": 0, "warning": 0, "info": 0}


def test_compose_is_the_same_text_for_the_same_look(installation: Installation) -> None:
    installation.run_pass()
    context = installation.context(for_export=True)
    _, look = export(context, None, publishes=False)
    assert compose(context, look, True) == compose(context, look, True)
