"""What alert_history.log and the events of recovery say of the last two days. Pure but for `read_log`.

Formats: vpsmon/alerts/incidents.py (format_history) and vpsmon/recovery/events.py. A line that is neither, cut off in a
crash or written by somebody else, is left out. Recovery wrote no events before: what is older than the first of them is
taken from recovery.log, whose lines are sentences.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.core.text import clean
from vpsmon.recovery.events import RecoveryEvent, parse_events
from vpsmon.recovery.messages import describe
from vpsmon.state.content import WRONG_FORM
from vpsmon.system.host import Host

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (CRITICAL|WARNING|INFO) (\S.*)")
_NAMED = re.compile(r"((?:recovery )?[a-z0-9_]+)(?:\[(.*?)\])? (.*)")
_LONGEST_TEXT = 2000
_BEGUN = ": begun"
_NOT_KNOWN_YET = "not known yet"
# How recovery.log named what was begun; names may hold anything, also ": ".
_OLD_ACTION = re.compile(
    r": ((?:(?:re)?start|stop) the (?:container|WhatsApp sessions?) .*"
    r"|(?:pause|activate) the n8n workflows .*|set the memory limit of the container .*)"
)


class LogLine(NamedTuple):
    """A line of a log: how long ago, `critical`, `warning` or `info`, the check (or rule) and object, what it says."""

    age_seconds: float
    severity: str
    check: str
    object: str | None
    message: str


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


def parse_log(
    text: str, wall_seconds: float, longest_seconds: float, end_wall_seconds: float = float("inf")
) -> list[LogLine]:
    """Return the lines that are not older than that, oldest first, before the end; the future counts as now."""
    lines = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        named = _NAMED.fullmatch(match[3]) if match else None
        if match is None or named is None:
            continue
        written = _parse_time(match[1])
        age_seconds = max(0.0, wall_seconds - written)
        if age_seconds < longest_seconds and written < end_wall_seconds:
            message = clean(named[3], _LONGEST_TEXT)
            lines.append(LogLine(age_seconds, match[2].lower(), named[1], named[2] and clean(named[2]), message))
    return lines


def _parse_time(text: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:  # a 13th month
        return 0.0


def find_repairs(events_text: str, log_text: str, wall_seconds: float, longest_seconds: float) -> list[Repair]:
    """Return what recovery began, oldest first, each with how it turned out."""
    events = parse_events(events_text)
    first_wall_seconds = min((event.wall_seconds for event in events), default=float("inf"))
    old = _find_old_repairs(parse_log(log_text, wall_seconds, longest_seconds, first_wall_seconds))
    repairs = [_make_repair(events, position, wall_seconds) for position in range(len(events))]
    return [*old, *(each for each in repairs if each is not None and each.age_seconds < longest_seconds)]


def _make_repair(events: Sequence[RecoveryEvent], position: int, wall_seconds: float) -> Repair | None:
    """Return the repair that this event began; None where it began none."""
    event = events[position]
    if event.ending != "begun" or event.action is None:
        return None
    later = (each for each in events[position + 1 :] if _identify(each) == _identify(event))
    end = next(later, None)
    outcome = _NOT_KNOWN_YET if end is None else "not known" if end.ending == "begun" else end.words
    try:
        done = describe(event.action)
    except WRONG_FORM:
        return None
    return Repair(max(0.0, wall_seconds - event.wall_seconds), event.rule, done, outcome)


def _identify(event: RecoveryEvent) -> tuple[str, ...]:
    return (event.rule, event.target, event.action.verb if event.action else "")


def _find_old_repairs(lines: Sequence[LogLine]) -> list[Repair]:
    """Return what recovery began while it wrote sentences alone."""
    repairs = []
    for position, line in enumerate(lines):
        begun = line.message.removesuffix(_BEGUN)
        action = _OLD_ACTION.search(begun)
        if line.message == begun or action is None:
            continue
        later = [
            each.message for each in lines[position + 1 :] if (each.check, each.object) == (line.check, line.object)
        ]
        repairs.append(Repair(line.age_seconds, line.check, action[1], _find_old_outcome(begun, later)))
    return repairs


def _find_old_outcome(begun: str, later: Sequence[str]) -> str:
    for message in later:
        for start in (f"{begun}: ", f"{begun} (in an earlier run): "):
            if message.startswith(start):
                return message.removeprefix(start) if not message.endswith(_BEGUN) else "not known"
    return _NOT_KNOWN_YET
