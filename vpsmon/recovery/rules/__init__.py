"""The recovery rules, one incident a file; a file here is a rule, there is no other list. How they are run: engine/.

A rule says what is wrong and what would help. It reads nothing and changes nothing itself, and knows nothing of dry
runs, cooldowns and budgets. Its module has

- `COMMANDS`: its words after `vpsmon recover`; `ORDER`: smaller comes first, what frees memory before all else
- `CHECKS`: the checks that it needs, as `kernel.swap`
- `COOLDOWN_SECONDS`: the pause after the first attempt, twice as long after each further one
- `detect(snapshot, settings, memory)`: the incidents, each with its steps, one for each attempt, the mildest first
- `verify(snapshot, target, settings)`: whether the step has helped
- and where it needs them
  - `remember(snapshot, settings, memory)`: what `detect` of this look and `remember` of the next get as `memory`
  - `prepare(incident, machine, settings)`: the incident with what is read only when something is about to be done
  - `is_calm(snapshot, settings, change)`: whether what was done may be undone
  - `wants_second_look(snapshot, settings)`: whether one look is not enough to tell that all is well
  - `CONFIRM_AFTER_SECONDS`: the pause before the second look, without which nothing is done
  - `IS_ONE_AT_A_TIME`: its incidents are alternatives: after one was seen to, the rest may be unnecessary
  - `HAS_NO_LAST_ATTEMPT`: the last step is taken again and again
  - `IS_URGENT`: it cannot wait until the verification of another rule is over
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from vpsmon.config.settings import Settings
    from vpsmon.recovery.model import Incident, Outcome, Snapshot


class Rule(Protocol):
    """What the engine expects of a module here."""

    __name__: str
    COMMANDS: tuple[str, ...]
    ORDER: int
    CHECKS: tuple[str, ...]
    COOLDOWN_SECONDS: float
    detect: Callable[[Snapshot, Settings, dict[str, Any]], list[Incident]]
    verify: Callable[[Snapshot, str, Settings], Outcome]


def load_rules() -> Sequence[Rule]:
    """Return the rules in their order."""
    rules = [cast("Rule", importlib.import_module(f"{__name__}.{name}")) for name in list_rule_names()]
    return sorted(rules, key=lambda rule: (rule.ORDER, rule.__name__))


def list_rule_names() -> list[str]:
    """Return the names of the rules, without the price of importing them."""
    files = sorted(os.listdir(os.path.dirname(__file__)))
    return [file[:-3] for file in files if file.endswith(".py") and not file.startswith("_")]


def name_rule(rule: Rule) -> str:
    """Return the name of a rule, which is that of its file."""
    return rule.__name__.rsplit(".", 1)[-1]
