"""The screen of `vpsmon status`. Pure but for the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from vpsmon import __version__
from vpsmon.core.text import format_duration, format_local
from vpsmon.installation.unit_status import describe_units
from vpsmon.jobs.probes import say_once
from vpsmon.jobs.status import Outbox, Overview, Row, Stage, Trouble, find_last_pass
from vpsmon.recovery.changes import Emergency
from vpsmon.report.logs import Repair
from vpsmon.system.terminal import break_lines

_SHOWN_FINDINGS = 5


def format_screen(overview: Overview) -> str:
    """Return the whole screen: a title and what there is to say of it, line by line."""
    lines = list(_list_lines(overview))
    width = max(len(title) for title, _ in lines)
    return "\n".join(f"{title:<{width}}  " + break_lines(text, width + 2) for title, text in lines)


def _list_lines(overview: Overview) -> Iterator[tuple[str, str]]:
    now, config = overview.wall_seconds, overview.config
    yield f"vpsmon {__version__}", f"on {overview.host_name}"
    yield "configuration", config.path or "no monitor.conf: everything has its default"
    if isinstance(overview.units, Trouble):
        yield "units", overview.units.reason
    else:
        yield from describe_units(overview.units, now)
    yield "last pass", _describe_last_pass(overview.stages, now)
    yield "incidents", _describe_incidents(overview.incidents, now)
    yield "recovery", _describe_recovery(overview.emergencies, now)
    if overview.repairs:
        yield "last repair", _describe_last_repair(overview.repairs)
    yield "outbox", _describe_outbox(overview.outbox, config.settings.has_telegram, now)
    if overview.waiting_mails:
        yield "e-mail", f"{_count(overview.waiting_mails, 'report')} waiting for the mail server"
    yield "logs", f"{config.state_directory}/alert_history.log and recovery.log; journalctl --unit 'vps-*'"
    yield from ((each.name, each.text) for each in say_once(overview.services))
    essential = [f"{each.name}: {each.reason}" for each in overview.essential or ()]
    yield from (("essential" if number == 0 else "", text) for number, text in enumerate(essential))


def _describe_last_pass(stages: list[Stage] | Trouble, now_seconds: float) -> str:
    if isinstance(stages, Trouble):
        return stages.reason
    if not stages:
        return "none yet: vpsmon monitor --once"
    statuses = ", ".join(f"{stage.name} {stage.status}" for stage in stages)
    worst = [row for stage in stages for row in stage.worst]
    worst.sort(key=lambda row: row.status != "critical")
    shown = [f"{row.status} {row.name}: {row.message}" for row in worst[:_SHOWN_FINDINGS]]
    return "\n".join([f"{_ago(find_last_pass(stages), now_seconds)}: {statuses}", *shown])


def _describe_incidents(incidents: list[Row] | Trouble, now_seconds: float) -> str:
    if isinstance(incidents, Trouble):
        return incidents.reason
    shown = [
        f"{each.status} {each.name} since {_ago(each.since_wall_seconds or 0.0, now_seconds)}" for each in incidents
    ]
    return "; ".join(shown) or "none"


def _describe_recovery(emergencies: list[Emergency] | Trouble, now_seconds: float) -> str:
    if isinstance(emergencies, Trouble):
        return emergencies.reason
    shown = [
        f"{each.text} since {_ago(each.since_wall_seconds, now_seconds)}, until {each.until}" for each in emergencies
    ]
    return "; ".join(shown) or "nothing is stopped, paused or changed"


def _describe_last_repair(repairs: list[Repair] | Trouble) -> str:
    if isinstance(repairs, Trouble):
        return repairs.reason
    latest = repairs[-1]
    return f"{format_duration(latest.age_seconds)} ago: {latest.done}: {latest.outcome}"


def _describe_outbox(outbox: Outbox | Trouble, has_telegram: bool, now_seconds: float) -> str:
    if isinstance(outbox, Trouble):
        return outbox.reason
    parts = []
    if outbox.waiting:
        span = format_duration(now_seconds - outbox.oldest_wall_seconds)
        parts.append(f"{_count(outbox.waiting, 'message')} waiting, the oldest for {span}")
    parts += [f"ALERTS DO NOT ARRIVE: {outbox.refusal}"] if outbox.refusal else []
    return "; ".join(parts) or ("empty" if has_telegram else "not in use: Telegram is not set up")


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"


def _ago(wall_seconds: float, now_seconds: float) -> str:
    return f"{format_local(wall_seconds)} ({format_duration(now_seconds - wall_seconds)} ago)"
