"""Memory and CPU time of a container from its control group: the numbers of `docker stats`, in microseconds.

Where the files are is not guessed: /proc/<pid>/cgroup gives the path in the hierarchy, /proc/self/mountinfo where the
hierarchy is mounted. That covers v1, v2 and hybrid, the cgroupfs and systemd drivers, cgroup_parent and Podman.
Formats: cgroups(7), proc_pid_mountinfo(5); cgroup-v2.rst and cgroup-v1/memory.rst of the kernel's admin-guide.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.system.cgroup_mounts import Mount, parse_mounts
from vpsmon.system.host import Host
from vpsmon.system.largest_processes import HIDDEN_REMEDY, hides_processes
from vpsmon.system.proc import parse_counters, pick, read_counters

_NO_CONTROLLER = (
    "the kernel does not count memory by container: boot with cgroup_enable=memory, "
    "or give a rootless engine the memory controller (Delegate=memory in its systemd unit)"
)


class Usage(NamedTuple):
    """What a container uses; CPU time and kills since its start. `limit_bytes` is None without a limit of its own."""

    memory_bytes: int
    limit_bytes: int | None
    cpu_seconds: float | None
    oom_kill_count: int


def read_usage(host: Host, container_id: str, pid: int) -> Usage:
    """Return what a running container uses. Raises ReadError, or NotApplicable where memory is not counted."""
    groups = read_groups(host, container_id, pid)
    mounts = host.once("cgroup mounts", lambda: parse_mounts(_read(host, os.path.join(host.proc, "self/mountinfo"))))
    total_bytes = pick(read_counters(host, "meminfo"), "MemTotal", "/proc/meminfo")
    if any("memory" in mount.controllers for mount in mounts):
        return _read_version_1(host, _find_folder(groups, mounts, "memory"), groups, mounts, total_bytes)
    return _read_version_2(host, _find_folder(groups, mounts, ""), total_bytes)


def read_groups(host: Host, container_id: str, pid: int) -> dict[str, str]:
    """Return the path of the container's own group by controller; the key of v2 is an empty string.

    Raises ReadError where the process is none of this container: its number may long be another's.
    """
    path = os.path.join(host.proc, str(pid), "cgroup")
    groups = {}
    for controllers, group in parse_groups(_read(host, path)):
        own = cut_after_id(group, container_id)
        for controller in controllers if own else ():
            groups[controller] = own
    if not groups:
        raise ReadError(
            f"{path} does not name this container: it has just ended, or its engine runs on another machine "
            "(DOCKER_HOST, Docker Desktop)"
        )
    return groups


def parse_groups(text: str) -> list[tuple[list[str], str]]:
    """Return controllers and path of each line of /proc/<pid>/cgroup: `4:memory:/docker/…` (v1), `0::/…` (v2)."""
    lines = (line.split(":", 2) for line in text.splitlines())
    return [(parts[1].split(","), parts[2]) for parts in lines if len(parts) == 3 and parts[0].isdecimal()]


def cut_after_id(group: str, container_id: str) -> str:
    """Return the path up to the folder named after the container; "" when there is none.

    A systemd in the container, and Podman, put the first process into a group below it; and the id shows that the
    process is still the container's and not another that got its number.
    """
    parts = group.split("/")
    for position, part in enumerate(parts):
        if container_id and container_id in part:
            return "/".join(parts[: position + 1])
    return ""


def _find_folder(groups: dict[str, str], mounts: list[Mount], controller: str) -> str:
    """Return the folder of the container's group in the hierarchy of a controller; "" means v2."""
    group = groups.get(controller)
    for mount in mounts:
        if group is not None and (controller in mount.controllers if controller else not mount.controllers):
            inside = group[len(mount.root) :] if mount.root != "/" else group
            # A mount that shows another part of the hierarchy: seen from inside a container.
            if group.startswith(mount.root.rstrip("/") + "/") and "/../" not in f"{inside}/":
                return mount.folder + inside
    kind = f"the {controller} controller" if controller else "control groups (v2)"
    raise ReadError(f"{kind} of this container cannot be seen from here; is /sys/fs/cgroup of the machine mounted?")


def _read_version_1(host: Host, folder: str, groups: dict[str, str], mounts: list[Mount], total_bytes: int) -> Usage:
    statistics = parse_counters(_read(host, f"{folder}/memory.stat"))
    try:
        cpu_folder = _find_folder(groups, mounts, "cpuacct")
        cpu_seconds: float | None = _read_number(host, f"{cpu_folder}/cpuacct.usage") / 1e9
    except ReadError:
        cpu_seconds = None
    return _make_usage(
        _read_number(host, f"{folder}/memory.usage_in_bytes"),
        pick(statistics, "total_inactive_file", f"{folder}/memory.stat"),
        _read_number(host, f"{folder}/memory.limit_in_bytes"),
        cpu_seconds,
        _read_kill_count(host, f"{folder}/memory.oom_control"),
        total_bytes,
    )


def _read_version_2(host: Host, folder: str, total_bytes: int) -> Usage:
    if "memory" not in _read(host, f"{folder}/cgroup.controllers").split():
        raise NotApplicable(_NO_CONTROLLER)
    statistics = parse_counters(_read(host, f"{folder}/memory.stat"))
    cpu_microseconds = parse_counters(_read(host, f"{folder}/cpu.stat")).get("usage_usec")
    return _make_usage(
        _read_number(host, f"{folder}/memory.current"),
        pick(statistics, "inactive_file", f"{folder}/memory.stat"),
        _read_number(host, f"{folder}/memory.max"),
        cpu_microseconds / 1e6 if cpu_microseconds is not None else None,
        _read_kill_count(host, f"{folder}/memory.events"),
        total_bytes,
    )


def _make_usage(
    used_bytes: float,
    inactive_file_bytes: int,
    limit_bytes: float,
    cpu_seconds: float | None,
    oom_kill_count: int,
    total_bytes: int,
) -> Usage:
    """As the docker command shows it: file cache that the kernel drops when it needs the room does not count."""
    return Usage(
        int(used_bytes - inactive_file_bytes if inactive_file_bytes < used_bytes else used_bytes),
        int(limit_bytes) if limit_bytes < total_bytes else None,
        cpu_seconds,
        oom_kill_count,
    )


def _read_kill_count(host: Host, path: str) -> int:
    """Return how many processes of the group the OOM killer ended; 0 on kernels before 4.13, which do not count."""
    return parse_counters(_read(host, path)).get("oom_kill", 0)


def _read_number(host: Host, path: str) -> float:
    """Return the number in a file; infinity for `max`, which v2 says where there is no limit. Raises ReadError."""
    text = _read(host, path).strip()
    if text == "max":
        return float("inf")
    if not (text.isdecimal() and text.isascii()):
        raise ReadError(f"{path} holds no number: the container has just ended, or its accounting is broken")
    return int(text)


def _read(host: Host, path: str) -> str:
    """Return the text of a file. Raises ReadError."""
    try:
        return host.read_file(path)
    except OSError as error:
        why = HIDDEN_REMEDY if hides_processes(host) else "has the container just ended?"
        raise ReadError(f"{path} cannot be read: {error.strerror}; {why}") from None
