"""A pass printed for people or for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpsmon.findings import Finding, worst_status
from vpsmon.text import format_local, format_utc

if TYPE_CHECKING:
    from vpsmon.probes import Result

SCHEMA = 1
_COLOURS = {"ok": "32", "warning": "33", "critical": "1;31", "unknown": "35", "skipped": "2"}
_COLOURS |= {"title": "1", "spark": "36", "aside": "2"}
# On a terminal that leaves less than this, lines run over its edge.
_NARROWEST = 30
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


def break_lines(text: str, indent: int) -> str:
    """Return a text that stands this far to the right; on a terminal its lines end before the edge, between words."""
    if not sys.stdout.isatty():
        return text.replace("\n", "\n" + " " * indent)
    import shutil
    import textwrap

    width = max(_NARROWEST, shutil.get_terminal_size().columns - indent)
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    lines = [part for line in text.split("\n") for part in wrapper.wrap(line) or [""]]
    return ("\n" + " " * indent).join(lines)


def wants_colour() -> bool:
    """Return whether standard output is a terminal whose owner has not asked for plain text (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_text(text: str) -> None:
    """Print to standard output; characters that the terminal's encoding lacks are replaced. Raises OSError."""
    try:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has had enough
            raise


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


def paint(text: str, style: str, with_colour: bool) -> str:
    """Return the text in the colour of a status, or of another word of _COLOURS, where that is wanted."""
    return f"\033[{_COLOURS[style]}m{text}\033[0m" if with_colour else text
