"""When the resident monitor has a recovery started; the processes themselves are in tests/e2e/test_resident.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vpsmon.checks import list_rows
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.core.findings import Finding, Status
from vpsmon.resident import recovery_launcher as repair_starter
from vpsmon.resident.pass_child import _sort_critical
from vpsmon.resident.recovery_launcher import RecoveryLauncher
from vpsmon.resident.reexec import Orders, pack_orders

BEYOND_REPAIR = list_rows("kernel", "ROWS_BEYOND_REPAIR")
ORDERS = Orders(pack_orders(Config(DEFAULTS, None, "/nowhere"), None, None))


def find(row: str, status: Status = "critical") -> Finding:
    return Finding(check=row, status=status, message="", value=1.0)


class Clock:
    """The time, and how many processes were started until then."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.started = 0

    def fork(self, work: Callable[[], int], longest_seconds: float | None = None) -> int:
        self.started += 1
        return self.started


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(repair_starter, "fork", clock.fork)
    monkeypatch.setattr("time.monotonic", lambda: clock.seconds)
    return clock


def start_for(starter: RecoveryLauncher, clock: Clock, minutes: int, *rows: str) -> int:
    """Report these rows as critical every half minute, and return how many processes that started."""
    before = clock.started
    for _ in range(minutes * 2):
        starter.start({row: row in BEYOND_REPAIR for row in rows}, ORDERS)
        clock.seconds += 30
    return clock.started - before


def test_the_checks_say_what_tells_of_memory_and_what_no_rule_repairs() -> None:
    assert {"disk_usage", "swap_usage", "disk_forecast", "memory_forecast"} == BEYOND_REPAIR
    findings = [find("swap_out"), find("oom_kills", "ok"), find("swap_usage")]
    assert _sort_critical(findings) == ({"swap_out": False, "swap_usage": True}, False)
    for row in ("memory_available", "memory_pressure", "swap_in", "file_refaults"):
        assert _sort_critical([find(row)]) == ({row: False}, True)


@pytest.mark.parametrize("row", sorted(BEYOND_REPAIR))
def test_for_what_no_rule_repairs_recovery_looks_once(clock: Clock, row: str) -> None:
    starter = RecoveryLauncher()
    assert start_for(starter, clock, 60, row) == 1
    assert start_for(starter, clock, 10, row, "stack") == 10


def test_for_what_lasts_it_is_started_once_a_minute_and_at_once_for_something_else(clock: Clock) -> None:
    starter = RecoveryLauncher()
    assert start_for(starter, clock, 10, "stack") == 10
    starter.start({"stack": False}, ORDERS)
    before = clock.started
    assert starter.start({"stack": False}, ORDERS) == 0
    assert starter.start({"oom_kills": False}, ORDERS) == before + 1


def test_the_rule_for_memory_runs_alone_until_memory_is_no_longer_short(clock: Clock) -> None:
    starter = RecoveryLauncher()
    child = starter.start({"memory_available": False, "oom_kills": False}, ORDERS, True)
    assert starter.is_of_memory(child)
    assert starter.start({"swap_in": False}, ORDERS, True) == 0
    assert starter.note_end_of_memory(False, ORDERS) == 0
    clock.seconds += 4
    assert starter.start({"swap_in": False}, ORDERS, True) == 0
    clock.seconds += 2
    child = starter.start({"swap_in": False}, ORDERS, True)
    others = starter.note_end_of_memory(True, ORDERS)
    assert others == child + 1
    assert not starter.is_of_memory(others)
