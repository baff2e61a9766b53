"""oom_kills: processes that the kernel killed because memory ran out, each told exactly once.

The kernel log names the victim; a cursor (boot id and position) remembers up to where it was read. The counter
`oom_kill` of /proc/vmstat (Linux 4.13) says cheaply whether there is anything to read at all, and how many kills the
log has lost: it is a small ring, and about 20 kills fill it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Event, Finding, Previous, ReadError
from vpsmon.core.text import clean, format_bytes
from vpsmon.system.guest import HOST_ONLY, find_guest, read_memory_counters
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id

if TYPE_CHECKING:
    from vpsmon.system.kernel_log import OomKill

ROWS = {"oom_kills": "count"}
GROUP = "memory"
# A new boot starts a new log: all of its kills happened since the previous pass.
KEEPS_ACROSS_BOOTS = True
# What preload.py loads for it as soon as memory is short.
LOADED_LATE = ("vpsmon.system.kernel_log",)
_MOST_EVENTS = 50
_NAMED_EVENTS = 3


class Reading(NamedTuple):
    """The kernel's count of kills, and those the log names; `kills` is None where the log was not read."""

    boot_id: str
    counter: int | None
    kills: list[OomKill] | None
    last_sequence: int
    last_microseconds: int
    log_error: str | None
    wall_seconds: float
    boot_wall_seconds: float


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the counter, and the kills of the log when the counter has moved. Raises ReadError for neither."""
    boot_id = read_boot_id(host)
    counter = read_memory_counters(host).get("oom_kill")
    now = host.wall_seconds()
    reading = Reading(boot_id, counter, None, -1, -1, None, now, now - host.monotonic_seconds())
    if counter is not None and counter == _base(reading, previous).counter and not _is_owed(previous):
        return reading
    if find_guest(host):
        # The kernel log is the host's, and its victims are those of all guests.
        return reading if counter is not None else reading._replace(log_error=HOST_ONLY)
    # Imported only when there is something to read: its patterns take 3 ms to compile.
    from vpsmon.system.kernel_log import find_kills, read_records

    try:
        records = read_records(host)
    except ReadError as error:
        if counter is None:
            raise
        return reading._replace(log_error=str(error))
    last = records[-1] if records else None
    return reading._replace(
        kills=find_kills(records),
        last_sequence=last.sequence if last else -1,
        last_microseconds=last.microseconds if last else -1,
    )


class _Base(NamedTuple):
    """What was known before: the counter and the position in the log, and the kills it owes a name to."""

    counter: int | None
    sequence: int
    microseconds: int
    owed: int


def _base(reading: Reading, previous: Previous | None) -> _Base:
    memory = previous.memory if previous else {}
    if memory.get("boot_id") == reading.boot_id:
        return _Base(memory["counter"], memory["sequence"], memory["microseconds"], memory["owed"])
    if memory:
        return _Base(0, -1, -1, 0)
    # The very first pass: what the log holds from before is not news.
    return _Base(reading.counter, reading.last_sequence, reading.last_microseconds, 0)


def _is_owed(previous: Previous | None) -> bool:
    return previous is None or bool(previous.memory.get("owed"))


def _new_kills(reading: Reading, base: _Base) -> list[OomKill]:
    kills = reading.kills or []
    if any(kill.microseconds < 0 for kill in kills):
        # A log without times (printk.time=0): the counter says how many of them are new.
        known = base.counter if base.counter is not None else reading.counter
        return kills[len(kills) - min(len(kills), (reading.counter or 0) - (known or 0)) :]
    return [kill for kill in kills if _is_after(kill, base)]


def _is_after(kill: OomKill, base: _Base) -> bool:
    # dmesg gives no sequence numbers, only times; they are of the same clock as those of /dev/kmsg.
    if kill.sequence >= 0 and base.sequence >= 0:
        return kill.sequence > base.sequence
    return kill.microseconds > base.microseconds


def _count_unnamed(reading: Reading, base: _Base) -> int:
    """Return how many kills the counter knows and the log does not, beyond those that were owed already."""
    if reading.counter is None or base.counter is None:
        return 0
    return max(0, reading.counter - base.counter + base.owed - len(_new_kills(reading, base)))


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return one finding with an event for each kill since the previous pass."""
    base = _base(reading, previous)
    kills = _new_kills(reading, base)
    # The kernel counts a kill just before it logs it, so a kill without a name gets one more pass to find it.
    lost = min(_count_unnamed(reading, base), base.owed) if reading.kills is not None else _count_unnamed(reading, base)
    events = [_describe_kill(kill, reading) for kill in kills[-_MOST_EVENTS:]]
    if lost or len(kills) > _MOST_EVENTS:
        events.append(_describe_lost(lost + max(0, len(kills) - _MOST_EVENTS), reading))
    count = len(kills) + lost
    message = "no OOM kill" if previous else "first pass: kills from now on are reported"
    if count:
        hidden = f"; and {len(events) - _NAMED_EVENTS} more" if len(events) > _NAMED_EVENTS else ""
        message = "; ".join(event.message for event in events[:_NAMED_EVENTS]) + hidden
    return [
        Finding(
            check="oom_kills",
            status="critical" if count else "ok",
            message=message,
            value=count,
            reason=reading.log_error,
            advice="memory ran out: find what grew (docker stats), give it a limit, or give the machine more memory",
            events=tuple(events),
        )
    ]


def _describe_kill(kill: OomKill, reading: Reading) -> Event:
    name = clean(kill.name)
    where = f" in container {kill.container_id[:12]}" if kill.container_id else ""
    cause = "the whole machine was out of memory" if kill.is_machine_wide else "its memory limit was reached"
    return Event(
        f"{reading.boot_id}:{kill.microseconds}:{kill.pid}",
        kill.container_id[:12] if kill.container_id else name,
        f"OOM killer ended {name} (pid {kill.pid}, {format_bytes(kill.resident_bytes)} resident){where}: {cause}",
        reading.boot_wall_seconds + kill.microseconds / 1e6 if kill.microseconds >= 0 else reading.wall_seconds,
    )


def _describe_lost(count: int, reading: Reading) -> Event:
    what = f"{count} more processes" if count > 1 else "a process"
    why = "the kernel log may not be read" if reading.log_error else "the kernel log no longer holds the name"
    return Event(
        f"{reading.boot_id}:counter:{reading.counter}",
        "unnamed",
        f"OOM killer ended {what}: {why}",
        reading.wall_seconds,
    )


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the counter, the position in the kernel log, and the kills that still want a name."""
    base = _base(reading, previous)
    unnamed = _count_unnamed(reading, base)
    return {
        "boot_id": reading.boot_id,
        "counter": reading.counter,
        "sequence": max(reading.last_sequence, base.sequence),
        "microseconds": max(reading.last_microseconds, base.microseconds),
        "owed": 0 if reading.kills is None else max(0, unnamed - base.owed),
    }
