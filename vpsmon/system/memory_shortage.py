"""Whether memory is really short: what tells thrashing from swap that is merely used.

Swap-in and page-cache refaults are harmless by themselves (a service that wakes up, a large file read once). They are
thrashing when at the same time every task waits for memory (`full` pressure) and hardly any memory is available.
Measured on a 1 GB machine: thrashing showed `full` at 12 to 26 %, with 16 to 40 MB available.
"""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import MEGABYTE
from vpsmon.system.guest import read_own_pressure
from vpsmon.system.host import Host
from vpsmon.system.proc import pick, read_counters

_FULL_PRESSURE_PERCENT = 5.0
_LOW_SHARE_OF_TOTAL = 0.1
# Of the swap; above this the kernel evicts program code instead, and swap-in falls to nothing.
_NEARLY_FULL_SHARE = 0.9


class Shortage(NamedTuple):
    """What tells a real shortage; `full_percent` is None where the kernel does not report pressure."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int
    full_percent: float | None


def read_shortage(host: Host) -> Shortage:
    """Return memory, swap and pressure as they are now. Raises ReadError when /proc/meminfo cannot be read."""
    memory = read_counters(host, "meminfo")
    try:
        full_percent = read_own_pressure(host).full_average_percent
    except (NotApplicable, ReadError):
        full_percent = None
    return Shortage(
        pick(memory, "MemTotal", "/proc/meminfo"),
        pick(memory, "MemAvailable", "/proc/meminfo"),
        memory.get("SwapTotal", 0),
        memory.get("SwapFree", 0),
        full_percent,
    )


def is_swap_nearly_full(shortage: Shortage) -> bool:
    """Return whether there is no swap left to speak of; also true where there is none at all."""
    return shortage.swap_free_bytes <= shortage.swap_total_bytes * (1 - _NEARLY_FULL_SHARE)


def is_memory_short(shortage: Shortage, settings: Settings) -> bool:
    """Return whether little memory is available and every task waits for it.

    Where the kernel does not report pressure, nothing proves that tasks wait: then only memory that is critical counts.
    """
    if shortage.full_percent is None:
        return shortage.available_bytes < settings.MEMORY_CRITICAL_MB * MEGABYTE
    low_bytes = max(settings.MEMORY_WARNING_MB * MEGABYTE, shortage.total_bytes * _LOW_SHARE_OF_TOTAL)
    return shortage.available_bytes < low_bytes and shortage.full_percent >= _FULL_PRESSURE_PERCENT
