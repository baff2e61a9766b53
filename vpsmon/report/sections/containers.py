"""The containers: how many run, and the largest with what they gained in a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vpsmon.checks.stack.container_memory import Measured
from vpsmon.core.findings import Status
from vpsmon.core.text import format_bytes
from vpsmon.report.facts import Facts, choose
from vpsmon.report.model import Row, Section
from vpsmon.report.sections.gains import Gain, find_gains
from vpsmon.report.sections.words import explain_finding

_MOST_SHOWN = 10


def make_containers(facts: Facts) -> Section:
    """Return the section."""
    state = facts.readings.get("container_state")
    if state is None or state.trouble:
        reasons = [finding for finding in choose(facts.findings, "container_state") if finding.value is None]
        return Section("Containers", [explain_finding("containers", finding) for finding in reasons])
    return Section("Containers", [_count(state.containers, facts), *_list_largest(facts)])


def _count(containers: list[Any], facts: Facts) -> Row:
    by_status = Counter(each.status for each in containers)
    running, restarting = by_status.pop("running", 0), by_status.pop("restarting", 0)
    text = f"{running} running, {sum(by_status.values())} stopped, {restarting} restarting"
    parts = [f"{number} {status}" for status, number in sorted(by_status.items()) if status != "exited"]
    unhealthy = [each.name for each in containers if each.health == "unhealthy"]
    if unhealthy:
        parts.append(f"unhealthy: {', '.join(unhealthy)}")
    bad = [finding.status for finding in choose(facts.findings, "container_state")]
    status = next((each for each in ("critical", "warning", "unknown") if each in bad), "ok")
    return Row("containers", text, "; ".join(parts), status)  # type: ignore[arg-type]  # one of the words of Status


def _list_largest(facts: Facts) -> list[Row]:
    reading = facts.readings.get("container_memory")
    measured = sorted(reading.containers if reading else [], key=_held_bytes, reverse=True)
    statuses = {finding.object: finding.status for finding in choose(facts.findings, "container_memory")}
    gains = find_gains(facts)
    rows = [_describe(each, statuses.get(each.name, "ok"), gains) for each in measured[:_MOST_SHOWN]]
    hidden = len(measured) - _MOST_SHOWN
    return [*rows, Row("", f"and {hidden} smaller")] if hidden > 0 else rows


def _held_bytes(container: Measured) -> int:
    return container.usage.memory_bytes if container.usage else 0


def _describe(container: Measured, status: Status, gains: Mapping[str, Gain]) -> Row:
    usage = container.usage
    if usage is None:
        return Row(container.name, "memory cannot be read", container.reason or "", status)
    detail = ""
    if usage.limit_bytes:
        percent = usage.memory_bytes / usage.limit_bytes * 100
        detail = f"{percent:.0f} % of its limit of {format_bytes(usage.limit_bytes)}"
    text = format_bytes(usage.memory_bytes)
    if container.name in gains:
        gain = gains[container.name]
        text += f", {gain.describe()} in {gain.span_seconds / 3600:.0f} h"
    return Row(container.name, text, detail, status)
