"""What others need: a container whose database is down fails for that reason, and restarting it helps nobody."""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.recovery.model import Dependency, Snapshot
from vpsmon.stack.docker.containers import Container, find_container

# n8n tries again every few seconds, and its health check runs every 30 s or so: this is two of them, and some time.
_SETTLE_SECONDS = 90.0


def find_databases(snapshot: Snapshot, settings: Settings) -> list[Container]:
    """Return the containers of PostgreSQL and Redis, as far as they are there."""
    names = (settings.POSTGRES_CONTAINER, settings.REDIS_CONTAINER)
    found = [find_container(snapshot.containers or [], name) for name in names]
    return [each for each in found if each is not None]


def find_bad_dependency(snapshot: Snapshot, container: Container, settings: Settings) -> Dependency | None:
    """Return which of PostgreSQL and Redis is down or was a moment ago; None where none, or where it is this one."""
    needed = find_databases(snapshot, settings)
    if any(each.id == container.id for each in needed):
        return None
    for each in needed:
        is_of_another_stack = None not in (each.project, container.project) and each.project != container.project
        trouble = None if is_of_another_stack else _find_trouble(each, container, snapshot.wall_seconds)
        if trouble:
            return trouble
    return None


def _find_trouble(needed: Container, container: Container, wall_seconds: float) -> Dependency | None:
    if needed.status != "running":
        return Dependency(needed.name, needed.status)
    if needed.health == "unhealthy":
        return Dependency(needed.name, "unhealthy")
    started = needed.started_wall_seconds or 0.0
    is_fresh = 0 <= wall_seconds - started < _SETTLE_SECONDS
    if is_fresh and started > (container.started_wall_seconds or 0.0):
        return Dependency(needed.name, "started", wall_seconds - started)
    return None
