"""Words that several parts of a report use."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vpsmon.core.findings import Finding, Status, join_remedy
from vpsmon.core.text import format_duration
from vpsmon.report.facts import Unread
from vpsmon.report.model import Report, Row
from vpsmon.report.timeline import DAY_SECONDS, SLOT_SECONDS

ABSENT = "not here"
UNREADABLE = "cannot be read"


def explain(label: str, unread: Unread) -> Row:
    """Return the row of something that has no answer, with the reason."""
    status: Status = "unknown" if unread.is_fault else "skipped"
    text = UNREADABLE if unread.is_fault else ABSENT
    return Row(label, text, join_remedy(unread.reason, unread.remedy), status, unanswered=unread.reason)


def explain_finding(label: str, finding: Finding) -> Row:
    """Return the row of a check that has no answer, with the reason."""
    text = ABSENT if finding.status == "skipped" else finding.message
    return Row(label, text, finding.explain(), finding.status, unanswered=finding.reason or "")


def join_alike(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, those without an answer for the same reason as one, last: `not here  Redis, WhatsApp`."""
    alike: dict[tuple[Status, str], list[Row]] = {}
    for row in rows:
        if row.unanswered:
            alike.setdefault((row.status, row.unanswered), []).append(row)
    groups = {key: several for key, several in alike.items() if len(several) > 1}
    joined = {id(row) for several in groups.values() for row in several}
    return [
        *(row for row in rows if id(row) not in joined),
        *(
            Row(several[0].text, ", ".join(row.label for row in several), reason, status)
            for (status, reason), several in groups.items()
        ),
    ]


def count(number: int, one: str, several: str = "") -> str:
    """Return `1 warning`, `2 warnings`, `12,345 keys`."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def show_clock(wall_seconds: float, age_seconds: float) -> str:
    """Return when that was on the owner's clock: `03:40`."""
    return time.strftime("%H:%M", time.localtime(wall_seconds - age_seconds))


def describe_head(report: Report) -> str:
    """Return for how long the machine is up, and for how much of the day it was watched."""
    watched = f"watched {format_duration(report.watched_seconds)} of the last 24 h"
    if report.watched_seconds >= DAY_SECONDS - SLOT_SECONDS:
        watched = "watched all of the last 24 h"
    elif not report.watched_seconds:
        watched = "nothing watched in the last 24 h"
    return f"up {format_duration(report.boot_age_seconds)}, {watched}"


def describe_status(report: Report) -> str:
    """Return how many things are wrong now, or that none is; that all is well only of a machine that was watched."""
    statuses = [row.status for row in report.attention]
    parts = [f"{statuses.count('critical')} critical"] if "critical" in statuses else []
    parts += [count(statuses.count("warning"), "warning")] if "warning" in statuses else []
    parts += [f"{statuses.count('unknown')} not readable"] if "unknown" in statuses else []
    return ", ".join(parts) or ("all is well" if report.watched_seconds else "no problem right now")
