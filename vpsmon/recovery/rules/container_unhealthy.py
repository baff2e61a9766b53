"""A container that runs and fails its health check for longer than UNHEALTHY_AFTER_SEC.

Docker itself never restarts one that is merely unhealthy. It is restarted with its own time to end; not while its first
health check is still to come, and not while the database that it needs is what is down.
"""

from __future__ import annotations

from typing import Any, cast

from vpsmon.checks import Check
from vpsmon.config.settings import Settings
from vpsmon.core.text import clean, format_duration
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Action, Dependency, Incident, Outcome, Snapshot, Step, Words
from vpsmon.recovery.rule import Rule
from vpsmon.recovery.rules._dependencies import find_bad_dependency, list_database_ids, wait_while_it_starts
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.essential import Essentials, is_left_alone, list_network_users
from vpsmon.stack.identity.roles import find_part
from vpsmon.system.memory_shortage import is_memory_short

_ATTEMPTS = 3
# Longer than most start periods; a slower one is reported by a later run.
_VERIFY_SECONDS = 90.0


def remember(snapshot: Snapshot, settings: Settings, memory: dict[str, Any]) -> dict[str, Any]:
    """Return by container since when it has been unhealthy in this life: [seconds, start]."""
    if snapshot.containers is None:
        return memory
    fresh = {}
    for container in snapshot.containers:
        if container.status == "running" and container.health == "unhealthy":
            since, started = memory.get(container.id, (None, None))
            is_same = since is not None and started == container.started_wall_seconds
            fresh[container.id] = [float(since) if is_same else snapshot.seconds, container.started_wall_seconds]
    return fresh


def detect(snapshot: Snapshot, settings: Settings, memory: dict[str, Any]) -> list[Incident]:
    """Return the containers that have been unhealthy for too long; those that others need come first."""
    incidents = []
    for container in snapshot.containers or ():
        since, _ = memory.get(container.id, (None, None))
        if since is None or is_left_alone(container):
            continue
        seconds = snapshot.seconds - since
        if seconds >= settings.UNHEALTHY_AFTER_SEC:
            incidents.append(_make_incident(snapshot, container, seconds, settings))
    databases = list_database_ids(snapshot, settings)
    return sorted(incidents, key=lambda each: (each.target not in databases, each.waits_for is not None, each.name))


def _make_incident(snapshot: Snapshot, container: Container, seconds: float, settings: Settings) -> Incident:
    step = Step(Action("restart_container", container.id, container.name), _VERIFY_SECONDS)
    users = list_network_users(container, snapshot.containers or ())
    essentials = Essentials(snapshot.containers or (), settings)
    # They would keep running without a network, which nothing gives back to them but a restart of their own.
    carries = any(essentials.is_essential(each) for each in users)
    return Incident(
        target=container.id,
        name=clean(container.name),
        cause="unhealthy",
        steps=() if carries else (step,) * _ATTEMPTS,
        facts={
            "seconds": seconds,
            "network_users": [clean(each.name) for each in users] if carries else [],
            "program": find_part(container, settings).program,
        },
        touches=container.id,
        waits_for=find_bad_dependency(snapshot, container, settings),
    )


def prepare(incident: Incident, machine: Machine, settings: Settings) -> Incident:
    """Have it wait while memory is short: it fails for that, and a start takes more; or while a database recovers."""
    from vpsmon.checks.kernel import swap

    (answer,) = machine.read([cast("Check", swap)], lambda check: None)
    if answer.reading is not None and is_memory_short(answer.reading.shortage, settings):
        return incident._replace(waits_for=Dependency("memory", "short"))
    return wait_while_it_starts(incident, machine, incident.facts["program"])


def describe(incident: Incident, action: Action | None) -> Words:
    """Return what is wrong, and where to look."""
    name, users = incident.name, incident.facts["network_users"]
    advice = f"docker inspect --format '{{{{json .State.Health.Log}}}}' {name} shows what the health check says"
    if users:
        advice += f"; docker restart {' '.join([name, *users])} restarts it together with those that use its network"
    return Words(f"{name} has failed its health check for {format_duration(incident.facts['seconds'])}", advice)


def verify(snapshot: Snapshot, target: str, settings: Settings) -> Outcome:
    """Return whether the container is healthy; while it starts, that is not known yet."""
    if snapshot.containers is None:
        return "pending"
    container = snapshot.find_container(target)
    if container is None:
        return "gone"
    if container.status == "running" and container.health in ("healthy", None):
        return "repaired"
    return "pending" if container.status == "running" and container.health == "starting" else "failing"


RULE = Rule(
    name="container_unhealthy",
    commands=("unhealthy",),
    order=20,
    checks=("stack.container_state",),
    cooldown_seconds=300.0,
    detect=detect,
    verify=verify,
    describe=describe,
    remember=remember,
    prepare=prepare,
)
