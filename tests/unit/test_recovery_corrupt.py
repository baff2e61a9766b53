"""A recovery_state.json that is JSON and still wrong: whatever value is replaced by what, recovery goes on."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.simulation import INCIDENTS, RULES, SETTINGS, SimMachine, SimStore, Simulation
from vpsmon.recovery.run import run_rules

WRONG: tuple[Any, ...] = (None, 0, -1, "x", [], {}, [[]], 1e308, True, float("nan"), "missing")
# Every so many of the replaced values; a whole round is 11,000 runs of recovery.
EVERY = 29


class Store(SimStore):
    """A state that may be set aside."""

    def set_aside(self) -> None:
        self.text = ""


def live_until_much_is_remembered() -> Simulation:
    """Several changes that have to be undone and a step whose outcome is not known yet."""
    simulation = Simulation(2)
    for number in range(400):
        if number % 10 == 0:
            simulation.stack.mend()
            simulation.dice.choice(INCIDENTS)(simulation)
            simulation.dice.choice(INCIDENTS)(simulation)
        simulation.recover()
        simulation.stack.advance(simulation.dice.choice((5, 300, 300)))
        content = json.loads(simulation.store.text or "{}")
        is_pending = any(each["pending"] for each in content.get("incidents", {}).values())
        if is_pending and len({each["rule"] for each in content["changes"]}) > 1:
            return simulation
    raise AssertionError("too little has happened")


def list_paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from list_paths(child, (*path, key))


def replace(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    if value == "missing":
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed


@pytest.mark.parametrize("first", range(0, EVERY, 7))
def test_whatever_is_wrong_in_it_recovery_goes_on(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.kit.simulation.SimEffectors._check", lambda effectors, action: None)
    simulation = live_until_much_is_remembered()
    content = json.loads(simulation.store.text)
    cases = [(path, value) for path in list_paths(content) for value in WRONG]
    assert len(cases) > 1000
    for path, value in cases[first::EVERY]:
        stack = copy.deepcopy(simulation.stack)
        store = Store(stack)
        store.with_crashes = False
        store.text = json.dumps(replace(content, path, value))
        store.pass_state = copy.deepcopy(simulation.store.pass_state)
        effectors = Simulation(0).effectors
        effectors.stack, effectors.with_faults = stack, False
        run_rules(SETTINGS, RULES, SimMachine(stack), effectors, store)
        assert isinstance(json.loads(store.text)["changes"], list), (path, value)
