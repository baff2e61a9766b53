"""A run of recovery printed for people or for programs. Pure but for the clock and the name of the machine."""

from __future__ import annotations

import os
import time
from typing import Any

from vpsmon.core.secrets import redact
from vpsmon.core.text import format_local, format_utc
from vpsmon.recovery.model import Change, describe, describe_done, format_decision
from vpsmon.recovery.run import Result

SCHEMA = 1


def format_text(result: Result, is_dry: bool) -> str:
    """Return one line for each decision, and what is changed for the time being."""
    if result.is_other_running:
        return "another recovery is under way on this machine: nothing done; try again when it is over"
    lines = [redact(format_decision(decision)) for decision in result.decisions]
    if not lines:
        lines = ["nothing to do in what could be read" if result.unread else "nothing to do"]
    if is_dry:
        lines.insert(0, "dry run: nothing is changed")
    lines += [f"for the time being: {_describe_change(change)}" for change in result.changes]
    return "\n".join(lines)


def _describe_change(change: Change) -> str:
    since = format_local(change.since_wall_seconds)
    return f"{describe_done(change.action)} (since {since}, until {change.until})"


def format_json(result: Result, is_dry: bool) -> dict[str, Any]:
    """Return the object that `recover --json` prints."""
    keys = ("rule", "name", "read", "verdict", "text", "action", "outcome", "severity", "advice")
    return {
        "schema": SCHEMA,
        "host": os.uname().nodename.split(".")[0],
        "time": format_utc(time.time()),
        "dry_run": is_dry,
        "other_running": result.is_other_running,
        "unread": list(result.unread),
        "decisions": [{key: _hide_secrets(getattr(each, key)) for key in keys} for each in result.decisions],
        "changes": [
            {
                "rule": each.rule,
                "done": describe(each.action),
                "undo": describe(each.undo),
                "since": format_utc(each.since_wall_seconds),
                "until": each.until,
            }
            for each in result.changes
        ],
    }


def _hide_secrets(value: str | None) -> str | None:
    return None if value is None else redact(value)
