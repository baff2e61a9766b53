"""`vpsmon status --json`: what is on the screen, as one object for programs. Pure."""

from __future__ import annotations

import json
from typing import Any

from vpsmon import __version__
from vpsmon.core.text import format_utc
from vpsmon.installation.systemctl import UnitState
from vpsmon.jobs.probes import Result
from vpsmon.jobs.status import Outbox, Overview, Row, Stage, Trouble
from vpsmon.recovery.changes import Emergency

SCHEMA = 1
_VERDICTS = {"OK": "ok", "SKIP": "skipped", "FAIL": "unknown"}


def format_status(overview: Overview) -> str:
    """Return the object; what is not known is null, and `unknown` says why."""
    parts: dict[str, Any] = {
        "units": overview.units,
        "last_pass": overview.stages,
        "incidents": overview.incidents,
        "recovery": overview.emergencies,
        "repairs": _date_repairs(overview),
        "outbox": overview.outbox,
    }
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "host": overview.host_name,
        "time": format_utc(overview.wall_seconds),
        "is_running": overview.is_running,
        "configuration": overview.config.path,
        "state_directory": overview.config.state_directory,
        **{name: None if isinstance(part, Trouble) else _convert(part) for name, part in parts.items()},
        "unknown": {name: part.reason for name, part in parts.items() if isinstance(part, Trouble)},
        "waiting_reports": overview.waiting_mails,
        "services": [_convert_service(each) for each in overview.services],
        "essential": None
        if overview.essential is None
        else [{"container": each.name, "reason": each.reason} for each in overview.essential],
    }
    return json.dumps(document, ensure_ascii=False)


def _convert(part: Any) -> Any:
    if isinstance(part, list):
        return [_convert(each) for each in part]
    if isinstance(part, dict):
        return part
    if isinstance(part, UnitState):
        return _convert_unit(part)
    if isinstance(part, Stage):
        worst = [_convert(row) for row in part.worst]
        return {"stage": part.name, "time": format_utc(part.wall_seconds), "status": part.status, "worst": worst}
    if isinstance(part, Row):
        return _convert_row(part)
    if isinstance(part, Emergency):
        return {"change": part.text, "since": format_utc(part.since_wall_seconds), "until": part.until}
    return _convert_outbox(part)


def _date_repairs(overview: Overview) -> list[dict[str, Any]] | Trouble:
    if isinstance(overview.repairs, Trouble):
        return overview.repairs
    return [
        {
            "time": format_utc(overview.wall_seconds - each.age_seconds),
            "rule": each.rule,
            "done": each.done,
            "outcome": each.outcome,
        }
        for each in overview.repairs
    ]


def _convert_unit(unit: UnitState) -> dict[str, Any]:
    next_run = format_utc(unit.next_run_seconds) if unit.next_run_seconds else None
    return {"unit": unit.name, "active": unit.active, "is_failed": unit.is_failed, "next_run": next_run}


def _convert_row(row: Row) -> dict[str, Any]:
    """An incident has a start, a finding a message."""
    base = {"check": row.check, "object": row.object, "status": row.status}
    if row.since_wall_seconds is None:
        return {**base, "message": row.message}
    return {**base, "since": format_utc(row.since_wall_seconds)}


def _convert_outbox(outbox: Outbox) -> dict[str, Any]:
    oldest = format_utc(outbox.oldest_wall_seconds) if outbox.waiting else None
    return {"waiting": outbox.waiting, "oldest": oldest, "refusal": outbox.refusal or None}


def _convert_service(result: Result) -> dict[str, Any]:
    return {"service": result.name, "status": _VERDICTS[result.verdict], "message": result.text}
