"""A pass printed for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpsmon.core.findings import Finding, worst_status
from vpsmon.core.text import format_local, format_utc
from vpsmon.system.terminal import break_lines, paint

if TYPE_CHECKING:
    from vpsmon.jobs.probes import Result

SCHEMA = 1
_LARGE_UNITS = {"bytes": (1024 * 1024, "MB")}


def format_json(host_name: str, wall_seconds: float, duration_seconds: float, findings: Sequence[Finding]) -> str:
    """Return the one object that `monitor --once --json` prints."""
    document = {
        "schema": SCHEMA,
        "host": host_name,
        "time": format_utc(wall_seconds),
        "status": worst_status(findings),
        "duration_seconds": round(duration_seconds, 3),
        "checks": [finding.to_row() for finding in findings],
    }
    return json.dumps(document, ensure_ascii=False)


def format_table(
    host_name: str, wall_seconds: float, duration_seconds: float, findings: Sequence[Finding], with_colour: bool
) -> str:
    """Return the rows aligned, gravest first word in colour where that is wanted."""
    status = worst_status(findings)
    painted = paint(status, status, with_colour)
    head = f"{host_name}  {format_local(wall_seconds)}  {painted}  ({duration_seconds:.2f} s)"
    rows = [
        (finding.check, finding.object or "", finding.status, _format_value(finding), finding.message)
        for finding in findings
    ]
    titles = ("CHECK", "OBJECT", "STATUS", "VALUE", "MESSAGE")
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(4)]
    lines = [head, "", _align(titles, widths)]
    for row in rows:
        aligned = _align(row, widths)
        start = widths[0] + widths[1] + 4
        end = start + widths[2]
        lines.append(aligned[:start] + paint(aligned[start:end], row[2], with_colour) + aligned[end:])
    return "\n".join([*lines, *_format_reasons(findings)])


def _format_reasons(findings: Sequence[Finding]) -> list[str]:
    """Return below the table why rows have no judgement, each reason once with the checks that share it."""
    checks_by_reason: dict[str, list[str]] = {}
    for finding in findings:
        if finding.reason:
            checks = checks_by_reason.setdefault(finding.reason, [])
            checks += [finding.check] if finding.check not in checks else []
    lines = [f"{', '.join(checks)}: {reason}" for reason, checks in checks_by_reason.items()]
    return ["", *lines] if lines else []


def format_results(results: Sequence[Result], with_colour: bool) -> str:
    """Return the results of probes, one a line, aligned."""
    width = max(len(result.name) for result in results)
    colours = {"OK": "ok", "SKIP": "skipped", "FAIL": "critical"}
    return "\n".join(
        f"{paint(f'{each.verdict:<4}', colours[each.verdict], with_colour)}  {each.name:<{width}}  "
        + break_lines(each.text, width + 8)
        for each in results
    )


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    check, name, status, value, message = row
    return f"{check:<{widths[0]}}  {name:<{widths[1]}}  {status:<{widths[2]}}  {value:>{widths[3]}}  {message}"


def _format_value(finding: Finding) -> str:
    if finding.value is None:
        return "-"
    divisor, unit = _LARGE_UNITS.get(finding.unit, (1, finding.unit))
    value = finding.value / divisor
    digits = 0 if value == int(value) or abs(value) >= 100 else 1
    return f"{value:.{digits}f} {unit.replace('percent', '%').replace('count', '').replace('score', '')}".rstrip()
