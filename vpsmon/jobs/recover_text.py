"""A run of recovery printed for people or for programs. Pure but for the clock and the name of the machine."""

from __future__ import annotations

import os
import time
from typing import Any

from vpsmon.core.secrets import redact
from vpsmon.core.text import format_local, format_utc
from vpsmon.recovery.engine.journal import Entry
from vpsmon.recovery.messages import describe, describe_done, format_line
from vpsmon.recovery.model import Change
from vpsmon.recovery.run import Result

SCHEMA = 1


def format_text(result: Result, is_dry: bool) -> str:
    """Return one line for each decision, and what is changed for the time being."""
    if result.is_other_running:
        return "another recovery is under way on this machine: nothing done; try again when it is over"
    lines = [redact(format_line(*entry)) for entry in result.entries]
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
    return {
        "schema": SCHEMA,
        "host": os.uname().nodename.split(".")[0],
        "time": format_utc(time.time()),
        "dry_run": is_dry,
        "other_running": result.is_other_running,
        "unread": list(result.unread),
        "decisions": [_format_entry(entry) for entry in result.entries],
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


def _format_entry(entry: Entry) -> dict[str, Any]:
    decision, wording = entry
    return {
        "rule": decision.rule,
        "name": redact(decision.name),
        "cause": decision.cause,
        "read": redact(wording.read),
        "verdict": decision.verdict,
        "reason": decision.reason,
        "text": redact(wording.text),
        "action": redact(wording.action),
        "ending": decision.ending,
        "outcome": redact(wording.outcome),
        "severity": decision.severity,
        "advice": redact(wording.advice) or None,
    }
