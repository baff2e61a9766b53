"""A guest that shares its host's kernel (LXC, Proxmox CT): which numbers are its own.

lxcfs puts a /proc/meminfo of the guest's own over the kernel's; /proc/vmstat and /proc/pressure stay the host's, and so
does the kernel log. What the guest itself has done is counted by its control group, which it sees as the root of the
hierarchy: on cgroup v2 memory.events, memory.stat and memory.pressure there. cgroup v1 counts a kill in the group of
the victim only, so there is nothing to read for a whole guest.
Sources: lxcfs(1); cgroup-v2.rst of the kernel's admin-guide.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.system.cgroup_mounts import parse_mounts
from vpsmon.system.host import Host
from vpsmon.system.proc import Pressure, parse_counters, parse_pressure, read_counters, read_memory_pressure

HOST_ONLY = "this is a guest that shares its host's kernel, which counts this for the whole host only"


class Guest(NamedTuple):
    """A guest; `folder` is its own control group where the kernel counts memory for it (cgroup v2), else None."""

    folder: str | None


def read_own_pressure(host: Host) -> Pressure:
    """Return the memory pressure of this machine alone. Raises NotApplicable or ReadError."""
    guest = find_guest(host)
    if guest is None:
        return read_memory_pressure(host)
    try:
        return parse_pressure(host.read_file(f"{guest.folder}/memory.pressure"))
    except OSError:
        raise NotApplicable(f"no memory pressure: {HOST_ONLY}") from None


def find_guest(host: Host) -> Guest | None:
    """Return the guest that this machine is; None on a machine with a kernel of its own."""
    return host.once("guest", lambda: _find_guest(host))


def _find_guest(host: Host) -> Guest | None:
    try:
        mounts = host.read_proc("self/mountinfo")
    except OSError:
        return None
    if "lxcfs" not in mounts or not any(_is_own_meminfo(line) for line in mounts.splitlines()):
        return None
    folders = [each.folder for each in parse_mounts(mounts) if not each.controllers and each.root == "/"]
    return Guest(next((each for each in folders if os.path.exists(f"{each}/memory.events")), None))


def _is_own_meminfo(line: str) -> bool:
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    return len(fields) > 4 and fields[4] == "/proc/meminfo" and after.startswith("fuse.lxcfs ")


def read_memory_counters(host: Host) -> dict[str, int]:
    """Return what the kernel counts of memory since boot, for this machine alone: the names of /proc/vmstat.

    In a guest those of its control group, as far as the kernel counts them there. Raises ReadError.
    """
    guest = find_guest(host)
    if guest is None:
        return read_counters(host, "vmstat")
    if guest.folder is None:
        return {}
    statistics = parse_counters(_read(host, f"{guest.folder}/memory.stat"))
    kills = parse_counters(_read(host, f"{guest.folder}/memory.events"))
    return statistics | {name: kills[name] for name in ("oom_kill",) if name in kills}


def _read(host: Host, path: str) -> str:
    try:
        return host.read_file(path)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}") from None
