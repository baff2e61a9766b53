"""Rates from counters of pages: what moved since the previous pass, over the real time between the two."""

from __future__ import annotations

from vpsmon.core.findings import Previous
from vpsmon.system.proc import PAGE_BYTES

NO_PREVIOUS = "a rate compares with the pass before, and there is none"


def compute_rate(pages: int | None, name: str, previous: Previous | None) -> float | None:
    """Return kB (1024 bytes) a second since the previous pass, or None where there is nothing to compare with."""
    before = previous.memory.get(name) if previous else None
    if previous is None or pages is None or not isinstance(before, int) or before > pages:
        return None
    return (pages - before) * PAGE_BYTES / 1024 / previous.elapsed_seconds
