"""What others need: a container whose database is down fails for that reason, and restarting it helps nobody."""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.core.text import clean, format_duration
from vpsmon.recovery.model import Snapshot
from vpsmon.stack.docker.containers import Container, find_container

# n8n tries again every few seconds, and its health check runs every 30 s or so: this is two of them, and some time.
_SETTLE_SECONDS = 90.0


def find_databases(snapshot: Snapshot, settings: Settings) -> list[Container]:
    """Return the containers of PostgreSQL and Redis, as far as they are there."""
    names = (settings.POSTGRES_CONTAINER, settings.REDIS_CONTAINER)
    found = [find_container(snapshot.containers or [], name) for name in names]
    return [each for each in found if each is not None]


def describe_bad_dependency(snapshot: Snapshot, container: Container, settings: Settings) -> str:
    """Return which of PostgreSQL and Redis is down or was a moment ago; nothing where none, or where it is this one."""
    needed = find_databases(snapshot, settings)
    if any(each.id == container.id for each in needed):
        return ""
    for each in needed:
        is_of_another_stack = None not in (each.project, container.project) and each.project != container.project
        trouble = "" if is_of_another_stack else _describe_trouble(each, container, snapshot.wall_seconds)
        if trouble:
            return trouble
    return ""


def _describe_trouble(needed: Container, container: Container, wall_seconds: float) -> str:
    name = clean(needed.name)
    if needed.status != "running" or needed.health == "unhealthy":
        state = needed.status if needed.status != "running" else "unhealthy"
        return f"{name}, which it needs, is {state}: that comes first"
    started = needed.started_wall_seconds or 0.0
    is_fresh = 0 <= wall_seconds - started < _SETTLE_SECONDS
    if is_fresh and started > (container.started_wall_seconds or 0.0):
        seconds = format_duration(wall_seconds - started)
        return f"{name}, which it needs, was started {seconds} ago: that may have helped"
    return ""
