"""What others need: a container whose database is down fails for that reason, and restarting it helps nobody."""

from __future__ import annotations

import importlib
from typing import cast

from vpsmon.checks import Check
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Starting
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Dependency, Incident, Snapshot
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.bindings import Bindings
from vpsmon.stack.identity.names import Neighbours
from vpsmon.stack.identity.roles import find_part

# n8n tries again every few seconds, and its health check runs every 30 s or so: this is two of them, and some time.
_SETTLE_SECONDS = 90.0
_DATABASES = ("database", "cache")
_CHECKS_OF_PROGRAMS = {"postgres": "postgres", "redis": "redis"}


def list_database_ids(snapshot: Snapshot, settings: Settings) -> set[str]:
    """Return the ids of the databases and caches."""
    containers = snapshot.containers or ()
    return {each.id for each in containers if find_part(each, settings).role in _DATABASES}


def find_bad_dependency(snapshot: Snapshot, container: Container, settings: Settings) -> Dependency | None:
    """Return what a container needs and is down or was a moment ago; None where nothing is."""
    bindings = Bindings(Neighbours(snapshot.containers or ()), settings)
    for each in _list_needed(bindings, container):
        trouble = _find_trouble(each, container, snapshot.wall_seconds)
        if trouble:
            return trouble
    return None


def wait_while_it_starts(incident: Incident, machine: Machine, program: str) -> Incident:
    """Return the incident; of a database that says it is starting, recovering or loading, as one that waits."""
    if program not in _CHECKS_OF_PROGRAMS:
        return incident
    check = cast("Check", importlib.import_module(f"vpsmon.checks.stack.{_CHECKS_OF_PROGRAMS[program]}"))
    answers = machine.read([check], lambda check: None)
    is_starting = any(isinstance(each.error, Starting) for each in answers)
    return incident._replace(waits_for=Dependency(incident.name, "recovering")) if is_starting else incident


def _list_needed(bindings: Bindings, container: Container) -> list[Container]:
    """Return what has to work before a container can: its databases, its network, what `depends_on` names.

    Another application whose address it has may be down without harm, and what needs this one in turn cannot come
    before it.
    """
    needs = bindings.needs_of(container)
    needed = [
        need.container
        for need in needs
        if need.kind in ("network", "depends_on") or bindings.part_of(need.container).role in _DATABASES
    ]
    needed = [each for each in needed if all(back.container is not container for back in bindings.needs_of(each))]
    has_databases = any(bindings.part_of(each).role in _DATABASES for each in needed)
    is_n8n = bindings.part_of(container).program == "n8n"
    # Its environment does not tell: those of its project.
    return needed if has_databases or not is_n8n else [*needed, *_list_databases_beside(bindings, container)]


def _list_databases_beside(bindings: Bindings, container: Container) -> list[Container]:
    containers = bindings.neighbours.containers
    beside = (each for each in containers if each is not container and each.project == container.project)
    return [each for each in beside if bindings.part_of(each).role in _DATABASES]


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
