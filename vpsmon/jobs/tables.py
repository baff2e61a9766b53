"""A pass printed for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vpsmon.core.findings import GROUPS, Finding, join_remedy, worst_status
from vpsmon.core.text import format_local, format_utc
from vpsmon.system.terminal import break_lines, paint, read_columns

if TYPE_CHECKING:
    from vpsmon.jobs.probes import Result

SCHEMA = 1
_LARGE_UNITS = {"bytes": (1024 * 1024, "MB")}
_TITLES = ("CHECK", "OBJECT", "STATUS", "VALUE", "MESSAGE")
# Of one check: a machine has hundreds of containers, and a screen 24 lines. What is not well is always shown.
_MOST_ALIKE = 3
# On a terminal that leaves fewer characters than this, the value, which most messages repeat, makes room for them.
_LEAST_MESSAGE = 40


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
    """Return the rows aligned, memory first and a blank line between subjects; below them why some have no value."""
    status = worst_status(findings)
    painted = paint(status, status, with_colour)
    head = f"{host_name}  {format_local(wall_seconds)}  {painted}  ({duration_seconds:.2f} s)"
    groups = [_shorten([each for each in findings if each.group == group]) for group in GROUPS]
    rows = [row for group in groups for row in group]
    widths = [max(len(row[column]) for row in [_TITLES, *rows]) for column in range(4)]
    columns = read_columns()
    if columns is not None and sum(widths) + 8 + _LEAST_MESSAGE > columns:
        widths[3] = 0
    lines = [head, "", _align(_TITLES, widths)]
    for position, group in enumerate(filter(None, groups)):
        lines += [""] if position else []
        lines += [_paint_row(row, widths, with_colour) for row in group]
    return "\n".join([*lines, *_format_reasons(findings)])


def _shorten(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Return the rows of a group, check by check; of many that are well, or all not judged, the first few."""
    rows = []
    for check in dict.fromkeys(each.check for each in findings):
        several = [each for each in findings if each.check == check]
        hidden = {id(each) for status in ("ok", "skipped") for each in _find_hidden(several, status)}
        rows += [_make_row(each) for each in several if id(each) not in hidden]
        rows += _summarize(check, [each for each in several if id(each) in hidden])
    return rows


def _find_hidden(findings: Sequence[Finding], status: str) -> Sequence[Finding]:
    alike = [each for each in findings if each.status == status]
    return alike[_MOST_ALIKE:] if len(alike) > _MOST_ALIKE + 1 else ()


def _summarize(check: str, hidden: Sequence[Finding]) -> Iterator[tuple[str, ...]]:
    for status in ("ok", "skipped"):
        count = sum(each.status == status for each in hidden)
        if count:
            yield check, "", status, "", f"and {count} more, all {status}"


def _make_row(finding: Finding) -> tuple[str, ...]:
    return finding.check, finding.object or "", finding.status, _format_value(finding), finding.message


def _format_reasons(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield below the table why rows have no judgement, each reason once with the checks that share it."""
    by_reason: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.reason:
            by_reason.setdefault(finding.reason, []).append(finding)
    for reason, several in by_reason.items():
        checks = ", ".join(dict.fromkeys(each.check for each in several))
        remedies = ", ".join(dict.fromkeys(each.remedy for each in several if each.remedy))
        yield ""
        yield break_lines(f"{checks}: {join_remedy(reason, remedies)}", 0)


def format_results(results: Sequence[Result], with_colour: bool) -> str:
    """Return the results of probes, one a line, aligned."""
    width = max(len(result.name) for result in results)
    colours = {"OK": "ok", "SKIP": "skipped", "FAIL": "critical"}
    return "\n".join(
        f"{paint(f'{each.verdict:<4}', colours[each.verdict], with_colour)}  {each.name:<{width}}  "
        + break_lines(each.text, width + 8)
        for each in results
    )


def _paint_row(row: Sequence[str], widths: Sequence[int], with_colour: bool) -> str:
    aligned = _align(row, widths)
    start = widths[0] + widths[1] + 4
    end = start + widths[2]
    return aligned[:start] + paint(aligned[start:end], row[2], with_colour) + aligned[end:]


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    check, name, status, value, message = row
    start = f"{check:<{widths[0]}}  {name:<{widths[1]}}  {status:<{widths[2]}}  "
    start += f"{value:>{widths[3]}}  " if widths[3] else ""
    return start + break_lines(message, len(start))


def _format_value(finding: Finding) -> str:
    if finding.value is None:
        return "-"
    divisor, unit = _LARGE_UNITS.get(finding.unit, (1, finding.unit))
    value = finding.value / divisor
    digits = 0 if value == int(value) or abs(value) >= 100 else 1
    return f"{value:.{digits}f} {unit.replace('percent', '%').replace('count', '').replace('score', '')}".rstrip()
