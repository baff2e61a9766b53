"""What is stopped, paused or changed at the moment: for `vpsmon status`, and for the check that must not alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vpsmon.recovery.messages import describe_done
from vpsmon.recovery.model import Action
from vpsmon.state.content import WRONG_FORM


class Emergency(NamedTuple):
    """One temporary change: what was done, since when, until when, in words, and the container it concerns."""

    text: str
    rule: str
    since_wall_seconds: float
    until: str
    container_id: str


def list_emergencies(content: Mapping[str, Any]) -> list[Emergency]:
    """Return the temporary changes that recovery_state.json holds, oldest first; [] for what no version wrote."""
    try:
        return [_read(entry) for entry in content.get("changes", [])]
    except WRONG_FORM:
        return []


def _read(entry: Mapping[str, Any]) -> Emergency:
    action, undo = Action(*entry["action"]), Action(*entry["undo"])
    container_id = undo.target if undo.verb in ("start_container", "set_memory_limit") else ""
    return Emergency(
        text=describe_done(action),
        rule=str(entry["rule"]),
        since_wall_seconds=float(entry["since_wall_seconds"]),
        until=str(entry["until"]),
        container_id=container_id,
    )
