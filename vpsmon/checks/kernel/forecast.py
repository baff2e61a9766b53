"""memory_forecast: how long until memory and swap are used up, and until a container reaches its limit.

Method and sources: vpsmon/trends/forecast.py. Looks back on the history of this boot (vpsmon/trends/history.py).
"no trend" is the healthy answer, and the only one during the first minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_below
from vpsmon.checks._outlook import describe_end, read_tails
from vpsmon.findings import Finding, MetricSample, Previous
from vpsmon.host import Host
from vpsmon.proc import pick, read_counters
from vpsmon.settings import Settings
from vpsmon.text import clean
from vpsmon.trends.forecast import Plan, Trend, find_trend
from vpsmon.trends.history import Tails, make_series
from vpsmon.trends.samples import CONTAINERS, LIMIT_SUFFIX, MACHINE
from vpsmon.trends.series import Point, Series

ROWS = {"memory_forecast": "hours"}
METRICS = {"vpsmon_memory_forecast_hours": "Hours until memory and swap run out; absent where there is no trend."}
_MEGABYTE = 1024 * 1024
_MOST_NAMED = 3
_MOST_CONTAINERS = 20
# Containers are many and grow over hours: the finer steps are for the machine as a whole.
_CONTAINER_PLAN = Plan((48, 24, 8, 3, 1, 0.2, 0.1), 12)
# A container that has not been seen for so long has ended, or Docker does not answer.
_STALE_SECONDS = 900
_LEAST_GROWTH_MB = 5
# An alert ends only after so long without a bad forecast: a trend is not gone because one pass is not sure of it.
_CALM_SECONDS = 3600
_MUCH_FREED = 1.3


class Reading(NamedTuple):
    """What is free of memory and swap up to now and where it leads, and the samples of this boot before."""

    free: Series
    trend: Trend | None
    machine: Tails
    containers: Tails
    wall_seconds: float
    monotonic_seconds: float


class Growth(NamedTuple):
    """A container that grows: how fast, and the hours until its own limit where it has one."""

    name: str
    mb_per_hour: float
    hours_left: float | None


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return what is free now and what was before. Raises NotApplicable, ReadError, OSError."""
    memory = read_counters(host, "meminfo")
    free_bytes = pick(memory, "MemAvailable", "/proc/meminfo") + memory.get("SwapFree", 0)
    machine, containers = read_tails(host, MACHINE), read_tails(host, CONTAINERS)
    return make_reading(free_bytes / _MEGABYTE, machine, containers, host.wall_seconds(), host.monotonic_seconds())


