"""A machine that thrashes, in either phase: swap-in without end, or no swap left and program code read again and again.

What counts is judged by the checks (`swap_in`, `file_refaults`: critical only while memory is really short). On a slow
disk or processor no rate is ever high: there it is hardly any memory left, with tasks that wait for it. It has to hold
in two looks, only seconds apart, because from 600 MB of swap to a full one it took 10 s on a 1 GB machine.
The largest container that can be spared is stopped, then it is looked again. All are started again when it is calm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding
from vpsmon.core.text import clean, format_bytes
from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Step, Undo, Words
from vpsmon.recovery.rule import Rule
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.essential import Essentials, is_left_alone
from vpsmon.system.memory_shortage import is_memory_short

# What the others had in swap has to be read back before the machine is quiet.
_VERIFY_SECONDS = 15.0
_CALM_SECONDS = 600.0
_ROWS = ("swap_in", "file_refaults")
# Of 100, with critically little memory available. Measured on a 1 GB machine with a slow processor: 25 to 45 while it
# did not answer for a minute, with 40 MB available and less than 1 MB/s read back.
_STALLED_SCORE = 20.0
# For a container that asks for no time of its own: meanwhile the machine gets no better.
_DEFAULT_GRACE_SECONDS = 5


def detect(snapshot: Snapshot, settings: Settings, memory: object) -> list[Incident]:
    """Return one incident for each container that can be stopped, the largest first; they are alternatives."""
    alarm = _find_alarm(snapshot)
    if alarm is None:
        return []
    sizes = _measure(snapshot)
    victims = list_spare(snapshot.containers or (), settings)
    victims.sort(key=lambda each: (-sizes.get(each.id, 0), each.name))
    if victims:
        return [_make_incident(alarm, victim, sizes.get(victim.id)) for victim in victims]
    facts = {"message": alarm.message, "stall": alarm.stall, "containers_error": snapshot.containers_error}
    return [Incident(target="machine", name="machine", cause=alarm.cause, steps=(), facts=facts, is_grave=True)]


class _Alarm(NamedTuple):
    """Why it takes the machine for thrashing: the row and its message; that of the pressure where tasks wait."""

    cause: str
    message: str
    stall: str = ""


def _find_alarm(snapshot: Snapshot) -> _Alarm | None:
    found = (snapshot.find(row) for row in _ROWS)
    thrashing = next((each for each in found if each is not None and each.status == "critical"), None)
    return _Alarm(thrashing.check, thrashing.message) if thrashing else _find_stall(snapshot)


def _find_stall(snapshot: Snapshot) -> _Alarm | None:
    available, pressure = snapshot.find("memory_available"), snapshot.find("memory_pressure")
    if (
        available is None
        or available.status != "critical"
        or pressure is None
        or (pressure.value or 0) < _STALLED_SCORE
    ):
        return None
    return _Alarm("memory_available", available.message, pressure.message)


def _measure(snapshot: Snapshot) -> dict[str, int]:
    reading = snapshot.readings.get("container_memory")
    measured = reading.containers if reading else []
    return {each.id: each.usage.memory_bytes for each in measured if each.usage is not None}


def list_spare(containers: Sequence[Container], settings: Settings) -> list[Container]:
    """Return the running containers that may be stopped."""
    essentials = Essentials(containers, settings)
    return [
        each
        for each in containers
        if each.status == "running"
        and not each.inspect_error
        and not each.is_for_one_task
        and essentials.is_spare(each)
        and not is_left_alone(each)
    ]


def _make_incident(alarm: _Alarm, victim: Container, size_bytes: int | None) -> Incident:
    details = {"default_grace_seconds": _DEFAULT_GRACE_SECONDS}
    start = Action("start_container", victim.id, victim.name)
    step = Step(
        Action("stop_container", victim.id, victim.name, details),
        _VERIFY_SECONDS,
        undo=Undo(start, _CALM_SECONDS, "the machine has been calm for long enough"),
    )
    return Incident(
        target=victim.id,
        name=clean(victim.name),
        cause=alarm.cause,
        steps=(step,),
        facts={"message": alarm.message, "stall": alarm.stall, "size_bytes": size_bytes},
        touches=victim.id,
    )


def describe(incident: Incident, action: Action | None) -> Words:
    """Return what the checks say; and that what is stopped is started again, or why nothing can be stopped."""
    facts = incident.facts
    message = facts["message"]
    if facts["stall"]:
        message += f", and tasks wait for it ({facts['stall']})"
    if incident.is_grave:
        why = facts["containers_error"] or "no running container may be stopped: all are essential"
        return Words(message, f"{why}; free memory manually, or name in ESSENTIAL_CONTAINERS only what must run")
    size = f" ({format_bytes(facts['size_bytes'])})" if facts["size_bytes"] is not None else ""
    note = f"{incident.name}{size} is started again when the machine has been calm for a while"
    advice = "if this comes back, the machine is too small for what runs on it: limit or move the largest"
    return Words(message, advice, note)


def verify(snapshot: Snapshot, target: str, settings: Settings) -> Outcome:
    """Return whether the thrashing is over."""
    if all(_is_unknown(snapshot.find(row)) for row in _ROWS):
        return "repaired" if _is_quiet(snapshot, settings) else "pending"
    return "failing" if _find_alarm(snapshot) else "repaired"


def _is_unknown(finding: Finding | None) -> bool:
    return finding is None or (finding.value is None and finding.status != "critical")


def is_calm(snapshot: Snapshot, settings: Settings, change: Change) -> bool:
    """Return whether nothing thrashes and memory is not short."""
    return _is_quiet(snapshot, settings)


def _is_quiet(snapshot: Snapshot, settings: Settings) -> bool:
    reading = snapshot.readings.get("swap")
    if reading is None or _find_alarm(snapshot) is not None:
        return False
    return not is_memory_short(reading.shortage, settings)


def wants_second_look(snapshot: Snapshot, settings: Settings) -> bool:
    """Return whether memory is short although no rate tells of thrashing: the last one may be of long before."""
    reading = snapshot.readings.get("swap")
    return reading is not None and _find_alarm(snapshot) is None and is_memory_short(reading.shortage, settings)


RULE = Rule(
    name="swap_thrashing",
    commands=("swap",),
    order=10,
    checks=("kernel.swap", "kernel.refaults", "kernel.memory", "kernel.pressure", "stack.container_memory"),
    cooldown_seconds=60.0,
    detect=detect,
    verify=verify,
    describe=describe,
    is_calm=is_calm,
    wants_second_look=wants_second_look,
    confirm_after_seconds=3.0,
    has_alternatives=True,
    is_urgent=True,
)
