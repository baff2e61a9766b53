"""memory_available: what the kernel can still hand out without swapping (MemAvailable of /proc/meminfo).

On a 1 GB server this is the number that runs out first. Needs Linux 3.14 or newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.checks._limits import judge_below
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous
from vpsmon.core.text import MEGABYTE, format_bytes
from vpsmon.system.host import Host
from vpsmon.system.proc import pick, read_counters
from vpsmon.trends.samples import MACHINE

ROWS = {"memory_available": "bytes"}
GROUP = "memory"
ROWS_OF_SHORTAGE = ("memory_available",)
METRICS = {
    "vpsmon_memory_available_bytes": "Memory that the kernel can hand out without swapping (MemAvailable).",
    "vpsmon_memory_total_bytes": "Memory of the machine (MemTotal).",
}
HISTORY = MACHINE


class Reading(NamedTuple):
    """Memory of the machine in bytes; swap is for the history, where what is left of both counts."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return MemTotal, MemAvailable, and swap. Raises ReadError."""
    memory = read_counters(host, "meminfo")
    total_bytes, available_bytes = (pick(memory, name, "/proc/meminfo") for name in ("MemTotal", "MemAvailable"))
    return Reading(total_bytes, available_bytes, memory.get("SwapTotal", 0), memory.get("SwapFree", 0))


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


def sample(reading: Reading, findings: Sequence[Finding]) -> dict[str, float]:
    """Return what the forecasts and the report look back on."""
    sizes = {
        "free": reading.available_bytes + reading.swap_free_bytes,
        "available": reading.available_bytes,
        "swap_used": reading.swap_total_bytes - reading.swap_free_bytes,
        "total": reading.total_bytes,
    }
    return {name: size / MEGABYTE for name, size in sizes.items()}
