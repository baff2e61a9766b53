"""What runs out when: memory and swap, containers with a limit, disks; and which containers grow."""

from __future__ import annotations

from vpsmon.checks.kernel.forecast import find_growing
from vpsmon.core.findings import Finding
from vpsmon.core.text import MEGABYTE, clean
from vpsmon.report.facts import Facts, Unread, choose
from vpsmon.report.model import Row, Section
from vpsmon.report.sections.gains import find_gains
from vpsmon.report.sections.words import explain

_MOST_GROWING = 5
_MOST_GAINS = 3


def make_outlook(facts: Facts) -> Section:
    """Return the section."""
    forecasts = choose(facts.findings, "memory_forecast")
    rows = [_make_memory(finding) for finding in forecasts if finding.object is None]
    rows += [
        Row(finding.object, finding.message, "", finding.status)
        for finding in forecasts
        if finding.object is not None and finding.value is not None
    ]
    rows += _make_growing(facts)
    rows += [_make_disk(facts, finding) for finding in choose(facts.findings, "disk_usage")]
    rows += [explain("history", facts.machine)] if isinstance(facts.machine, Unread) else []
    return Section("Outlook", rows)


def _make_memory(finding: Finding) -> Row:
    has_no_end = finding.value is None and finding.status == "ok"
    text = "no trend: memory and swap are not running out" if has_no_end else finding.message
    return Row("memory", text, finding.explain(), finding.status)


def _make_growing(facts: Facts) -> list[Row]:
    reading = facts.readings.get("forecast")
    if reading is None:
        return []
    growing = [
        f"{clean(each.name)} {each.mb_per_hour:+.1f} MB/h"
        for each in find_growing(reading.containers, reading.monotonic_seconds)[:_MOST_GROWING]
    ]
    gains = [f"{name} {gain.describe()}" for name, gain in find_gains(facts).items() if gain.gained_bytes >= MEGABYTE]
    most = f"most gained: {', '.join(gains[:_MOST_GAINS])}" if gains else ""
    return [Row("growing", ", ".join(growing) or "no container grows steadily", most)]


def _make_disk(facts: Facts, usage: Finding) -> Row:
    label = f"disk {usage.object}" if usage.object else "disk"
    if usage.value is None:
        return Row(label, usage.message, usage.explain(), usage.status)
    left = next((each for each in choose(facts.findings, "disk_forecast") if each.object == usage.object), None)
    if left is None:
        return Row(label, usage.message, "days left: no history yet", usage.status)
    end = "no trend, so no end in sight" if left.value is None else left.message
    return Row(label, usage.message, end, usage.status)
