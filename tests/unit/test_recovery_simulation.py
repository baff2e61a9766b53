"""A thousand days and more of incidents, faults and crashes on a simulated stack: what must never happen does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.kit.simulation import RULES, SETTINGS, Simulation
from vpsmon.config.settings import Settings
from vpsmon.recovery.actions.outcome import Gone, Refused
from vpsmon.recovery.model import Snapshot
from vpsmon.recovery.rules import container_unhealthy
from vpsmon.recovery.run import run_rules

DAYS = 1200
# Enough for any of the broken ones below to be noticed.
DAYS_OF_A_BROKEN_ONE = 250
# Twice what it comes to on the worst of these days.
LARGEST_STATE_BYTES = 15_000


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_days_of_mixed_incidents_faults_and_crashes(seed: int) -> None:
    simulation = Simulation(seed)
    for _ in range(DAYS // 4):
        simulation.live_a_day()
    assert simulation.effectors.total > DAYS // 4
    assert simulation.killed > 20
    assert simulation.store.largest < LARGEST_STATE_BYTES
    assert_all_is_undone(simulation)


def assert_all_is_undone(simulation: Simulation) -> None:
    """Two quiet days later only what a person has to decide is left; `restore` undoes that too."""
    simulation.effectors.with_faults = simulation.store.with_crashes = False
    for _ in range(2 * 24 * 4):
        simulation.stack.advance(900)
        simulation.recover()
    state = json.loads(simulation.store.text)
    assert all(change["calm_seconds"] is None for change in state["changes"]), f"left undone: {state['changes']}"
    assert len(simulation.store.text) < 5000, "the state grows"
    simulation.effectors.by_hand = True
    simulation.recover(restores=True)
    assert json.loads(simulation.store.text)["changes"] == [], "left undone"
    for each in simulation.stack.containers.values():
        assert not each.stopped_by_recovery, f"left undone: {each.name} is stopped"
        assert each.limit == each.own_limit, f"left undone: the limit of {each.name}"
    assert simulation.stack.workflows == {"w1": True, "w2": True}, "left undone: paused workflows"


# --- each invariant can fail: the engine or a rule is broken, and the simulation says so ------------------------------


def live(days: int) -> None:
    simulation = Simulation(1)
    for _ in range(days):
        simulation.live_a_day()
        assert simulation.store.largest < LARGEST_STATE_BYTES, "the state grows"
    assert_all_is_undone(simulation)


def stop_what_is_essential(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.rules.swap_thrashing.Essentials.is_essential", lambda essentials, container: False)


def spend_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.engine.memory.Book.count_actions", lambda book, now, is_urgent=False: 0)
    patch.setattr("vpsmon.recovery.engine.engine.find_pause", lambda rule, record, now: 0.0)


def treat_the_healthy(patch: pytest.MonkeyPatch) -> None:
    rule = container_unhealthy.RULE

    def remember_all(snapshot: Snapshot, settings: Settings, memory: dict[str, Any]) -> dict[str, Any]:
        sick = [each._replace(health="unhealthy") for each in snapshot.containers or ()]
        return rule.remember(snapshot._replace(containers=sick), settings, memory)

    broken = rule._replace(remember=remember_all)
    patch.setattr("tests.kit.simulation.RULES", [broken if each.name == rule.name else each for each in RULES])


def start_what_somebody_stopped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.rules.start_failed._has_failed", lambda each, settings: each.status == "exited")


def excuse_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.state.recovery_file._is_on_its_way", lambda entry, now: True)


def overrule_the_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.engine.undo.is_as_left", lambda undo, left, container: True)


def restart_quiet_sessions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.rules.waha_stuck.needs_a_person", lambda status: False)
    patch.setattr("vpsmon.checks.stack.waha.needs_a_person", lambda status: False)


def pause_short_queues(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.rules.n8n_queue_overflow._has_lasted", lambda snapshot, queue, memory: True)
    settings = SETTINGS._replace(N8N_QUEUE_MAX=10)
    patch.setattr("tests.kit.simulation.run_rules", lambda _, *rest: run_rules(settings, *rest))


def forget_the_way_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.engine.memory.Book.add_change", lambda book, change: True)


def write_down_too_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.engine.journal.Journal.commit", lambda journal: None)


def forget_no_incident(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpsmon.recovery.engine.memory._is_over", lambda record, now: False)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (stop_what_is_essential, "is essential"),
        (spend_without_end, "more actions in an hour"),
        (treat_the_healthy, "was restarted for nothing"),
        (start_what_somebody_stopped, "was started for nothing|was started against its owner's order"),
        (excuse_for_ever, "an excuse without end"),
        (overrule_the_owner, "against its owner's order"),
        (restart_quiet_sessions, "session was restarted for nothing"),
        (pause_short_queues, "were paused for nothing"),
        (forget_the_way_back, "left undone"),
        (write_down_too_late, "left undone|more actions in an hour|another limit for nothing"),
        (forget_no_incident, "the state grows"),
    ],
)
def test_the_simulation_notices(
    break_it: Callable[[pytest.MonkeyPatch], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    with pytest.raises(AssertionError, match=says):
        live(DAYS_OF_A_BROKEN_ONE)


def test_refusals_are_known() -> None:
    assert issubclass(Gone, Refused)
