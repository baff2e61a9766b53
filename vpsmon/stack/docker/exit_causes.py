"""Why a container ended: what tells the OOM killer, systemd-oomd, a full JavaScript heap and a plain exit apart.

Docker's OOMKilled flag says only that some process in the container was killed, at some time: of a container whose
worker was killed it says so after an ordinary stop. The kernel log, the journal and the container's own last words tell
more. All of this is extra: where a source cannot be read, there is just no cause to name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.strict_json import parse_strictly
from vpsmon.stack.docker import client as docker_client
from vpsmon.state.content import WRONG_FORM
from vpsmon.system.host import Host

if TYPE_CHECKING:
    from vpsmon.stack.docker.containers import Container
    from vpsmon.system.kernel_log import OomKill

# Of a pass; each may take a second, and all of a check has a few.
MOST_EXPLAINED = 3
_TIMEOUT_SECONDS = 1.0
_LOOK_BACK_SECONDS = 600
# The kernel kills, then Docker sees the end; the clocks of the two differ a little.
_SAME_TIME_SECONDS = 30
_KILLED_STATUS = 137
# abort() of V8 as Node.js ends it; as the first process of a container it cannot always die of the signal it chose.
_ABORTED_STATUSES = (132, 133, 134, 139)
_HEAP_IS_FULL = b"JavaScript heap out of memory"
# Node.js writes some 30 lines of stack after it.
_LAST_LOG_LINES = 60
_STATUS_MEANINGS = {
    125: "the engine could not run it",
    126: "its command cannot be executed",
    127: "its command was not found",
    134: "it aborted",
    137: "killed manually, by a stop that timed out, or by a tool that frees memory",
    139: "it crashed (segmentation fault)",
    143: "it was asked to stop (SIGTERM)",
}

# What ended it, where more is known than its exit status. oom_in_container: Docker's word, of some process in it.
Cause = Literal["", "oom_at_limit", "oom_of_machine", "oom_in_container", "oomd", "heap_full"]
_CAUSE_MEANINGS: dict[Cause, str] = {
    "oom_at_limit": "the OOM killer ended it at its memory limit",
    "oom_of_machine": "the OOM killer ended it because the whole machine was out of memory",
    "oom_in_container": "out of memory: Docker says that the OOM killer ended a process in it",
    "oomd": "systemd-oomd ended it to free memory",
    "heap_full": (
        "the JavaScript heap was full: give Node.js more (NODE_OPTIONS=--max-old-space-size=…, in MB), "
        "or make the workflow smaller"
    ),
}
# How the version before events wrote a death into pass_state.json: as a sentence. This is read, and never written.
_OLD_TEXT = re.compile(r"it ended with (\d{1,5})(?:: (.*))?")
_OLD_CAUSES: dict[str, Cause] = {
    "the OOM killer ended it at its memory limit": "oom_at_limit",
    "the OOM killer ended it because the whole machine was out of memory": "oom_of_machine",
    "out of memory: Docker says that the OOM killer ended a process in it": "oom_in_container",
    "systemd-oomd ended it to free memory": "oomd",
    "the JavaScript heap was full": "heap_full",
}


class Death(NamedTuple):
    """The end of one run of a container, and its cause where one is known.

    `is_oom_reported` is Docker's word that something in it was OOM-killed.
    """

    wall_seconds: float
    exit_code: int
    is_oom_reported: bool = False
    cause: Cause = ""


def describe_exit(exit_code: int, cause: Cause = "") -> str:
    """Return in words how it ended: the status, and the cause, or else what the status usually means."""
    meaning = _CAUSE_MEANINGS.get(cause) or _STATUS_MEANINGS.get(exit_code, "")
    return f"exited ({exit_code})" + (f": {meaning}" if meaning else "")


def recall_death(record: Mapping[str, Any]) -> Death | None:
    """Return the death that a record of container_restarts remembers; that of an older version is a sentence."""
    try:
        if "death" in record:
            wall_seconds, exit_code, is_oom_reported, cause = record["death"]
            return Death(float(wall_seconds), int(exit_code), bool(is_oom_reported), recall_cause(str(cause)))
        match = _OLD_TEXT.match(record.get("cause", ""))
    except WRONG_FORM:
        return None  # also where none is remembered
    return Death(0.0, int(match[1]), cause=recall_cause(match[2] or "")) if match else None


def recall_cause(text: str) -> Cause:
    """Return the cause that was remembered: the name of one, or the sentence of an older version."""
    if text in _CAUSE_MEANINGS:
        return text
    return next((cause for sentence, cause in _OLD_CAUSES.items() if text.startswith(sentence)), "")


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
    reported: set[str] = set()
    for line in lines:
        try:
            event: dict[str, Any] = parse_strictly(line)
            container_id, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
            if event["Action"] == "oom":
                reported.add(container_id)
            elif event["Action"] == "die":
                deaths[container_id] = Death(
                    wall_seconds=event["timeNano"] / 1e9,
                    exit_code=int(attributes["exitCode"]),
                    is_oom_reported=container_id in reported,
                )
                reported.discard(container_id)
        except (ValueError, KeyError, TypeError):
            continue
    return deaths


def find_cause(host: Host, container: Container, death: Death) -> Cause:
    """Return what ended the container, or "" where nothing beyond its exit status is known."""
    try:
        if death.exit_code == _KILLED_STATUS:
            return _find_killer(host, container, death)
        if death.exit_code in _ABORTED_STATUSES and _HEAP_IS_FULL in _read_last_log(container.id, death):
            return "heap_full"
    except (NotApplicable, ReadError):
        pass
    return ""


def _find_killer(host: Host, container: Container, death: Death) -> Cause:
    for kill in _read_kernel_kills(host):
        wall_seconds = host.wall_seconds() - host.monotonic_seconds() + kill.microseconds / 1e6
        if kill.container_id == container.id and abs(wall_seconds - death.wall_seconds) < _SAME_TIME_SECONDS:
            return "oom_of_machine" if kill.is_machine_wide else "oom_at_limit"
    if any(container.id in line for line in _read_oomd_journal(host)):
        return "oomd"
    return "oom_in_container" if death.is_oom_reported else ""


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
