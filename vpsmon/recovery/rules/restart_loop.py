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
from vpsmon.recovery.messages import UNTIL_RESTORE
from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Step, Undo, Words
from vpsmon.recovery.rule import Rule
from vpsmon.recovery.rules._dependencies import find_bad_dependency, wait_while_it_starts
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.docker.exit_causes import recall_death
from vpsmon.stack.identity.essential import Essentials, is_left_alone
from vpsmon.stack.identity.roles import find_part

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
        _make_incident(snapshot, each, looping[clean(each.name)], settings)
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


def _make_incident(snapshot: Snapshot, container: Container, finding: Finding, settings: Settings) -> Incident:
    limit_bytes = container.memory_limit_bytes
    return Incident(
        target=container.id,
        name=clean(container.name),
        cause="loop",
        steps=_list_steps(snapshot, container, settings),
        facts={
            "restarts": finding.value,
            "program": find_part(container, settings).program,
            "exit_cause": _find_exit_cause(snapshot, container),
            "own_limit_bytes": limit_bytes and _find_own_limit(snapshot, container, limit_bytes),
            # In the words of the check.
            "message": finding.message,
            "advice": finding.advice or "",
        },
        touches=container.id,
        waits_for=find_bad_dependency(snapshot, container, settings),
    )


def _find_exit_cause(snapshot: Snapshot, container: Container) -> str:
    """Return what ended it before its latest restart, as the check remembers it; "" where nothing tells."""
    death = recall_death(snapshot.memories.get("container_restarts", {}).get(container.id[:12], {}))
    return death.cause if death else ""


def describe(incident: Incident, action: Action | None) -> Words:
    """Return what the check says, with the last lines of the container; and what becomes of the action."""
    name, facts = incident.name, incident.facts
    advice = facts["advice"]
    if facts.get("last_lines"):
        advice += f"; its last lines: {' | '.join(facts['last_lines'])}"
    note = ""
    if action is not None and action.verb == "set_memory_limit":
        own_limit = format_bytes(facts["own_limit_bytes"])
        note = f"its own limit was {own_limit}; to keep the new one, write it into the compose file (mem_limit)"
    elif action is not None and action.verb == "stop_container":
        note = f"it stays stopped until its cause is fixed: docker start {name}"
    return Words(f"{name}: {facts['message']}", advice, note)


def _list_steps(snapshot: Snapshot, container: Container, settings: Settings) -> tuple[Step, ...]:
    """Return the ladder; the second step of two raises starts from what the first has made of the limit."""
    restart = Step(Action("restart_container", container.id, container.name), _VERIFY_SECONDS)
    raised = _raise_limit(snapshot, container)
    first = (raised or restart,) * _RAISES
    if not Essentials(snapshot.containers or (), settings).is_spare(container):
        return first
    undo = Undo(Action("start_container", container.id, container.name), None, UNTIL_RESTORE)
    stop = Action("stop_container", container.id, container.name)
    return (*first, Step(stop, 0.0, undo=undo, needs_a_person=True))


def _raise_limit(snapshot: Snapshot, container: Container) -> Step | None:
    """Return the step that gives it a quarter more; None where its limit is not what ends it, or there is no room."""
    limit = container.memory_limit_bytes
    if limit is None or _find_exit_cause(snapshot, container) != "oom_at_limit" or not _has_room(snapshot, limit):
        return None
    own_limit = _find_own_limit(snapshot, container, limit)
    more = int(limit * (1 + _RAISE_SHARE))
    if more > own_limit * (1 + _RAISE_SHARE) ** _RAISES:
        return None
    action = Action("set_memory_limit", container.id, container.name, _describe_limit(container, limit, more))
    back = action._replace(details=_describe_limit(container, limit, limit))
    until = "it has been calm for a day"
    return Step(action, _VERIFY_SECONDS, undo=Undo(back, _CALM_SECONDS, until))


def _find_own_limit(snapshot: Snapshot, container: Container, limit_bytes: int) -> int:
    """Return the limit that it had before recovery raised it; the present one where a damaged file does not tell."""
    undos = (each.undo for each in snapshot.changes if each.undo.verb == "set_memory_limit")
    told = (each.details.get("memory_bytes") for each in undos if each.target == container.id)
    return next((each for each in told if isinstance(each, int) and each > 0), limit_bytes)


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
    """Add what the container said last; a database that recovers is waited for."""
    incident = wait_while_it_starts(incident, machine, incident.facts["program"])
    lines = [quote_foreign(each, 200) for each in machine.read_last_log_lines(incident.target, _LOG_LINES)]
    return incident._replace(facts={**incident.facts, "last_lines": lines})


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


RULE = Rule(
    name="restart_loop",
    commands=("loops",),
    order=30,
    checks=("stack.container_restarts", "kernel.swap"),
    cooldown_seconds=300.0,
    detect=detect,
    verify=verify,
    describe=describe,
    prepare=prepare,
    is_calm=is_calm,
)
