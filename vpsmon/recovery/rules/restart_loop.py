"""A container that ends again and again soon after it was started; what counts is judged by `container_restarts`.

Killed at its own memory limit, it gets a quarter more, at most twice and only while the host has room; the old limit
comes back after a day of calm. For any other reason it is restarted a few times, then stopped where it is not
essential. Raising a limit for good is the owner's business, in the compose file.
"""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding
from vpsmon.core.text import clean, format_bytes, quote_foreign
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Step, Undo
from vpsmon.recovery.rules._dependencies import describe_bad_dependency
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.docker.exit_causes import KILLED_AT_ITS_LIMIT
from vpsmon.stack.identity.essential import Essentials, is_left_alone

COMMANDS = ("loops",)
ORDER = 30
CHECKS = ("stack.container_restarts", "kernel.swap")
COOLDOWN_SECONDS = 300.0
_ROW = "container_restarts"
# Docker takes a run of 10 s for a success; its longest pause between two starts is a minute.
_STAYS_UP_SECONDS = 30.0
# More than this between two ends is no loop that a restart would help against.
_STABLE_AFTER_SECONDS = 120.0
_VERIFY_SECONDS = 100.0
_RAISES = 2
_RAISE_SHARE = 0.25
# What has to stay available on the host after a raise, of all memory.
_HOST_SHARE = 0.1
_CALM_SECONDS = 86_400.0
_LOG_LINES = 5


def detect(snapshot: Snapshot, settings: Settings, memory: object) -> list[Incident]:
    """Return the containers that loop."""
    looping = {each.object: each for each in snapshot.findings.get(_ROW, ()) if each.status == "warning"}
    containers = [each for each in snapshot.containers or () if clean(each.name) in looping]
    return [
        _describe(snapshot, each, looping[clean(each.name)], settings)
        for each in containers
        if _is_still_looping(snapshot, each) and not is_left_alone(each)
    ]


def _is_still_looping(snapshot: Snapshot, container: Container) -> bool:
    """Return whether it goes on: the window of the check still counts the restarts of one that has become stable."""
    if container.status == "restarting":
        return True
    # Below 0 the clock was set back since: the next start tells.
    run_seconds = snapshot.wall_seconds - (container.started_wall_seconds or 0.0)
    return container.status == "running" and 0 <= run_seconds < _STABLE_AFTER_SECONDS


def _describe(snapshot: Snapshot, container: Container, finding: Finding, settings: Settings) -> Incident:
    name = clean(container.name)
    return Incident(
        container.id,
        name,
        f"{name}: {finding.message}",
        _list_steps(snapshot, container, settings),
        finding.advice,
        container.id,
        describe_bad_dependency(snapshot, container, settings),
    )


def _list_steps(snapshot: Snapshot, container: Container, settings: Settings) -> tuple[Step, ...]:
    """Return the ladder; the second step of two raises starts from what the first has made of the limit."""
    restart = Step(Action("restart_container", container.id, container.name), _VERIFY_SECONDS)
    raised = _raise_limit(snapshot, container)
    first = (raised or restart,) * _RAISES
    if Essentials(snapshot.containers or (), settings).is_essential(container):
        return first
    undo = Undo(Action("start_container", container.id, container.name), None, "`vpsmon recover restore`")
    note = f"it stays stopped until its cause is mended: docker start {clean(container.name)}"
    stop = Action("stop_container", container.id, container.name)
    return (*first, Step(stop, 0.0, undo=undo, note=note, needs_a_person=True))


def _raise_limit(snapshot: Snapshot, container: Container) -> Step | None:
    """Return the step that gives it a quarter more; None where its limit is not what ends it, or there is no room."""
    record = snapshot.memories.get("container_restarts", {}).get(container.id[:12], {})
    limit = container.memory_limit_bytes
    if limit is None or KILLED_AT_ITS_LIMIT not in str(record.get("cause", "")) or not _has_room(snapshot, limit):
        return None
    own_limit = _find_own_limit(snapshot, container, limit)
    more = int(limit * (1 + _RAISE_SHARE))
    if more > own_limit * (1 + _RAISE_SHARE) ** _RAISES:
        return None
    action = Action("set_memory_limit", container.id, container.name, _describe_limit(container, limit, more))
    back = action._replace(details=_describe_limit(container, limit, limit))
    until = "it has been calm for a day"
    note = (
        f"its own limit was {format_bytes(own_limit)}; to keep the new one, write it into the compose file (mem_limit)"
    )
    return Step(action, _VERIFY_SECONDS, undo=Undo(back, _CALM_SECONDS, until), note=note)


def _find_own_limit(snapshot: Snapshot, container: Container, limit_bytes: int) -> int:
    """Return the limit that it had before recovery raised it."""
    undos = (each.undo for each in snapshot.changes if each.undo.verb == "set_memory_limit")
    return next((int(each.details["memory_bytes"]) for each in undos if each.target == container.id), limit_bytes)


def _describe_limit(container: Container, limit_bytes: int, new_bytes: int) -> dict[str, int]:
    """Return both limits: it keeps the swap that it had, which Docker counts together with the memory."""
    together = container.memory_and_swap_limit_bytes
    if together is None:
        together = 2 * limit_bytes  # what Docker gives to one that says nothing about swap
    swap_bytes = max(0, together - limit_bytes)
    return {"memory_bytes": new_bytes, "memory_and_swap_bytes": -1 if together == -1 else new_bytes + swap_bytes}


def _has_room(snapshot: Snapshot, limit_bytes: int) -> bool:
    reading = snapshot.readings.get("swap")
    if reading is None:
        return False
    spare_bytes = reading.shortage.available_bytes - reading.shortage.total_bytes * _HOST_SHARE
    return bool(spare_bytes >= limit_bytes * _RAISE_SHARE)


def prepare(incident: Incident, machine: Machine, settings: Settings) -> Incident:
    """Add what the container said last to the advice."""
    lines = [quote_foreign(each, 200) for each in machine.read_last_log_lines(incident.target, _LOG_LINES)]
    if not lines:
        return incident
    return incident._replace(advice=f"{incident.advice}; its last lines: {' | '.join(lines)}")


def verify(snapshot: Snapshot, target: str, settings: Settings) -> Outcome:
    """Return whether the container stays up; one that runs for a moment only is no proof."""
    if snapshot.containers is None:
        return "pending"
    container = snapshot.find_container(target)
    if container is None:
        return "gone"
    if container.status == "exited" and any(
        each.undo.verb == "start_container" and each.undo.target == target for each in snapshot.changes
    ):
        return "repaired"  # stopped, as it was to be
    if container.status != "running" or container.health == "unhealthy":
        return "failing"
    run_seconds = snapshot.wall_seconds - (container.started_wall_seconds or snapshot.wall_seconds)
    if run_seconds < 0:
        return "pending"  # the clock was set back
    return "repaired" if run_seconds >= _STAYS_UP_SECONDS else "failing"


def is_calm(snapshot: Snapshot, settings: Settings, change: Change) -> bool:
    """Return whether the container of the change does not loop."""
    container = snapshot.find_container(change.undo.target)
    finding = snapshot.find(_ROW, clean(container.name)) if container else None
    return finding is not None and finding.status in ("ok", "skipped")
