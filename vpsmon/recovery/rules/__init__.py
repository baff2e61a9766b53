"""The recovery rules, one incident a file; a file here is a rule, there is no other list. How they are run: engine/.

A rule says what is wrong and what would help. It reads nothing and changes nothing itself, and knows nothing of dry
runs, cooldowns and budgets. Its file builds `RULE`, a record of vpsmon/recovery/rule.py, which says what there is.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpsmon.recovery.rule import Rule


def load_rules() -> Sequence[Rule]:
    """Return the rules in their order."""
    rules: list[Rule] = [importlib.import_module(f"{__name__}.{name}").RULE for name in list_rule_names()]
    return sorted(rules, key=lambda rule: (rule.order, rule.name))


def list_rule_names() -> list[str]:
    """Return the names of the rules, without the price of importing them."""
    files = sorted(os.listdir(os.path.dirname(__file__)))
    return [file[:-3] for file in files if file.endswith(".py") and not file.startswith("_")]
