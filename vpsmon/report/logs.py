"""What alert_history.log and recovery.log say of the last two days. Pure but for `read_log`.

Formats: vpsmon/alerts/incidents.py (format_history) and vpsmon/recovery/engine/journal.py: an ISO time, a severity,
and the rest. A line that is none of these, cut off in a crash or written by somebody else, is left out.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.core.text import clean
from vpsmon.system.host import Host

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (CRITICAL|WARNING|INFO) (\S.*)")
_LONGEST_TEXT = 2000
_BEGUN = ": begun"


class LogLine(NamedTuple):
    """A line of a log: how long ago, `critical`, `warning` or `info`, and what it says."""

    age_seconds: float
    severity: str
    text: str


class Repair(NamedTuple):
    """One thing that recovery did, and how it turned out."""

    age_seconds: float
    rule: str
    done: str
    outcome: str


def read_log(host: Host, path: str) -> str:
    """Return the text of a log with its predecessor; empty where there is none yet. Raises OSError."""
    texts = []
    for name in (f"{path}.1", path):
        try:
            texts.append(host.read_file(name))
        except FileNotFoundError:
            continue
    return "\n".join(texts)


def parse_log(text: str, wall_seconds: float, longest_seconds: float) -> list[LogLine]:
    """Return the lines that are not older than that, oldest first; a time in the future counts as now."""
    lines = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        age_seconds = max(0.0, wall_seconds - _parse_time(match[1])) if match else longest_seconds
        if match and age_seconds < longest_seconds:
            lines.append(LogLine(age_seconds, match[2].lower(), clean(match[3], _LONGEST_TEXT)))
    return lines


def _parse_time(text: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:  # a 13th month
        return 0.0


def find_repairs(lines: Sequence[LogLine]) -> list[Repair]:
    """Return what recovery began, each with the first later line that tells how it turned out."""
    repairs = []
    for position, line in enumerate(lines):
        if not line.text.endswith(_BEGUN):
            continue
        begun = line.text.removesuffix(_BEGUN)
        rule, done = begun.partition("[")[0], begun.rpartition(": ")[2]
        repairs.append(Repair(line.age_seconds, rule, done, _find_outcome(begun, lines[position + 1 :])))
    return repairs


def _find_outcome(begun: str, later: Sequence[LogLine]) -> str:
    for line in later:
        for start in (f"{begun}: ", f"{begun} (in an earlier run): "):
            if line.text.startswith(start):
                return line.text.removeprefix(start) if not line.text.endswith(_BEGUN) else "not known"
    return "not known yet"
