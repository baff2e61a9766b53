"""What has been counted since the beginning: alerts told, OOM kills seen, repairs by their outcome; totals.json.

A file of its own, written in the same step as what it counts: damage to the state of alerts or of recovery does not
take the counters with it. When it is lost itself, they go on from what was exported last, so that they do not fall.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.core.findings import SEVERITIES, Finding, MetricSample
from vpsmon.core.prometheus_text import parse_samples
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.directory import METRICS_FILE, StateDirectory

FILE = "totals.json"
# What a repair, or undoing one, comes to; recovery/engine/ decides.
OUTCOMES = ("repaired", "failing", "undone")
HELPS = {
    "alerts_total": "Alerts that were reported.",
    "vpsmon_oom_kills_total": "Processes that the kernel killed because memory ran out, as the monitor has seen them.",
    "vpsmon_recovery_actions_total": "What recovery has done, by rule and by how it turned out.",
}
_ALERTS, _OOM_KILLS, _ACTIONS = HELPS


class Totals:
    """The counters. `oom_kills` is None until a pass has looked."""

    def __init__(self, content: dict[str, Any]) -> None:
        """Raises one of WRONG_FORM where no version of vpsmon wrote this."""
        self.alerts = {severity: int(content.get("alerts", {}).get(severity, 0)) for severity in SEVERITIES}
        kills = content.get("oom_kills")
        self.oom_kills = None if kills is None else int(kills)
        self.actions: Counter[str] = Counter({str(key): int(n) for key, n in content.get("actions", {}).items()})

    def to_state(self) -> dict[str, Any]:
        """Return the content of totals.json."""
        return {"alerts": self.alerts, "oom_kills": self.oom_kills, "actions": dict(self.actions)}

    def count_alerts(self, notices: Iterable[Notice]) -> None:
        """Count alerts that are told now."""
        for notice in notices:
            self.alerts[notice.severity] += 1

    def count_oom_kills(self, findings: Iterable[Finding]) -> None:
        """Count the kills that a pass has found."""
        found = [finding.value for finding in findings if finding.check == "oom_kills" and finding.value is not None]
        if found:
            self.oom_kills = (self.oom_kills or 0) + int(sum(found))

    def count_actions(self, outcomes: Iterable[tuple[str, str]]) -> None:
        """Count what recovery has done: rule and outcome of each."""
        self.actions.update(f"{rule}/{outcome}" for rule, outcome in outcomes)

    def measure(self, rules: Sequence[str]) -> list[MetricSample]:
        """Return the counters, also those that are still 0: a rate needs to see where they started."""
        samples = [MetricSample(_ALERTS, count, (("severity", name),)) for name, count in self.alerts.items()]
        if self.oom_kills is not None:
            samples.append(MetricSample(_OOM_KILLS, self.oom_kills))
        possible = [f"{rule}/{outcome}" for rule in rules for outcome in OUTCOMES]
        for key in sorted({*possible, *self.actions}):
            rule, _, outcome = key.partition("/")
            labels = (("rule", rule), ("outcome", outcome))
            samples.append(MetricSample(_ACTIONS, self.actions[key], labels))
        return samples


def load_totals(state: StateDirectory) -> Totals:
    """Return the counters; those of the last export where totals.json is lost. The caller holds the lock.

    Raises StateError.
    """
    content = state.load(FILE)
    if content:
        try:
            return Totals(content)
        except WRONG_FORM:
            state.set_aside(FILE, "its tables are of another form")
    return Totals(_recall_exported(state))


def _recall_exported(state: StateDirectory) -> dict[str, Any]:
    text = ""
    with (
        contextlib.suppress(OSError, ValueError),
        open(os.path.join(state.path, METRICS_FILE), encoding="utf-8") as file,
    ):
        text = file.read()
    kills = parse_samples(text, _OOM_KILLS)
    return {
        "alerts": {labels[0]: count for labels, count in parse_samples(text, _ALERTS).items() if labels},
        "oom_kills": next(iter(kills.values()), None),
        "actions": {"/".join(labels): count for labels, count in parse_samples(text, _ACTIONS).items()},
    }
