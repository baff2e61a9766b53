"""docs/prometheus.md says what the code does: its metrics, its rules, its options."""

from __future__ import annotations

import re
from pathlib import Path

from vpsmon.checks import load_checks
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.prometheus.exposition import HELPS
from vpsmon.prometheus.files import render_rules

ROOT = Path(__file__).resolve().parents[2]
MANUAL = (ROOT / "docs/prometheus.md").read_text(encoding="utf-8")
EXPORTED_ONLY = load_checks("export")


def known_metrics() -> set[str]:
    checks = [*load_checks("kernel"), *load_checks("stack"), *EXPORTED_ONLY]
    return {name for check in checks for name in getattr(check, "METRICS", {})} | HELPS.keys()


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = re.findall(r"(?m)^\| (`[^|]*(?:\\\|[^|]*)*) \| (gauge|counter) \|", MANUAL)
    kinds = {name: kind for cell, kind in rows for name in re.findall(r"`(\w+)", cell)}
    assert kinds == {name: "counter" if name.endswith("_total") else "gauge" for name in known_metrics()}


def test_every_metric_in_the_rules_exists() -> None:
    rules = render_rules(Config(DEFAULTS, None, ""))
    used = set(re.findall(r"\b(?:vpsmon|memory|swap|container|postgres|redis|n8n|waha)_\w+(?=\{|\[| |\))", rules))
    used = {name for name in used if not re.search(rf'(?:check!?[=~]+"[^"]*\b{name}\b)', rules)}
    assert len(used) > 15
    assert used - known_metrics() == set()


def test_every_rule_that_the_manual_names_exists() -> None:
    rules = set(re.findall(r"- alert: (\w+)", render_rules(Config(DEFAULTS, None, ""))))
    named = set(re.findall(r"`(Vpsmon\w+)`", MANUAL))
    assert len(named) >= 6
    assert named <= rules


def test_every_check_that_is_only_exported_has_the_shape() -> None:
    for check in EXPORTED_ONLY:
        assert check.ROWS
        assert all(callable(getattr(check, name)) for name in ("read", "judge", "measure"))


def test_a_check_that_measures_says_what_its_metrics_mean() -> None:
    for check in [*load_checks("kernel"), *load_checks("stack"), *EXPORTED_ONLY]:
        assert hasattr(check, "METRICS") == hasattr(check, "measure"), check
