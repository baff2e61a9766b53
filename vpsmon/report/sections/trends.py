"""Memory, swap and pressure over the last 24 h, beside the 24 h before."""

from __future__ import annotations

from vpsmon.core.text import MEGABYTE, format_bytes
from vpsmon.report.facts import Facts, Unread, choose
from vpsmon.report.model import Trend
from vpsmon.report.timeline import EMPTY_DAY, Day, Measure, make_day

# Pressure of a few percent is a quiet machine, and must look like one.
_LEAST_PRESSURE_TOP = 20.0


def make_trends(facts: Facts) -> list[Trend]:
    """Return the three trends; memory and swap are what is used, in MB."""
    return [_make_memory(facts), _make_swap(facts), _make_pressure(facts)]


def _make_memory(facts: Facts) -> Trend:
    today, yesterday = _make_days(facts, Measure(_used_memory, _highest_used_memory))
    reading = facts.readings.get("memory")
    totals = [] if isinstance(facts.machine, Unread) else [each.values.get("total", 0.0) for each in facts.machine]
    if reading is None:
        reason = _reason(facts, "memory_available")
        return Trend("memory", None, today, yesterday, max(totals, default=0.0), _show_size, reason)
    # Memory may have been added meanwhile: both days are drawn to the size of the larger.
    top = max(reading.total_bytes / MEGABYTE, *totals, 0.0)
    used = (reading.total_bytes - reading.available_bytes) / MEGABYTE
    return Trend("memory", used, today, yesterday, top, _show_size)


def _used_memory(values: dict[str, float]) -> float | None:
    return values["total"] - values["available"] if {"total", "available"} <= values.keys() else None


def _highest_used_memory(values: dict[str, float]) -> float | None:
    if "total" not in values:
        return None
    lowest = values.get("available_low", values.get("available"))
    return None if lowest is None else values["total"] - lowest


def _make_swap(facts: Facts) -> Trend:
    today, yesterday = _make_days(facts, Measure(_used_swap, _highest_used_swap))
    reading = facts.readings.get("swap")
    total = reading.shortage.swap_total_bytes / MEGABYTE if reading else 0.0
    top = max(total, today.peak or 0.0, yesterday.peak or 0.0)
    if reading is None or not total:
        return Trend("swap", None, today, yesterday, top, _show_size, _reason(facts, "swap_usage"))
    used = (reading.shortage.swap_total_bytes - reading.shortage.swap_free_bytes) / MEGABYTE
    return Trend("swap", used, today, yesterday, top, _show_size)


def _used_swap(values: dict[str, float]) -> float | None:
    return values.get("swap_used")


def _highest_used_swap(values: dict[str, float]) -> float | None:
    return values.get("swap_used_high", values.get("swap_used"))


def _make_pressure(facts: Facts) -> Trend:
    today, yesterday = _make_days(facts, Measure(_score, _score))
    now = next((finding.value for finding in choose(facts.findings, "memory_pressure")), None)
    top = max(_LEAST_PRESSURE_TOP, today.peak or 0.0, yesterday.peak or 0.0)
    return Trend("pressure", now, today, yesterday, top, _show_score, _reason(facts, "memory_pressure"))


def _score(values: dict[str, float]) -> float | None:
    return values.get("score")


def _make_days(facts: Facts, measure: Measure) -> tuple[Day, Day]:
    if isinstance(facts.machine, Unread):
        return EMPTY_DAY, EMPTY_DAY
    return make_day(facts.machine, measure), make_day(facts.machine, measure, days_ago=1)


def _show_size(megabytes: float) -> str:
    return format_bytes(megabytes * MEGABYTE) if megabytes >= 0.05 else "0 MB"


def _show_score(score: float) -> str:
    return f"{score:.0f}" if score >= 10 or score == 0 else f"{score:.1f}"


def _reason(facts: Facts, check: str) -> str:
    rows = [finding for finding in choose(facts.findings, check) if finding.value is None or finding.reason]
    return next((f"{finding.message}: {finding.explain()}" for finding in rows), "")
