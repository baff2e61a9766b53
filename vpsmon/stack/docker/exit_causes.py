"""Why a container ended: what tells the OOM killer, systemd-oomd, a full JavaScript heap and a plain exit apart.

Docker's OOMKilled flag says only that some process in the container was killed, at some time: of a container whose
worker was killed it says so after an ordinary stop. The kernel log, the journal and the container's own last words tell
more. All of this is extra: where a source cannot be read, there is just no cause to name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.strict_json import parse_strictly
from vpsmon.stack.docker import client as docker_client
from vpsmon.system.host import Host

if TYPE_CHECKING:
    from vpsmon.stack.docker.containers import Container
    from vpsmon.system.kernel_log import OomKill

# Of a pass; each may take a second, and all of a check has a few.
MOST_EXPLAINED = 3
_TIMEOUT_SECONDS = 1.0
_LOOK_BACK_SECONDS = 600
# Recovery raises the limit of a container that ended for this cause.
KILLED_AT_ITS_LIMIT = "the OOM killer ended it at its memory limit"
# The kernel kills, then Docker sees the end; the clocks of the two differ a little.
_SAME_TIME_SECONDS = 30
_KILLED_STATUS = 137
# abort() of V8 as Node.js ends it; as the first process of a container it cannot always die of the signal it chose.
_ABORTED_STATUSES = (132, 133, 134, 139)
_HEAP_IS_FULL = b"JavaScript heap out of memory"
# Node.js writes some 30 lines of stack after it.
_LAST_LOG_LINES = 60
_MEANINGS = {
    125: "the engine could not run it",
    126: "its command cannot be executed",
    127: "its command was not found",
    134: "it aborted",
    137: "killed: by hand, by a stop that took longer than its grace time, or by a tool that frees memory",
    139: "it crashed (segmentation fault)",
    143: "it was told to stop (SIGTERM)",
}


class Death(NamedTuple):
    """The end of one run of a container; `is_oom_told` is Docker's word that something in it was OOM-killed."""

    wall_seconds: float
    exit_code: int
    is_oom_told: bool


def describe_exit(death: Death, cause: str | None) -> str:
    """Return in words how it ended: the status, and the cause, or else what the status usually means."""
    meaning = cause or _MEANINGS.get(death.exit_code, "")
    return f"it ended with {death.exit_code}" + (f": {meaning}" if meaning else "")


def read_recent_deaths(host: Host, since_wall_seconds: float) -> dict[str, Death]:
    """Return the latest death of each container by its id, as far as Docker's short memory of events goes."""
    try:
        return host.once("recent deaths", lambda: parse_events(_read_events(host, since_wall_seconds)))
    except (NotApplicable, ReadError):
        return {}


def _read_events(host: Host, since_wall_seconds: float) -> Iterable[str]:
    since, until = f"{since_wall_seconds:.0f}", f"{host.wall_seconds():.3f}"
    with docker_client.open_client(_TIMEOUT_SECONDS) as client:
        return client.read_events(since, until, {"type": ["container"], "event": ["die", "oom"]})


def parse_events(lines: Iterable[str]) -> dict[str, Death]:
    """Return the latest death of each container from `die` events, one JSON object a line; `oom` comes before it."""
    deaths: dict[str, Death] = {}
    told: set[str] = set()
    for line in lines:
        try:
            event: dict[str, Any] = parse_strictly(line)
            container_id, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
            if event["Action"] == "oom":
                told.add(container_id)
            elif event["Action"] == "die":
                exit_code = int(attributes["exitCode"])
                deaths[container_id] = Death(event["timeNano"] / 1e9, exit_code, container_id in told)
                told.discard(container_id)
        except (ValueError, KeyError, TypeError):
            continue
    return deaths


def find_cause(host: Host, container: Container, death: Death) -> str:
    """Return what ended the container, in words, or "" where nothing beyond its exit status is known."""
    try:
        if death.exit_code == _KILLED_STATUS:
            return _find_killer(host, container, death)
        if death.exit_code in _ABORTED_STATUSES and _HEAP_IS_FULL in _read_last_log(container.id, death):
            return (
                "the JavaScript heap was full: give Node.js more (NODE_OPTIONS=--max-old-space-size=…, in MB), "
                "or make the workflow smaller"
            )
    except (NotApplicable, ReadError):
        pass
    return ""


def _find_killer(host: Host, container: Container, death: Death) -> str:
    for kill in _read_kernel_kills(host):
        wall_seconds = host.wall_seconds() - host.monotonic_seconds() + kill.microseconds / 1e6
        if kill.container_id == container.id and abs(wall_seconds - death.wall_seconds) < _SAME_TIME_SECONDS:
            if kill.is_machine_wide:
                return "the OOM killer ended it because the whole machine was out of memory"
            return KILLED_AT_ITS_LIMIT
    if any(container.id in line for line in _read_oomd_journal(host)):
        return "systemd-oomd ended it to free memory"
    return "out of memory: Docker says that the OOM killer ended a process in it" if death.is_oom_told else ""


def _read_kernel_kills(host: Host) -> list[OomKill]:
    from vpsmon.system.kernel_log import find_kills, read_records

    try:
        return host.once("kills in the kernel log", lambda: find_kills(read_records(host)))
    except ReadError:
        return []


def _read_oomd_journal(host: Host) -> list[str]:
    """Return what systemd-oomd told the journal lately; it kills with a plain signal, which the kernel does not log."""
    since = f"--since=@{host.wall_seconds() - _LOOK_BACK_SECONDS:.0f}"
    command = ["journalctl", "--quiet", "--unit=systemd-oomd", since, "--output=cat", "--lines=100"]
    try:
        return host.once("journal of systemd-oomd", lambda: host.run(command, _TIMEOUT_SECONDS)).splitlines()
    except ReadError:
        return []


def _read_last_log(container_id: str, death: Death) -> bytes:
    """Return the last lines that the container wrote before it ended."""
    with docker_client.open_client(_TIMEOUT_SECONDS) as client:
        until = int(death.wall_seconds) + 1
        return client.logs(container_id, _LAST_LOG_LINES, until)
