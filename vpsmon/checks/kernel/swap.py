"""swap_usage, swap_in, swap_out: how full swap is, and how much moves (/proc/meminfo, /proc/vmstat).

Swap that is used is no symptom; pages that keep coming back are. `pswpin` and `pswpout` count pages since boot.
Not applicable where no swap is configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.checks._rates import NO_PREVIOUS, compute_rate
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, Status, ok, skipped
from vpsmon.core.text import MEGABYTE, format_bytes
from vpsmon.system.guest import HOST_ONLY, find_guest, read_memory_counters
from vpsmon.system.host import Host
from vpsmon.system.memory_shortage import Shortage, is_memory_short, read_shortage
from vpsmon.system.proc import pick
from vpsmon.trends.samples import MACHINE

ROWS = {"swap_usage": "bytes", "swap_in": "kB/s", "swap_out": "kB/s"}
GROUP = "memory"
ROWS_OF_SHORTAGE = ("swap_in",)
ROWS_BEYOND_REPAIR = ("swap_usage",)
METRICS = {
    "swap_total_bytes": "Swap of the machine; 0 where none is configured.",
    "swap_used_bytes": "Swap in use.",
    "swap_swapin_rate": "Read back from swap since the export before, in kB (1024 bytes) a second.",
    "swap_swapout_rate": "Written to swap since the export before, in kB (1024 bytes) a second.",
}
HISTORY = MACHINE
# A swap smaller than the limits would fill up unseen; this full it is worth a word whatever its size.
_WARNING_SHARE = 0.9
_CRITICAL_SHARE = 0.98
_NO_SWAP = "none is configured; a swap file as large as the memory gives time to react (mkswap, swapon)"


class Reading(NamedTuple):
    """Swap of the machine, and the pages that moved since boot."""

    shortage: Shortage
    # None in a guest whose kernel counts them for the whole host only.
    pages_in: int | None
    pages_out: int | None


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return swap usage and the swap counters. Raises ReadError."""
    counters = read_memory_counters(host)
    if find_guest(host):
        return Reading(read_shortage(host), counters.get("pswpin"), counters.get("pswpout"))
    return Reading(
        read_shortage(host), pick(counters, "pswpin", "/proc/vmstat"), pick(counters, "pswpout", "/proc/vmstat")
    )


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return how full swap is and both rates."""
    if reading.shortage.swap_total_bytes == 0:
        usage = skipped("swap_usage", "no swap", _NO_SWAP, value=0)
        rates = ("swap_in", "swap_out")
        return [usage, *(skipped(name, "no swap", _NO_SWAP) for name in rates)]
    return [
        _judge_usage(reading.shortage, settings),
        _judge_swap_in(reading, settings, previous),
        _judge_swap_out(reading, previous),
    ]


def _judge_usage(shortage: Shortage, settings: Settings) -> Finding:
    total_mb = shortage.swap_total_bytes / MEGABYTE
    used_bytes = shortage.swap_total_bytes - shortage.swap_free_bytes
    judgement = judge_above(
        used_bytes / MEGABYTE,
        min(settings.SWAP_WARNING_MB, total_mb * _WARNING_SHARE),
        min(settings.SWAP_THRESHOLD_MB, total_mb * _CRITICAL_SHARE),
    )
    message = f"{format_bytes(used_bytes)} of {format_bytes(shortage.swap_total_bytes)} swap used"
    if judgement.status != "ok":
        message += f", {judgement.status} above {format_bytes(judgement.limit * MEGABYTE)}"
    return Finding(
        check="swap_usage",
        status=judgement.status,
        message=message,
        value=used_bytes,
        advice="when swap is full the machine can freeze without warning: stop or restart what has grown",
        is_clear=judgement.is_clear,
        names_consumers=True,
    )


def _judge_swap_in(reading: Reading, settings: Settings, previous: Previous | None) -> Finding:
    rate = compute_rate(reading.pages_in, "pages_in", previous)
    if rate is None:
        return _skip_rate("swap_in", reading.pages_in)
    judgement = judge_above(rate, settings.SWAP_THRASH_KB_S, float("inf"))
    status: Status = judgement.status
    message = f"{rate:.0f} kB/s read back from swap"
    if status != "ok":
        message += f", warning above {settings.SWAP_THRASH_KB_S:g} kB/s"
    if status != "ok" and is_memory_short(reading.shortage, settings):
        status = "critical"
        message += ", and memory is short: the machine is thrashing"
    return Finding(
        check="swap_in",
        status=status,
        message=message,
        value=round(rate, 1),
        advice="stop what can be spared now, the largest processes first",
        is_clear=judgement.is_clear,
        names_consumers=True,
    )


def _judge_swap_out(reading: Reading, previous: Previous | None) -> Finding:
    """Never more than a row: the kernel moves idle pages out to make room, which is what swap is for."""
    rate = compute_rate(reading.pages_out, "pages_out", previous)
    if rate is None:
        return _skip_rate("swap_out", reading.pages_out)
    return ok("swap_out", f"{rate:.0f} kB/s written to swap", value=round(rate, 1))


def _skip_rate(check: str, pages: int | None) -> Finding:
    return skipped(check, "no rate yet", NO_PREVIOUS) if pages is not None else skipped(check, "no rate", HOST_ONLY)


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return total and used swap in bytes, and the rates in kB a second where there is something to compare with."""
    shortage = reading.shortage
    rates = {
        "swap_swapin_rate": compute_rate(reading.pages_in, "pages_in", previous),
        "swap_swapout_rate": compute_rate(reading.pages_out, "pages_out", previous),
    }
    return [
        MetricSample("swap_total_bytes", shortage.swap_total_bytes),
        MetricSample("swap_used_bytes", shortage.swap_total_bytes - shortage.swap_free_bytes),
        *(MetricSample(name, rate) for name, rate in rates.items() if rate is not None),
    ]


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the counters that the next pass compares with."""
    return {"pages_in": reading.pages_in, "pages_out": reading.pages_out}


def sample(reading: Reading, findings: Sequence[Finding]) -> dict[str, float]:
    """Return both rates for the report to look back on; how full swap is stands beside the memory."""
    rates = (finding for finding in findings if finding.unit == "kB/s")
    return {finding.check: finding.value for finding in rates if finding.value is not None}
