"""The rule that saves a machine waits for nobody: its budget is its own, and its pauses are short."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.simulation import RULES, SETTINGS, Simulation
from vpsmon.recovery.engine.step import find_pause


def thrash(**content: Any) -> Simulation:
    """A simulation whose machine thrashes, with what recovery remembers of before."""
    life = Simulation(1)
    life.effectors.with_faults = life.store.with_crashes = False
    clock = {"boot_id": "boot-1", "monotonic": life.stack.seconds, "wall": life.stack.wall(), "seconds": 5000.0}
    life.store.text = json.dumps({"clock": clock, **content})
    life.stack.culprits = {"crm"}
    life.stack.dice.random = lambda: 0.9  # type: ignore[method-assign]
    life.recover()
    return life


def is_crm_stopped(life: Simulation) -> bool:
    return life.stack.containers["crm"].status == "exited"


def test_what_other_rules_have_spent_does_not_keep_it_from_saving_the_machine() -> None:
    spent = [5000.0] * SETTINGS.RECOVERY_MAX_ACTIONS_PER_HOUR
    assert is_crm_stopped(thrash(actions=spent))
    assert not is_crm_stopped(thrash(urgent_actions=spent))


def test_it_does_not_wait_for_the_repair_of_another_rule() -> None:
    crm = Simulation(1).stack.containers["crm"].id
    record = {"attempts": 1, "last": 4990.0, "told": "act", "alerted": [], "pending": None}
    record.update(seen=4990.0, name="crm", touches=crm)
    assert is_crm_stopped(thrash(incidents={f"container_unhealthy/{crm}": record}))


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 60.0), (2, 120.0), (3, 120.0), (9, 120.0)])
def test_its_pause_is_capped(attempts: int, seconds: float) -> None:
    rule = next(each for each in RULES if each.is_urgent)
    assert find_pause(rule, {"attempts": attempts, "last": 50.0}, 50.0) == seconds
