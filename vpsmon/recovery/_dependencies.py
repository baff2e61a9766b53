"""What others need: a container whose database is down fails for that reason, and restarting it helps nobody."""

from __future__ import annotations

from vpsmon.containers import Container, find_container
from vpsmon.recovery.engine.model import Snapshot
from vpsmon.settings import Settings
from vpsmon.text import clean


def describe_bad_dependency(snapshot: Snapshot, container: Container, settings: Settings) -> str:
    """Return which of PostgreSQL and Redis is down, in words; nothing where none is, or where it is this one."""
    names = (settings.POSTGRES_CONTAINER, settings.REDIS_CONTAINER)
    found = [find_container(snapshot.containers or [], name) for name in names]
    needed = [each for each in found if each is not None]
    if any(each.id == container.id for each in needed):
        return ""
    for each in needed:
        is_of_another_stack = None not in (each.project, container.project) and each.project != container.project
        if not is_of_another_stack and (each.status != "running" or each.health == "unhealthy"):
            state = each.status if each.status != "running" else "unhealthy"
            return f"{clean(each.name)}, which it needs, is {state}: that comes first"
    return ""
