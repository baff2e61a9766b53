"""A container that should run, and does not because its last start failed: a port in use, a mount or network missing.

Docker tries such a start once, also where the restart policy is `always`, and then leaves the container exited: this is
how a reboot or an update of Docker loses one. It is started again a few times, with growing pauses. One that somebody
has stopped carries no error of a start, and is left alone; so is one that has lain there for longer than a day.
"""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.core.text import clean, quote_foreign
from vpsmon.recovery.model import Action, Incident, Outcome, Snapshot, Step, Words
from vpsmon.recovery.rule import Rule
from vpsmon.recovery.rules._dependencies import find_bad_dependency
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.essential import Essentials, is_left_alone

_ATTEMPTS = 3
_VERIFY_SECONDS = 60.0
# Docker takes a run of 10 s for a success.
_STAYS_UP_SECONDS = 10.0
_FORGOTTEN_AFTER_SECONDS = 86_400.0
_LONG_POLICIES = ("always", "unless-stopped")
# What `docker stop` and `docker kill` leave.
_STOPPED_STATUSES = (0, 137, 143)


def detect(snapshot: Snapshot, settings: Settings, memory: object) -> list[Incident]:
    """Return the containers whose start failed; those that others need come first."""
    stopped_by_us = {each.undo.target for each in snapshot.changes if each.undo.verb == "start_container"}
    essentials = Essentials(snapshot.containers or (), settings)
    failed = [
        each
        for each in snapshot.containers or ()
        if _has_failed(each, essentials) and each.id not in stopped_by_us and not is_left_alone(each)
    ]
    incidents = [_make_incident(snapshot, each, settings) for each in failed]
    return sorted(incidents, key=lambda each: (each.waits_for is not None, each.name))


def _has_failed(container: Container, essentials: Essentials) -> bool:
    if container.status not in ("exited", "created"):
        return False
    if container.restart_policy == "on-failure":
        # Docker has given up. What ran may not be fit to run again, but without a database nothing works.
        # Without a maximum it never does: such an end is somebody's hand.
        is_at_its_end = 0 < container.most_restarts <= container.restart_count
        has_given_up = is_at_its_end and container.exit_code not in _STOPPED_STATUSES
        return essentials.is_essential(container) and (bool(container.start_error) or has_given_up)
    return container.restart_policy in _LONG_POLICIES and bool(container.start_error)


def _make_incident(snapshot: Snapshot, container: Container, settings: Settings) -> Incident:
    step = Step(Action("start_container", container.id, container.name), _VERIFY_SECONDS)
    return Incident(
        target=container.id,
        name=clean(container.name),
        cause="start_error" if container.start_error else "given_up_by_docker",
        steps=(step,) * _ATTEMPTS if _is_fresh(container, snapshot.wall_seconds) else (),
        facts={
            "start_error": quote_foreign(container.start_error, 300),
            "exit_code": container.exit_code,
            "restart_policy": clean(container.restart_policy),
        },
        touches=container.id,
        waits_for=find_bad_dependency(snapshot, container, settings),
    )


def describe(incident: Incident, action: Action | None) -> Words:
    """Return why it does not run, and what to do about that."""
    name, facts = incident.name, incident.facts
    why = facts["start_error"] or f"it exited ({facts['exit_code']}) and Docker has given up"
    message = f"{name} should run (restart policy {facts['restart_policy']}) and does not: {why}"
    return Words(message, f"fix the cause, then docker start {name}: Docker does not try again by itself")


def _is_fresh(container: Container, wall_seconds: float) -> bool:
    """Return whether it ran, or was made, within the last day: who has left it there for longer has other plans."""
    latest = max(container.finished_wall_seconds or 0.0, container.created_wall_seconds or 0.0)
    return wall_seconds - latest < _FORGOTTEN_AFTER_SECONDS


def verify(snapshot: Snapshot, target: str, settings: Settings) -> Outcome:
    """Return whether the container runs and stays up."""
    if snapshot.containers is None:
        return "pending"
    container = snapshot.find_container(target)
    if container is None:
        return "gone"
    if container.status != "running" or container.health == "unhealthy":
        return "failing"
    run_seconds = snapshot.wall_seconds - (container.started_wall_seconds or snapshot.wall_seconds)
    if container.health == "starting" or run_seconds < _STAYS_UP_SECONDS:
        return "pending"
    return "repaired"


RULE = Rule(
    name="start_failed",
    # What does not come up makes others unhealthy, and is the end of a loop.
    commands=("loops", "unhealthy"),
    order=15,
    checks=("stack.container_state",),
    cooldown_seconds=300.0,
    detect=detect,
    verify=verify,
    describe=describe,
)
