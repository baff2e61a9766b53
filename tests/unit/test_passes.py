"""A stage of a pass: what follows from its readings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.host import BOOT_ID, FakeMachine
from vpsmon.checks import load_checks
from vpsmon.checks.stack import container_state
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.passes.context import PassContext
from vpsmon.passes.run_check import Attempt
from vpsmon.passes.stages import record_stack_stage, run_kernel_stage
from vpsmon.state.directory import StateDirectory


def test_a_container_that_recovery_has_stopped_is_no_fault(machine: FakeMachine, tmp_path: Path) -> None:
    state = StateDirectory(str(tmp_path / "alerts"))
    container_id = "a" * 64
    stopped = {
        "undo": ["start_container", container_id, "blog", {}],
        **{"calm_seconds": 600.0, "calm_since_seconds": None, "since_seconds": 50.0},
    }
    clock = {"boot_id": BOOT_ID, "monotonic": machine.monotonic_seconds - 60, "wall": 0.0, "seconds": 100.0}
    with state.lock():
        state.commit({"recovery_state.json": {"clock": clock, "changes": [stopped]}})
    now = machine.wall_seconds
    blog = container_state.Observed(container_id, "blog", False, "restarting", 137, "", False, "", now - 9000, now - 10)
    shop = blog._replace(id="b" * 64, name="shop")
    (check,) = [each for each in load_checks("stack") if each.__name__ == container_state.__name__]
    attempts = [Attempt(check, container_state.Reading([blog, shop], now), None)]
    context = PassContext(machine.host(), Config(DEFAULTS, None, state.path), state)
    result = record_stack_stage(context, attempts, None)
    assert {each.object: each.status for each in result.findings} == {"blog": "ok", "shop": "warning"}
    assert [notice.object for notice in result.notices] == ["shop"]


@pytest.mark.parametrize(("available_kb", "waits"), [(10_000, False), (80_000, False), (600_000, True)])
def test_only_while_memory_is_short_nothing_waits_for_the_disk(
    machine: FakeMachine, tmp_path: Path, available_kb: int, waits: bool
) -> None:
    machine.change("meminfo", "MemAvailable:", available_kb)
    state = StateDirectory(str(tmp_path / "alerts"))
    run_kernel_stage(PassContext(machine.host(), Config(DEFAULTS, None, state.path), state))
    assert state.waits_for_disk == waits


def test_a_row_has_the_unit_that_its_check_names(machine: FakeMachine, tmp_path: Path) -> None:
    state = StateDirectory(str(tmp_path / "alerts"))
    rows = run_kernel_stage(PassContext(machine.host(), Config(DEFAULTS, None, state.path), state)).findings
    units = {name: unit for check in load_checks("kernel") for name, unit in check.ROWS.items()}
    assert {each.check: each.unit for each in rows} == units
