"""A machine that thrashes, in either phase: swap-in without end, or no swap left and program code read again and again.

What counts is judged by the checks (`swap_in`, `file_refaults`: critical only while memory is really short). On a slow
disk or processor no rate is ever high: there it is hardly any memory left, with tasks that wait for it. It has to hold
in two looks, only seconds apart, because from 600 MB of swap to a full one it took 10 s on a 1 GB machine.
The largest container that can be spared is stopped, then it is looked again. All are started again when it is calm.
"""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding
from vpsmon.core.text import clean, format_bytes
from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Step, Undo
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.essential import Essentials, is_left_alone
from vpsmon.system.memory_shortage import is_memory_short

COMMANDS = ("swap",)
ORDER = 10
CHECKS = ("kernel.swap", "kernel.refaults", "kernel.memory", "kernel.pressure", "stack.container_memory")
COOLDOWN_SECONDS = 60.0
CONFIRM_AFTER_SECONDS = 3.0
IS_ONE_AT_A_TIME = True
IS_URGENT = True
HAS_NO_LAST_ATTEMPT = True
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
        return [_describe(alarm, victim, sizes.get(victim.id)) for victim in victims]
    why = snapshot.containers_error or "no running container may be stopped: all are essential"
    advice = f"{why}; free memory by hand, or name in ESSENTIAL_CONTAINERS only what must run"
    return [Incident("machine", "machine", alarm.message, (), advice, is_grave=True)]


def _find_alarm(snapshot: Snapshot) -> Finding | None:
    found = (snapshot.find(row) for row in _ROWS)
    thrashing = next((each for each in found if each is not None and each.status == "critical"), None)
    return thrashing or _find_stall(snapshot)


def _find_stall(snapshot: Snapshot) -> Finding | None:
    available, pressure = snapshot.find("memory_available"), snapshot.find("memory_pressure")
    if (
        available is None
        or available.status != "critical"
        or pressure is None
        or (pressure.value or 0) < _STALLED_SCORE
    ):
        return None
    return available._replace(message=f"{available.message}, and tasks wait for it ({pressure.message})")


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
        and not essentials.is_essential(each)
        and not is_left_alone(each)
    ]


def _describe(alarm: Finding, victim: Container, size_bytes: int | None) -> Incident:
    size = f" ({format_bytes(size_bytes)})" if size_bytes is not None else ""
    undo = Undo(
        Action("start_container", victim.id, victim.name), _CALM_SECONDS, "the machine has been calm for long enough"
    )
    note = f"{clean(victim.name)}{size} is started again when the machine has been calm for a while"
    step = Step(
        Action("stop_container", victim.id, victim.name, {"default_grace_seconds": _DEFAULT_GRACE_SECONDS}),
        _VERIFY_SECONDS,
        undo=undo,
        note=note,
    )
    advice = "if this comes back, the machine is too small for what runs on it: limit or move the largest"
    return Incident(victim.id, clean(victim.name), alarm.message, (step,), advice, victim.id)


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
