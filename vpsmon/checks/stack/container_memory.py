"""container_memory: what each running container uses, as `docker stats` shows it, beside its own limit.

Memory is usage without the file cache that can be dropped, from the control group files. Not applicable without a
container engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, NotApplicable, Previous, ReadError, Status, ok, skipped
from vpsmon.core.text import MEGABYTE, clean, format_bytes
from vpsmon.stack.docker.cgroups import Usage, read_usage
from vpsmon.stack.docker.containers import STATUSES_WITH_MEMORY, Container, read_containers
from vpsmon.stack.docker.remembered import from_memory, to_memory
from vpsmon.stack.identity.bindings import note_parts
from vpsmon.system.host import Host
from vpsmon.system.proc import read_counters
from vpsmon.trends.samples import CONTAINERS, LIMIT_SUFFIX

ROWS = {"container_memory": "bytes"}
GROUP = "containers"
METRICS = {
    "container_memory_bytes": "Memory of a container without file cache that can be dropped, as docker stats shows it.",
    "container_memory_percent": "The same in percent of its limit, or of the machine where it has none.",
    "container_cpu_percent": "CPU use of a container since the export before; 100 is one CPU.",
}
HISTORY = CONTAINERS
_WARNING_SHARE_PERCENT = 90
_CRITICAL_SHARE_PERCENT = 97


class Measured(NamedTuple):
    """A container that runs; without a usage, `reason` says why, and `status` whether that is a fault."""

    id: str
    pid: int
    name: str
    usage: Usage | None
    status: Status = "ok"
    reason: str | None = None


class Reading(NamedTuple):
    """The running containers, measured at this time; `known` is what is remembered of all containers."""

    containers: list[Measured]
    monotonic_seconds: float
    machine_bytes: int = 0
    known: Sequence[dict[str, Any]] = ()


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the usage of each running container. Raises NotApplicable, ReadError."""
    containers = read_containers(host, settings)
    measured = [_measure(host, each) for each in containers if each.status in STATUSES_WITH_MEMORY]
    machine_bytes = read_counters(host, "meminfo").get("MemTotal", 0)
    return Reading(measured, host.monotonic_seconds(), machine_bytes, to_memory(note_parts(containers, settings)))


def _measure(host: Host, container: Container) -> Measured:
    identity = (container.id, container.pid, clean(container.name))
    if container.inspect_error:
        return Measured(*identity, None, "unknown", f"Docker cannot inspect it: {clean(container.inspect_error, 200)}")
    try:
        return Measured(*identity, read_usage(host, container.id, container.pid))
    except NotApplicable as error:
        return Measured(*identity, None, "skipped", str(error))
    except ReadError as error:
        return Measured(*identity, None, "unknown", str(error))


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return one finding for each running container, worse the closer it is to its limit."""
    if not reading.containers:
        reason = "no container is running; docker ps -a shows those that have ended"
        return [skipped("container_memory", "nothing to measure", reason)]
    return [_judge_container(container) for container in reading.containers]


def _judge_container(container: Measured) -> Finding:
    usage = container.usage
    if usage is None:
        message = "memory cannot be read"
        return Finding(
            check="container_memory",
            status=container.status,
            message=message,
            object=container.name,
            reason=container.reason,
        )
    if usage.limit_bytes is None:
        message = f"{format_bytes(usage.memory_bytes)}, no limit"
        return ok("container_memory", message + _describe_kills(usage), object=container.name, value=usage.memory_bytes)
    share_percent = usage.memory_bytes / usage.limit_bytes * 100 if usage.limit_bytes else 100.0
    judgement = judge_above(share_percent, _WARNING_SHARE_PERCENT, _CRITICAL_SHARE_PERCENT)
    message = (
        f"{format_bytes(usage.memory_bytes)} of its limit of {format_bytes(usage.limit_bytes)} ({share_percent:.0f} %)"
    )
    if judgement.status != "ok":
        message += f", {judgement.status} above {judgement.limit:g} %"
    return Finding(
        check="container_memory",
        status=judgement.status,
        message=message + _describe_kills(usage),
        object=container.name,
        value=usage.memory_bytes,
        advice="at its limit the kernel kills its processes: restart what leaks, or give it a higher limit "
        "(mem_limit in the compose file)",
        is_clear=judgement.is_clear,
    )


def _describe_kills(usage: Usage) -> str:
    return f"; the OOM killer ended {usage.oom_kill_count} in it since its start" if usage.oom_kill_count else ""


def compute_cpu_percents(reading: Reading, previous: Previous | None) -> dict[str, float]:
    """Return the CPU use since the previous pass by container name, 100 for one CPU; absent where it is not known."""
    memory = previous.memory if previous else {}
    elapsed_seconds = reading.monotonic_seconds - memory.get("monotonic_seconds", reading.monotonic_seconds)
    before: dict[str, float] = memory.get("cpu_seconds", {})
    percents = {}
    for container in reading.containers:
        now = container.usage.cpu_seconds if container.usage else None
        then = before.get(_run_key(container))
        if now is not None and then is not None and elapsed_seconds > 0 and now >= then:
            percents[container.name] = round((now - then) / elapsed_seconds * 100, 1)
    return percents


def _run_key(container: Measured) -> str:
    """A restarted container has another first process, and counts its CPU time anew."""
    return f"{container.id[:12]}:{container.pid}"


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return memory in bytes and in percent, and CPU use in percent, of each running container."""
    samples = []
    for container in reading.containers:
        labels = (("container", container.name),)
        if container.usage is not None:
            samples.append(MetricSample("container_memory_bytes", container.usage.memory_bytes, labels))
            limit_bytes = container.usage.limit_bytes or reading.machine_bytes
            if limit_bytes:
                percent = container.usage.memory_bytes / limit_bytes * 100
                samples.append(MetricSample("container_memory_percent", percent, labels))
    cpu_percents = compute_cpu_percents(reading, previous)
    return samples + [
        MetricSample("container_cpu_percent", percent, (("container", name),)) for name, percent in cpu_percents.items()
    ]


def sample(reading: Reading, findings: Sequence[Finding]) -> dict[str, float]:
    """Return the memory of each container, and its limit where it has one, for the forecast to look back on."""
    values: dict[str, float] = {}
    for container in reading.containers:
        if container.usage:
            values[container.name] = container.usage.memory_bytes / MEGABYTE
            if container.usage.limit_bytes:
                values[container.name + LIMIT_SUFFIX] = container.usage.limit_bytes / MEGABYTE
    return values


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the CPU time of each run of a container, which the next pass compares with, and what it knows of all."""
    cpu_seconds = {
        _run_key(each): each.usage.cpu_seconds
        for each in reading.containers
        if each.usage and each.usage.cpu_seconds is not None
    }
    return {"monotonic_seconds": reading.monotonic_seconds, "cpu_seconds": cpu_seconds, "known": list(reading.known)}


def recall_containers(previous: Previous | None) -> list[Container]:
    """Return the containers as the last pass saw them; none where there was no pass since the machine started."""
    return from_memory(previous.memory.get("known")) if previous else []


def add_known(previous: Previous | None, containers: Sequence[Container], settings: Settings) -> dict[str, Any]:
    """Return what was remembered, with containers that have come since."""
    memory = previous.memory if previous else {}
    ids = {each.id for each in containers}
    known = [each for each in recall_containers(previous) if each.id not in ids]
    return {**memory, "known": to_memory(note_parts([*known, *containers], settings))}
