"""Nothing that recovery does depends on a word: with other words everywhere it decides, does and remembers the same."""

from __future__ import annotations

import inspect
import json
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.kit import simulation
from tests.kit.simulation import RULES, Simulation
from vpsmon.core.findings import Finding
from vpsmon.passes.run_check import Outcome, judge_attempt
from vpsmon.recovery import messages
from vpsmon.recovery.messages import Wording
from vpsmon.recovery.model import Words
from vpsmon.stack.docker import exit_causes

DAYS = 12
WORDS_OF_PENDING = ("did", "done", "read", "note", "advice")
# What a check or a service has said stands among the facts, for the words.
WORDS_OF_FACTS = ("message", "advice", "stall")


class OtherWords:
    """Says something else each time."""

    def __init__(self) -> None:
        self._dice = random.Random(7)  # noqa: S311 dice, not keys
        self.said = 0

    def say(self, *arguments: Any, **more: Any) -> str:
        self.said += 1
        return "".join(self._dice.choices("abc: ;[]()begundone,", k=self._dice.randrange(30)))

    def word(self, *arguments: Any, **more: Any) -> Wording:
        return Wording(*(self.say() for _ in Wording._fields))

    def describe(self, *arguments: Any) -> Words:
        return Words(*(self.say() for _ in Words._fields))

    def judge(self, *arguments: Any) -> Outcome:
        """Judge as the checks do, and say something else of it."""
        outcome = judge_attempt(*arguments)
        return outcome._replace(findings=[self._reword(each) for each in outcome.findings])

    def _reword(self, finding: Finding) -> Finding:
        return finding._replace(message=self.say(), advice=finding.advice and self.say())


def speak_otherwise(patch: pytest.MonkeyPatch) -> OtherWords:
    """Replace whatever makes words in recovery, wherever it was imported to."""
    others = OtherWords()
    makers: dict[str, Callable[..., Any]] = {"str": others.say, "Wording": others.word}
    found = {each: makers.get(str(each.__annotations__.get("return"))) for each in list_functions(messages)}
    found[exit_causes.describe_exit] = others.say
    found[judge_attempt] = others.judge
    assert sum(maker is not None for maker in found.values()) > 10
    for name, module in list(sys.modules.items()):
        if not name.startswith(("vpsmon.recovery", "vpsmon.checks")):
            continue
        for attribute, value in list(vars(module).items()):
            maker = found.get(value) if inspect.isfunction(value) else None
            if maker:
                patch.setattr(module, attribute, maker)
    patch.setattr(simulation, "RULES", [rule._replace(describe=others.describe) for rule in RULES])
    return others


def list_functions(module: Any) -> list[Any]:
    functions = [value for value in vars(module).values() if inspect.isfunction(value)]
    return [each for each in functions if each.__module__ == module.__name__]


def live(seed: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the events, what was notified of, and the state after each day, all without their words."""
    lived = Simulation(seed)
    states = []
    for _ in range(DAYS):
        lived.live_a_day()
        states.append(strip_state(json.loads(lived.store.text)))
    events = [strip_event(json.loads(event)) for event in lived.store.events]
    notices = [(each.severity, each.check, each.object, each.wall_seconds) for each in lived.store.notices]
    return events, notices, states


def strip_event(event: dict[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in event["facts"].items() if key not in WORDS_OF_FACTS}
    return {**event, "facts": facts, "words": ""}


def strip_state(state: dict[str, Any]) -> dict[str, Any]:
    for record in state["incidents"].values():
        for key in WORDS_OF_PENDING if record["pending"] else ():
            record["pending"][key] = ""
        for key in WORDS_OF_FACTS if record["pending"] else ():
            record["pending"]["facts"].pop(key, None)
    return {**state, "notices": [(each[0], each[1], each[2]) for each in state["notices"]]}


@pytest.mark.parametrize("seed", range(3))
def test_other_words_change_no_decision_no_change_and_no_event(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = live(seed)
    assert len(expected[0]) > DAYS
    others = speak_otherwise(monkeypatch)
    events, notices, states = live(seed)
    assert others.said > len(events)
    assert events == expected[0]
    assert notices == expected[1]
    assert states == expected[2]