def make_reading(
    free_mb: float, machine: Tails, containers: Tails, wall_seconds: float, monotonic_seconds: float
) -> Reading:
    """Return a reading whose series of free memory ends with what is free now."""
    series = make_series(machine, "free")
    now = Point(monotonic_seconds / 3600, free_mb, free_mb, free_mb)
    free = series._replace(passes=(*series.passes, now))
    return Reading(free, find_trend(free), machine, containers, wall_seconds, monotonic_seconds)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return the forecast of the machine, and of each container with a limit."""
    # Who grows without a limit is only told with the end of the machine's memory.
    growing = find_growing(reading, only_limited=reading.trend is None)
    return [
        judge_machine(reading, growing, settings, previous),
        *_judge_containers(reading, growing, settings),
    ]


def find_growing(reading: Reading, only_limited: bool = False) -> list[Growth]:
    """Return the containers that grow, the fastest first; on demand only of those that have a limit."""
    growing = []
    for name, limit_mb in _find_running(reading).items():
        if only_limited and limit_mb is None:
            continue
        series = make_series(reading.containers, name, limit_mb or 0.0)
        trend = find_trend(series, _CONTAINER_PLAN, has_end=limit_mb is not None)
        if trend and -trend.per_hour * trend.seen_hours >= _LEAST_GROWTH_MB:
            growing.append(Growth(name, -trend.per_hour, trend.hours_left))
    return sorted(growing, key=lambda growth: -growth.mb_per_hour)


def _find_running(reading: Reading) -> dict[str, float | None]:
    """Return the containers of the newest sample with their limits in MB, the largest first."""
    newest = reading.containers.passes[-1:]
    if not newest or reading.monotonic_seconds - newest[0].monotonic_seconds > _STALE_SECONDS:
        return {}
    values = newest[0].values
    names = [name for name in values if not name.endswith(LIMIT_SUFFIX)]
    names.sort(key=lambda name: -values[name])
    return {name: values.get(name + LIMIT_SUFFIX) for name in names[:_MOST_CONTAINERS]}


def judge_machine(
    reading: Reading, growing: Sequence[Growth], settings: Settings, previous: Previous | None
) -> Finding:
    """Return the row of the whole machine."""
    trend = reading.trend
    if trend is None:
        return Finding("memory_forecast", None, "ok", None, "hours", "no trend", is_clear=_is_calm(reading, previous))
    judgement = judge_below(trend.hours_left, settings.FORECAST_WARNING_HOURS, settings.FORECAST_CRITICAL_HOURS)
    message = f"at this rate memory and swap run out in {describe_end(trend.hours_left, reading.wall_seconds)}"
    if growing:
        named = [f"{growth.name} +{growth.mb_per_hour:.{_digits(growth.mb_per_hour)}f} MB/h" for growth in growing]
        message += "; growing: " + ", ".join(named[:_MOST_NAMED])
    return Finding(
        "memory_forecast",
        None,
        judgement.status,
        round(trend.hours_left, 2),
        "hours",
        message,
        advice="restart what grows at a time that suits you, before it runs out; docker stats shows it",
        is_clear=judgement.is_clear,
        names_consumers=not growing,
    )


def _digits(number: float) -> int:
    return 0 if number >= 10 else 1


def _judge_containers(reading: Reading, growing: Sequence[Growth], settings: Settings) -> list[Finding]:
    """Return a row for each container that has a limit, so that an alert of it can end."""
    hours_left = {growth.name: growth for growth in growing}
    return [
        _judge_container(name, hours_left.get(name), limit_mb, reading, settings)
        for name, limit_mb in _find_running(reading).items()
        if limit_mb is not None
    ]


def _judge_container(
    name: str, growth: Growth | None, limit_mb: float, reading: Reading, settings: Settings
) -> Finding:
    if growth is None or growth.hours_left is None:
        return Finding("memory_forecast", clean(name), "ok", None, "hours", "no trend")
    judgement = judge_below(growth.hours_left, settings.FORECAST_WARNING_HOURS, settings.FORECAST_CRITICAL_HOURS)
    message = (
        f"at this rate {clean(name)} reaches its limit of {limit_mb:.0f} MB in "
        f"{describe_end(growth.hours_left, reading.wall_seconds)}, +{growth.mb_per_hour:.1f} MB/h"
    )
    return Finding(
        "memory_forecast",
        clean(name),
        judgement.status,
        round(growth.hours_left, 2),
        "hours",
        message,
        advice="at its limit the kernel ends its processes: restart it before, or give it a higher limit (mem_limit)",
        is_clear=judgement.is_clear,
    )


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the hours left of the machine, where there is a trend."""
    trend = reading.trend
    return [MetricSample("vpsmon_memory_forecast_hours", trend.hours_left)] if trend else []


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return when there was a trend last, and what was free then."""
    if reading.trend:
        return {"monotonic_seconds": reading.monotonic_seconds, "free_mb": reading.free.passes[-1].middle}
    return previous.memory if previous else {}


def _is_calm(reading: Reading, previous: Previous | None) -> bool:
    """Return whether the latest trend is long ago, or a restart has freed much since."""
    memory = previous.memory if previous else {}
    if not memory:
        return True
    calm_seconds = reading.monotonic_seconds - float(memory["monotonic_seconds"])
    return calm_seconds >= _CALM_SECONDS or reading.free.passes[-1].middle > float(memory["free_mb"]) * _MUCH_FREED
