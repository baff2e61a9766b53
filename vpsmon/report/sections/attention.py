"""What is wrong now, gravest first, and what recovery keeps stopped, paused or changed for the time being."""

from __future__ import annotations

from vpsmon.core.findings import Finding
from vpsmon.core.text import format_duration
from vpsmon.report.facts import Facts, Unread
from vpsmon.report.model import Row
from vpsmon.report.sections.words import explain

_GRAVITY = ("critical", "warning", "unknown")


def make_attention(facts: Facts) -> list[Row]:
    """Return a row for each finding that is not well, and for each temporary change that is in force."""
    bad = [finding for finding in facts.findings if finding.status in _GRAVITY]
    bad.sort(key=lambda finding: _GRAVITY.index(finding.status))
    return [*(_describe(finding) for finding in bad), *_list_emergencies(facts)]


def _describe(finding: Finding) -> Row:
    name = f"{finding.check} {finding.object}" if finding.object else finding.check
    detail = finding.explain() if finding.status == "unknown" else f"→ {finding.advice}" if finding.advice else ""
    return Row(name, finding.message, detail, finding.status)


def _list_emergencies(facts: Facts) -> list[Row]:
    if isinstance(facts.emergencies, Unread):
        return [explain("still in force", facts.emergencies)]
    return [
        Row(
            "by recovery",
            each.text,
            f"since {format_duration(facts.wall_seconds - each.since_wall_seconds)}, until {each.until}",
            "warning",
        )
        for each in facts.emergencies
    ]
