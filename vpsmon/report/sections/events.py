"""What happened in the last 24 h: alerts by severity, OOM kills, and what recovery did; beside the day before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from vpsmon.core.findings import SEVERITIES, Status
from vpsmon.report.facts import Facts, Unread
from vpsmon.report.logs import LogLine, Repair
from vpsmon.report.model import Mark, Row, Section
from vpsmon.report.sections.words import count, explain, show_clock
from vpsmon.report.timeline import DAY_SECONDS

_MOST_EVENTS = 14
_Dated = TypeVar("_Dated", LogLine, Repair)
_KILLS = "oom_kills"
# What recovery notifies of, with the name of the rule after it.
_RECOVERY = "recovery "


def make_events(facts: Facts, watched_seconds: float) -> Section:
    """Return the section: the numbers, then what happened one after the other, the latest first.

    With nothing watched, no alert means nothing.
    """
    rows = [_count_alerts(facts, watched_seconds), _count_kills(facts), _count_repairs(facts)]
    events = sorted(_list_events(facts), key=lambda event: event[0])
    hidden = len(events) - _MOST_EVENTS
    more = [Row("", f"and {hidden} earlier")] if hidden > 0 else []
    return Section("What happened", [*rows, *(row for _, row in events[:_MOST_EVENTS]), *more])


def make_marks(facts: Facts) -> list[Mark]:
    """Return what the chart marks: OOM kills, critical alerts and repairs of the last 24 h."""
    alerts, repairs = _of_today(facts.alerts), _of_today(facts.repairs)
    marks = [Mark(each.age_seconds, "OOM kill", _join(each)) for each in alerts if _is_kill(each)]
    marks += [Mark(each.age_seconds, "critical alert", _join(each)) for each in alerts if _is_critical(each)]
    return [*marks, *(Mark(each.age_seconds, "recovery", each.done) for each in repairs)]


def _join(line: LogLine) -> str:
    return f"{_name(line)} {line.message}"


def _name(line: LogLine) -> str:
    return f"{line.check}[{line.object}]" if line.object else line.check


def _of_today(lines: Sequence[_Dated] | Unread) -> list[_Dated]:
    return [] if isinstance(lines, Unread) else [line for line in lines if line.age_seconds < DAY_SECONDS]


def _is_kill(line: LogLine) -> bool:
    return line.check == _KILLS


def _is_critical(line: LogLine) -> bool:
    return line.severity == "critical" and not _is_kill(line) and not line.check.startswith(_RECOVERY)


def _count_alerts(facts: Facts, watched_seconds: float) -> Row:
    if isinstance(facts.alerts, Unread):
        return explain("alerts", facts.alerts)
    today, before = _split_days(facts.alerts)
    if not watched_seconds and not today:
        return Row("alerts", "none, but nothing was watched", "see systemctl status vps-monitor", "unknown")
    return Row("alerts", _count_severities(today), f"the day before {_count_severities(before)}")


def _split_days(lines: Sequence[LogLine]) -> tuple[list[LogLine], list[LogLine]]:
    return _of_today(lines), [line for line in lines if line.age_seconds >= DAY_SECONDS]


def _count_severities(lines: Sequence[LogLine]) -> str:
    numbers = [sum(line.severity == severity for line in lines) for severity in SEVERITIES]
    return f"{numbers[0]} critical, {count(numbers[1], 'warning')}, {numbers[2]} info"


def _count_kills(facts: Facts) -> Row:
    since_boot = facts.oom_kills_since_boot
    detail = since_boot.reason if isinstance(since_boot, Unread) else f"{since_boot} since the machine started"
    if isinstance(facts.alerts, Unread):
        return Row("OOM kills", "cannot be read", f"{facts.alerts.reason}; {detail}", "unknown")
    today, before = _split_days([line for line in facts.alerts if _is_kill(line)])
    text = f"{len(today) or 'none'} reported"
    return Row("OOM kills", text, f"the day before {len(before) or 'none'}; {detail}", "critical" if today else "ok")


def _count_repairs(facts: Facts) -> Row:
    if isinstance(facts.repairs, Unread):
        return explain("recovery", facts.repairs)
    ages = [repair.age_seconds for repair in facts.repairs]
    today = sum(age < DAY_SECONDS for age in ages)
    text = f"{today or 'no'} {'action' if today == 1 else 'actions'}"
    return Row("recovery", text, f"the day before {len(ages) - today or 'none'}")


def _list_events(facts: Facts) -> Iterator[tuple[float, Row]]:
    """Yield the alerts about something bad, and the repairs, with their ages."""
    for line in _of_today(facts.alerts):
        # What recovery notified of is among the repairs already.
        if line.severity != "info" and not line.check.startswith(_RECOVERY):
            status: Status = "critical" if line.severity == "critical" else "warning"
            clock = show_clock(facts.wall_seconds, line.age_seconds)
            yield line.age_seconds, Row(clock, _name(line), line.message, status)
    for repair in _of_today(facts.repairs):
        row = Row(show_clock(facts.wall_seconds, repair.age_seconds), repair.done, repair.outcome)
        yield repair.age_seconds, row
