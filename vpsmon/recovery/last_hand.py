"""The last hand wins: what recovery changed is undone only while it is exactly as recovery left it.

Where it is not, its owner has spoken since, by `docker update`, `docker start` or `docker stop`. Of a workflow n8n's
versionId tells; see actions/services.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.recovery.model import Action, Change
from vpsmon.stack.docker.containers import Container

UNDOES_A_CONTAINER = ("start_container", "set_memory_limit")


def read_left(undo: Action, container: Container) -> list[Any]:
    """Return what tells whether somebody has changed it: both limits in bytes, or its last start and end."""
    if undo.verb == "set_memory_limit":
        return [container.memory_limit_bytes, container.memory_and_swap_limit_bytes]
    return [container.started_wall_seconds, container.finished_wall_seconds]


def expect_left(action: Action, undo: Action) -> tuple[list[Any], ...]:
    """Return the states that an action may leave as far as they are known before it: it may never be done."""
    if undo.verb != "set_memory_limit":
        return ()
    return tuple([each["memory_bytes"], each["memory_and_swap_bytes"]] for each in (action.details, undo.details))


def adopt_left(change: Change, container: Container) -> Change:
    """Return the change with the state that it left, where that was not seen: by an earlier version, or in a crash."""
    is_seen = change.undo.verb == "set_memory_limit" or container.status in ("exited", "created", "dead")
    return change._replace(left=(read_left(change.undo, container),)) if is_seen and not change.left else change


def is_as_left(undo: Action, left: Sequence[Any], container: Container) -> bool:
    """Return whether a container is as recovery left it; also where nobody knows how that was."""
    return not left or read_left(undo, container) in list(left)
