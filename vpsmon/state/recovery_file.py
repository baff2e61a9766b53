"""The little that others read of recovery's file, without importing recovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vpsmon.state.content import WRONG_FORM

RECOVERY_FILE = "recovery_state.json"


def list_stopped_ids(content: Mapping[str, Any]) -> set[str]:
    """Return the ids of the containers that recovery has stopped: for a while, or until their cause is fixed.

    `undo` is an action as vpsmon/recovery/model.py writes it: verb, target, and what else it needs.
    """
    try:
        undos = [tuple(entry["undo"][:2]) for entry in content.get("changes", [])]
        return {target for verb, target in undos if verb == "start_container" and isinstance(target, str)}
    except WRONG_FORM:
        return set()
