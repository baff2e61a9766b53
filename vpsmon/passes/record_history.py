"""Turns what a stage of a pass found into samples of the history."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, ReadError
from vpsmon.core.text import MEGABYTE
from vpsmon.passes.run_check import Attempt
from vpsmon.system.host import Host
from vpsmon.system.proc import pick, read_boot_id, read_counters
from vpsmon.trends.history import open_history
from vpsmon.trends.samples import CONTAINERS, DISK_PREFIX, LIMIT_SUFFIX, MACHINE, Sample

_NAMES_OF_ROWS = {"memory_pressure": "score", "swap_in": "swap_in", "swap_out": "swap_out"}


def record_stage(
    host: Host, folder: str, settings: Settings, attempts: Sequence[Attempt], findings: Sequence[Finding]
) -> None:
    """Add what this stage knows to the history. The caller holds the lock of the folder."""
    rows = {row for attempt in attempts for row in attempt.check.ROWS}
    # A full disk or a broken folder is said by the state that is written next to it; a pass does not end for a sample.
    with contextlib.suppress(OSError, ReadError):
        if "memory_available" in rows:
            _record(host, folder, MACHINE, measure_machine(host, settings, findings))
    with contextlib.suppress(OSError):
        for attempt in attempts:
            if "container_memory" in attempt.check.ROWS and attempt.reading is not None:
                _record(host, folder, CONTAINERS, measure_containers(attempt.reading.containers))


def _record(host: Host, folder: str, kind: str, values: Mapping[str, float]) -> None:
    if values:
        numbers = {name: round(value, 1) for name, value in values.items()}
        sample = Sample(host.wall_seconds(), host.monotonic_seconds(), read_boot_id(host), numbers)
        open_history(host, folder).record(kind, sample)


def measure_machine(host: Host, settings: Settings, findings: Sequence[Finding]) -> dict[str, float]:
    """Return the numbers of the machine sample, sizes in MB. Raises ReadError."""
    memory = read_counters(host, "meminfo")
    available, swap_free = pick(memory, "MemAvailable", "/proc/meminfo"), memory.get("SwapFree", 0)
    sizes = {
        "free": available + swap_free,
        "available": available,
        "swap_used": memory.get("SwapTotal", 0) - swap_free,
        "total": memory.get("MemTotal", 0),
    }
    for path in settings.DISK_PATHS:
        with contextlib.suppress(OSError, ValueError):
            sizes[DISK_PREFIX + path] = host.read_disk_space(path).available_bytes
    values = {name: size / MEGABYTE for name, size in sizes.items()}
    for finding in findings:
        if finding.check in _NAMES_OF_ROWS and finding.value is not None:
            values[_NAMES_OF_ROWS[finding.check]] = finding.value
    return values


def measure_containers(containers: Sequence[Any]) -> dict[str, float]:
    """Return the memory of each container in MB, and its limit where it has one.

    They are of checks/stack/container_memory.py, whose imports are too heavy for the kernel stage.
    """
    values: dict[str, float] = {}
    for container in containers:
        if container.usage:
            values[container.name] = container.usage.memory_bytes / MEGABYTE
            if container.usage.limit_bytes:
                values[container.name + LIMIT_SUFFIX] = container.usage.limit_bytes / MEGABYTE
    return values
