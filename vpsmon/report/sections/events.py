"""What happened in the last 24 h: alerts by severity, OOM kills, and what recovery did; beside the day before."""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.findings import Status
from vpsmon.report.gather import Facts, Unread
from vpsmon.report.logs import LogLine, Repair, find_repairs
from vpsmon.report.model import Mark, Row, Section
from vpsmon.report.sections.words import count, explain, show_clock
from vpsmon.report.timeline import DAY_SECONDS

_MOST_ALERTS = 6
_MOST_KILLS = 4
_MOST_REPAIRS = 8
_KILL = "oom_kills["
# Recovery tells its alerts itself, among the repairs.
_RECOVERY = "recovery "


def make_events(facts: Facts, watched_seconds: float) -> Section:
    """Return the section; with nothing watched, no alert means nothing."""
    rows = [*_make_alerts(facts, watched_seconds), *_make_kills(facts), *_make_repairs(facts)]
    return Section("What happened", rows)


def make_marks(facts: Facts) -> list[Mark]:
    """Return what the chart marks: OOM kills, critical alerts and repairs of the last 24 h."""
    alerts = [] if isinstance(facts.alerts, Unread) else _of_today(facts.alerts)
    repairs = [] if isinstance(facts.recovery, Unread) else find_repairs(_of_today(facts.recovery))
    marks = [Mark(each.age_seconds, "OOM kill", each.text) for each in alerts if _is_kill(each)]
    marks += [Mark(each.age_seconds, "critical alert", each.text) for each in alerts if _is_critical(each)]
    return [*marks, *(Mark(each.age_seconds, "recovery", each.done) for each in repairs)]


def _of_today(lines: Sequence[LogLine]) -> list[LogLine]:
    return [line for line in lines if line.age_seconds < DAY_SECONDS]


def _is_kill(line: LogLine) -> bool:
    return line.text.startswith(_KILL)


def _is_critical(line: LogLine) -> bool:
    return line.severity == "critical" and not _is_kill(line) and not line.text.startswith(_RECOVERY)


def _make_alerts(facts: Facts, watched_seconds: float) -> list[Row]:
    if isinstance(facts.alerts, Unread):
        return [explain("alerts", facts.alerts)]
    today = _of_today(facts.alerts)
    before = [line for line in facts.alerts if line.age_seconds >= DAY_SECONDS]
    if not watched_seconds and not today:
        return [Row("alerts", "none, but nothing was watched", "see systemctl status vps-monitor", "unknown")]
    row = Row("alerts", _count_severities(today), f"the day before {_count_severities(before)}")
    shown = [line for line in today if line.severity != "info" and not _is_kill(line)][-_MOST_ALERTS:]
    return [row, *(_show_line(facts, line) for line in reversed(shown))]


def _count_severities(lines: Sequence[LogLine]) -> str:
    numbers = [sum(line.severity == severity for line in lines) for severity in ("critical", "warning", "info")]
    return f"{numbers[0]} critical, {count(numbers[1], 'warning')}, {numbers[2]} info"


def _show_line(facts: Facts, line: LogLine) -> Row:
    status: Status = "critical" if line.severity == "critical" else "warning"
    name, _, message = line.text.partition(" ")
    return Row(show_clock(facts.wall_seconds, line.age_seconds), name, message, status)


def _make_kills(facts: Facts) -> list[Row]:
    since_boot = facts.oom_kills_since_boot
    detail = since_boot.reason if isinstance(since_boot, Unread) else f"{since_boot} since the machine started"
    if isinstance(facts.alerts, Unread):
        return [Row("OOM kills", "cannot be read", f"{facts.alerts.reason}; {detail}", "unknown")]
    kills = [line for line in facts.alerts if _is_kill(line)]
    today = _of_today(kills)
    before = f"the day before {len(kills) - len(today) or 'none'}; {detail}"
    rows = [Row("OOM kills", f"{len(today) or 'none'} told", before, "critical" if today else "ok")]
    return [*rows, *(_show_line(facts, line) for line in reversed(today[-_MOST_KILLS:]))]


def _make_repairs(facts: Facts) -> list[Row]:
    if isinstance(facts.recovery, Unread):
        return [explain("recovery", facts.recovery)]
    repairs = find_repairs(facts.recovery)
    today = [each for each in repairs if each.age_seconds < DAY_SECONDS]
    text = f"{len(today) or 'no'} {'action' if len(today) == 1 else 'actions'}"
    row = Row("recovery", text, f"the day before {len(repairs) - len(today) or 'none'}")
    return [row, *(_show_repair(facts, each) for each in reversed(today[-_MOST_REPAIRS:]))]


def _show_repair(facts: Facts, repair: Repair) -> Row:
    return Row(show_clock(facts.wall_seconds, repair.age_seconds), repair.done, repair.outcome)
