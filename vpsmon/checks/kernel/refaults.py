"""file_refaults: program code and files that the kernel threw out of memory and had to read again (/proc/vmstat).

Once swap is full, thrashing no longer shows as swap-in: the kernel evicts program code instead and reads it again
without end, no OOM kill comes, and the machine answers nothing for good. `workingset_refault_file` counts those pages
since boot (`workingset_refault` before Linux 5.9). Reading large files refaults too and does no harm, so this is a
finding only while swap is nearly full and memory is short.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.checks._rates import NO_PREVIOUS, compute_rate
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, NotApplicable, Previous, Status, skipped
from vpsmon.system.guest import HOST_ONLY, find_guest, read_memory_counters
from vpsmon.system.host import Host
from vpsmon.system.memory_shortage import Shortage, is_memory_short, is_swap_nearly_full, read_shortage

ROWS = {"file_refaults": "kB/s"}
GROUP = "memory"
ROWS_OF_SHORTAGE = ("file_refaults",)
_COUNTERS = ("workingset_refault_file", "workingset_refault")


class Reading(NamedTuple):
    """Pages re-read since boot, and what tells whether memory is short."""

    shortage: Shortage
    pages: int


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the refault counter. Raises NotApplicable on kernels before 3.15, else ReadError."""
    counters = read_memory_counters(host)
    pages = next((counters[name] for name in _COUNTERS if name in counters), None)
    if pages is None:
        if find_guest(host):
            raise NotApplicable(HOST_ONLY)
        raise NotApplicable("the kernel does not count refaults: needs Linux 3.15 or newer")
    return Reading(read_shortage(host), pages)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return the rate; a warning when it is high and swap nearly full, critical when memory is short as well."""
    rate = compute_rate(reading.pages, "pages", previous)
    if rate is None:
        return [skipped("file_refaults", "no rate yet", NO_PREVIOUS)]
    judgement = judge_above(rate, settings.SWAP_THRASH_KB_S, float("inf"))
    status: Status = "ok"
    message = f"{rate:.0f} kB/s of files read again after eviction"
    if judgement.status != "ok" and is_swap_nearly_full(reading.shortage):
        is_short = is_memory_short(reading.shortage, settings)
        has_swap = reading.shortage.swap_total_bytes > 0
        status = "critical" if is_short else "warning" if has_swap else "ok"
    if status != "ok":
        message += f", above {settings.SWAP_THRASH_KB_S:g} kB/s with no swap left"
    if status == "critical":
        message += ": the machine is about to freeze"
    return [
        Finding(
            check="file_refaults",
            status=status,
            message=message,
            value=round(rate, 1),
            advice="stop what can be spared now, the largest processes first",
            is_clear=judgement.is_clear or not is_swap_nearly_full(reading.shortage),
            names_consumers=True,
        )
    ]


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the counter that the next pass compares with."""
    return {"pages": reading.pages}
