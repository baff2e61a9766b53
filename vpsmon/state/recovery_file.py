"""The little that others read of recovery's file, without importing recovery."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.state.content import WRONG_FORM

RECOVERY_FILE = "recovery_state.json"
# Recovery looks every few minutes: what it has not undone an hour after its time, it does not undo.
_OVERDUE_AFTER_SECONDS = 3600.0
# A machine that does not become calm for a day stays as it is: then the owner has to know what does not run.
_LONGEST_EXCUSE_SECONDS = 86_400.0


class Clocks(NamedTuple):
    """This boot, and the seconds since it began."""

    boot_id: str
    monotonic_seconds: float


class Stopped(NamedTuple):
    """The ids of the containers that recovery has stopped: those it will start again in time, and the others."""

    excused: Collection[str] = ()
    overdue: Collection[str] = ()


def list_stopped(content: Mapping[str, Any], settings: Settings, clocks: Clocks) -> Stopped:
    """Return what recovery has stopped, by whether that still is an excuse."""
    excused = list_excused_ids(content, settings, clocks)
    return Stopped(excused, list_stopped_ids(content) - excused)


def list_excused_ids(content: Mapping[str, Any], settings: Settings, clocks: Clocks) -> set[str]:
    """Return the ids of the containers that recovery has stopped and will start again by itself, in time."""
    if not settings.ENABLE_AUTO_RECOVERY or settings.RECOVERY_MAX_ACTIONS_PER_HOUR <= 0:
        return set()
    try:
        clock = content["clock"]
        is_same_boot = clock["boot_id"] == clocks.boot_id
        # Switched off it cannot undo anything, so only what has passed since the boot counts.
        idle_seconds = clocks.monotonic_seconds - (clock["monotonic"] if is_same_boot else 0.0)
        now = clock["seconds"] + max(0.0, idle_seconds)
        if idle_seconds > _OVERDUE_AFTER_SECONDS:
            return set()
        return list_stopped_ids({"changes": [each for each in content["changes"] if _is_on_its_way(each, now)]})
    except WRONG_FORM:
        return set()


def _is_on_its_way(entry: Mapping[str, Any], now: float) -> bool:
    """Return whether it is undone by itself, and is not overdue."""
    calm_seconds, since = entry["calm_seconds"], entry["calm_since_seconds"]
    if calm_seconds is None or now - entry["since_seconds"] > calm_seconds + _LONGEST_EXCUSE_SECONDS:
        return False
    return bool(since is None or now - since <= calm_seconds + _OVERDUE_AFTER_SECONDS)


def list_stopped_ids(content: Mapping[str, Any]) -> set[str]:
    """Return the ids of the containers that recovery has stopped: for a while, or until their cause is fixed.

    `undo` is an action as vpsmon/recovery/model.py writes it: verb, target, and what else it needs.
    """
    try:
        undos = [tuple(entry["undo"][:2]) for entry in content.get("changes", [])]
        return {target for verb, target in undos if verb == "start_container" and isinstance(target, str)}
    except WRONG_FORM:
        return set()
