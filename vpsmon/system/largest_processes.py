"""The processes that hold the most memory, for the message of an alert. Read only when there is such an alert.

Memory held is RssAnon + VmSwap of /proc/<pid>/status (proc(5)): what comes back when the process ends. The resident
size would count the shared pages of forty Chromium or PostgreSQL processes forty times, and misses what was swapped
out.
"""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.core.text import clean, format_bytes
from vpsmon.system.host import Host
from vpsmon.system.proc import parse_counters

HIDDEN_REMEDY = (
    "/proc hides the processes of other users (hidepid): mount -o remount,hidepid=0 /proc, "
    "or gid= with a group that vpsmon's user is in"
)


class Consumer(NamedTuple):
    """All processes of one name, and the bytes they hold in memory and swap together."""

    name: str
    process_count: int
    held_bytes: int


def hides_processes(host: Host) -> bool:
    """Return whether /proc is mounted with hidepid (proc(5)), and this user sees only its own processes.

    The first process of a machine is always there.
    """
    try:
        mounts = host.read_proc("self/mountinfo")
    except OSError:
        return False
    try:
        return "hidepid=" in mounts and not host.read_file(f"{host.proc}/1/status")
    except OSError:
        return True


def read_largest_consumers(host: Host, count: int) -> list[Consumer]:
    """Return the largest consumers, largest first; [] where /proc does not show the processes."""
    sizes: dict[str, list[int]] = {}
    try:
        process_ids = host.list_process_ids()
    except OSError:
        return []
    for process_id in process_ids:
        try:
            status = host.read_file(f"{host.proc}/{process_id}/status")
        except OSError:
            continue  # it has ended meanwhile, or hides from us
        name, held_bytes = parse_status(status)
        if held_bytes:
            sizes.setdefault(name, []).append(held_bytes)
    consumers = [Consumer(name, len(each), sum(each)) for name, each in sizes.items()]
    return sorted(consumers, key=lambda consumer: consumer.held_bytes, reverse=True)[:count]


def parse_status(text: str) -> tuple[str, int]:
    """Return the name of a process, made safe to print, and the bytes it holds; 0 for a thread of the kernel."""
    first, _, rest = text.partition("\n")
    counters = parse_counters(rest)
    return clean(first.removeprefix("Name:").strip()), counters.get("RssAnon", 0) + counters.get("VmSwap", 0)


def describe_largest(host: Host, count: int) -> str:
    """Return `largest: node 412 MB, chrome 380 MB (7 processes), postgres 60 MB`, why they are hidden, or nothing."""
    if hides_processes(host):
        return HIDDEN_REMEDY
    consumers = read_largest_consumers(host, count)
    named = [
        f"{consumer.name} {format_bytes(consumer.held_bytes)}"
        + (f" ({consumer.process_count} processes)" if consumer.process_count > 1 else "")
        for consumer in consumers
    ]
    return f"largest: {', '.join(named)}" if named else ""
