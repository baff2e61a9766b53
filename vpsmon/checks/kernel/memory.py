"""memory_available: what the kernel can still hand out without swapping (MemAvailable of /proc/meminfo).

On a 1 GB server this is the number that runs out first. Needs Linux 3.14 or newer.
"""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.checks._limits import judge_below
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous
from vpsmon.core.text import MEGABYTE, format_bytes
from vpsmon.system.host import Host
from vpsmon.system.proc import pick, read_counters

ROWS = {"memory_available": "bytes"}
METRICS = {
    "vpsmon_memory_available_bytes": "Memory that the kernel can hand out without swapping (MemAvailable).",
    "vpsmon_memory_total_bytes": "Memory of the machine (MemTotal).",
}


class Reading(NamedTuple):
    """Memory of the machine in bytes."""

    total_bytes: int
    available_bytes: int


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return MemTotal and MemAvailable. Raises ReadError."""
    memory = read_counters(host, "meminfo")
    return Reading(pick(memory, "MemTotal", "/proc/meminfo"), pick(memory, "MemAvailable", "/proc/meminfo"))


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding that is worse the less memory is available."""
    judgement = judge_below(reading.available_bytes / MEGABYTE, settings.MEMORY_WARNING_MB, settings.MEMORY_CRITICAL_MB)
    message = f"{format_bytes(reading.available_bytes)} of {format_bytes(reading.total_bytes)} memory available"
    if judgement.status != "ok":
        message += f", {judgement.status} below {format_bytes(judgement.limit * MEGABYTE)}"
    return [
        Finding(
            check="memory_available",
            status=judgement.status,
            message=message,
            value=reading.available_bytes,
            advice="stop or restart what has grown, or give the machine more memory",
            is_clear=judgement.is_clear,
            names_consumers=True,
        )
    ]


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return available and total memory in bytes."""
    return [
        MetricSample("vpsmon_memory_available_bytes", reading.available_bytes),
        MetricSample("vpsmon_memory_total_bytes", reading.total_bytes),
    ]
