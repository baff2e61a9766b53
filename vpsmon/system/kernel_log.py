"""OOM kills from the kernel log: /dev/kmsg, or dmesg where that may not be opened.

Formats: Documentation/ABI/testing/dev-kmsg; mm/oom_kill.c (Linux 5.0 and newer writes the `oom-kill:` line, which
names the victim's cgroup). A process chooses its own name, so names are matched from the right and never trusted.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vpsmon.core.findings import ReadError
from vpsmon.system.host import Host

_DMESG_TIMEOUT_SECONDS = 5.0
_KMSG_RECORD = re.compile(r"(\d{1,20}),(\d{1,20}),(\d{1,20}),[^;]*;(.*)")
# With CONFIG_PRINTK_CALLER the thread stands behind the time; with printk.time=0 neither is there.
_DMESG_LINE = re.compile(r"<(\d{1,20})>(?:\[\s*(\d{1,20})\.(\d{6})\](?:\[\s*[TC]\d{1,20}\])? |(?!\[))(.*)")
_SUMMARY = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?(?:oom_memcg=.*?|global_oom),"
    r"task_memcg=(?P<cgroup>.*?),task=.*,pid=(?P<pid>\d+),uid=\d+$"
)
_KILLED = re.compile(
    r"(?:(?P<scope>Memory cgroup out of memory|Out of memory[^:]*): )?Killed process (?P<pid>\d+) \((?P<name>.*)\) "
    r"total-vm:\d+kB, anon-rss:(?P<anon>\d+)kB, file-rss:(?P<file>\d+)kB, shmem-rss:(?P<shmem>\d+)kB"
)
# Linux 4.15 wrote the scope, and the group, in lines of their own before that of the victim.
_OLD_SCOPE = re.compile(r"(?P<scope>Memory cgroup out of memory|Out of memory[^:]*): Kill process (?P<pid>\d+) \(")
_OLD_GROUP = re.compile(r"Task in (?P<cgroup>.*) killed as a result of limit of ")
# The kernel writes at most 1024 characters, each of which /dev/kmsg may show as four. The patterns above look back: a
# line of a megabyte would keep them for hours.
_LONGEST_LINE = 4096
# Found in docker/<id>, docker-<id>.scope, libpod-<id>.scope, rootless slices and nested cgroups.
_CONTAINER_ID = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")


class Record(NamedTuple):
    """One line of the kernel log; `sequence` is -1 where dmesg was the source, `microseconds` where it has no times."""

    sequence: int
    microseconds: int
    text: str


class OomKill(NamedTuple):
    """One process killed by the OOM killer; `is_machine_wide` is False where its own cgroup's limit was reached."""

    sequence: int
    microseconds: int
    pid: int
    name: str
    resident_bytes: int
    is_machine_wide: bool
    container_id: str | None


def read_records(host: Host) -> list[Record]:
    """Return the kernel's own records, oldest first. Raises ReadError where neither source may be read."""
    try:
        records = list(parse_kmsg(host.read_kernel_log()))
        if records:
            return records
        why = "empty"  # a container may have /dev/null in its place
    except OSError as error:
        why = "access denied" if error.errno in (errno.EPERM, errno.EACCES) else str(error.strerror)
    try:
        # By the system call: dmesg would else read the same file.
        return list(parse_dmesg(host.run(["dmesg", "--syslog", "--raw"], _DMESG_TIMEOUT_SECONDS)))
    except ReadError as error:
        remedy = "run as root or with CAP_SYSLOG, and give a container the device /dev/kmsg"
        raise ReadError(f"the kernel log cannot be read (/dev/kmsg: {why}; {error}): {remedy}") from None


def parse_kmsg(records: Iterable[str]) -> Iterator[Record]:
    """Yield the records that the kernel itself wrote: programs may write there too, but not as facility 0."""
    for text in records:
        match = _KMSG_RECORD.match(text)
        if match and int(match[1]) >> 3 == 0:
            yield Record(int(match[2]), int(match[3]), match[4])


def parse_dmesg(output: str) -> Iterator[Record]:
    """Yield the kernel's records from `dmesg --raw`."""
    for line in output.splitlines():
        match = _DMESG_LINE.match(line)
        if match and int(match[1]) >> 3 == 0:
            yield Record(-1, int(match[2]) * 1_000_000 + int(match[3]) if match[2] else -1, match[4])


def find_kills(records: Iterable[Record]) -> list[OomKill]:
    """Return every kill in the records. The summary line before it names the victim's cgroup."""
    kills = []
    cgroup_by_pid: dict[str, str] = {}
    latest_cgroup = old_scope = ""
    for record in records:
        if len(record.text) > _LONGEST_LINE:
            continue
        # Nearly all records are something else; the search of a plain substring is ten times quicker than a match.
        if "oom-kill:" in record.text and (summary := _SUMMARY.search(record.text)):
            cgroup_by_pid[summary["pid"]] = latest_cgroup = summary["cgroup"]
        elif " killed as a result of limit of " in record.text and (group := _OLD_GROUP.search(record.text)):
            latest_cgroup = group["cgroup"]
        elif ": Kill process " in record.text and (announced := _OLD_SCOPE.search(record.text)):
            old_scope = announced["scope"]
        elif "Killed process" in record.text and (killed := _KILLED.search(record.text)):
            scope = killed["scope"] or old_scope
            # With memory.oom.group one summary is followed by several victims of the same cgroup.
            of_group = latest_cgroup if scope.startswith("Memory cgroup") else ""
            kills.append(_describe(record, killed, scope, cgroup_by_pid.pop(killed["pid"], of_group)))
    return kills


def _describe(record: Record, killed: re.Match[str], scope: str, cgroup: str) -> OomKill:
    container = _CONTAINER_ID.search(cgroup)
    return OomKill(
        record.sequence,
        record.microseconds,
        int(killed["pid"]),
        killed["name"],
        sum(int(killed[part]) for part in ("anon", "file", "shmem")) * 1024,
        scope.startswith("Out of memory"),
        container[1] if container else None,
    )
