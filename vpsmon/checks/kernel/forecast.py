"""memory_forecast: how long until memory and swap are used up, and until a container reaches its limit.

Method and sources: vpsmon/trends/forecast.py. Looks back on the history of this boot (vpsmon/trends/history.py).
"no trend" is the healthy answer, and the only one during the first minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vpsmon.checks._forecast_common import describe_end, is_calm, judge_end, note_trend, read_tails
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, ok
from vpsmon.core.text import MEGABYTE, clean
from vpsmon.system.host import Host
from vpsmon.system.proc import pick, read_counters
from vpsmon.trends.forecast import Plan, Trend, find_trend
from vpsmon.trends.history import Tails, make_series
from vpsmon.trends.samples import CONTAINERS, LIMIT_SUFFIX, MACHINE
from vpsmon.trends.series import Point, Series

ROWS = {"memory_forecast": "hours"}
GROUP = "memory"
ROWS_BEYOND_REPAIR = ("memory_forecast",)
METRICS = {"vpsmon_memory_forecast_hours": "Hours until memory and swap run out; absent where there is no trend."}
_MOST_NAMED = 3
_MOST_CONTAINERS = 20
# Containers are many and grow over hours: the finer steps are for the machine as a whole.
CONTAINER_PLAN = Plan((48, 24, 8, 3, 1, 0.2, 0.1), 12)
# A container that has not been seen for so long has ended, or Docker does not answer.
_STALE_SECONDS = 900
_LEAST_GROWTH_MB = 5


class Growth(NamedTuple):
    """A container that grows: how fast, and its way to its own limit where it has one."""

    name: str
    mb_per_hour: float
    to_limit: Trend | None


class Reading(NamedTuple):
    """What is free of memory and swap up to now and where it leads, who grows, and the samples of this boot before."""

    free: Series
    trend: Trend | None
    # Who grows without a limit is only told with the end of the machine's memory, and else not among them.
    growing: list[Growth]
    containers: Tails
    wall_seconds: float
    monotonic_seconds: float

    @property
    def free_mb(self) -> float:
        """What is free now."""
        return self.free.passes[-1].middle


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return what is free now and what was before. Raises NotApplicable, ReadError, OSError."""
    memory = read_counters(host, "meminfo")
    free_bytes = pick(memory, "MemAvailable", "/proc/meminfo") + memory.get("SwapFree", 0)
    machine, containers = read_tails(host, MACHINE), read_tails(host, CONTAINERS)
    return make_reading(free_bytes / MEGABYTE, machine, containers, host.wall_seconds(), host.monotonic_seconds())


def make_reading(
    free_mb: float, machine: Tails, containers: Tails, wall_seconds: float, monotonic_seconds: float
) -> Reading:
    """Return a reading whose series of free memory ends with what is free now."""
    series = make_series(machine, "free")
    now = Point(monotonic_seconds / 3600, free_mb, free_mb, free_mb)
    free = series._replace(passes=(*series.passes, now))
    trend = find_trend(free)
    growing = find_growing(containers, monotonic_seconds, only_limited=trend is None)
    return Reading(free, trend, growing, containers, wall_seconds, monotonic_seconds)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return the forecast of the machine, and of each container with a limit."""
    memory = previous.memory if previous else {}
    return [judge_machine(reading, settings, memory), *_judge_containers(reading, settings, memory)]


def find_growing(containers: Tails, monotonic_seconds: float, only_limited: bool = False) -> list[Growth]:
    """Return the containers that grow, the fastest first; on demand only of those that have a limit."""
    growing = []
    for name, limit_mb in _find_running(containers, monotonic_seconds).items():
        if only_limited and limit_mb is None:
            continue
        series = make_series(containers, name, limit_mb or 0.0)
        trend = find_trend(series, CONTAINER_PLAN, has_end=limit_mb is not None)
        if trend and -trend.per_hour * trend.seen_hours >= _LEAST_GROWTH_MB:
            growing.append(Growth(name, -trend.per_hour, trend if limit_mb is not None else None))
    return sorted(growing, key=lambda growth: -growth.mb_per_hour)


def _find_running(containers: Tails, monotonic_seconds: float) -> dict[str, float | None]:
    """Return the containers of the newest sample with their limits in MB, the largest first."""
    newest = containers.passes[-1:]
    if not newest or monotonic_seconds - newest[0].monotonic_seconds > _STALE_SECONDS:
        return {}
    values = newest[0].values
    names = [name for name in values if not name.endswith(LIMIT_SUFFIX)]
    names.sort(key=lambda name: -values[name])
    return {name: values.get(name + LIMIT_SUFFIX) for name in names[:_MOST_CONTAINERS]}


def judge_machine(reading: Reading, settings: Settings, memory: Mapping[str, Any]) -> Finding:
    """Return the row of the whole machine."""
    trend, growing = reading.trend, reading.growing
    if trend is None:
        is_clear = is_calm(memory.get("machine"), reading.monotonic_seconds, reading.free_mb)
        return ok("memory_forecast", "no trend", is_clear=is_clear)
    judgement = judge_end(trend, settings)
    message = f"at this rate memory and swap run out in {describe_end(trend, reading.wall_seconds)}"
    if growing:
        named = [f"{growth.name} +{growth.mb_per_hour:.{_digits(growth.mb_per_hour)}f} MB/h" for growth in growing]
        message += "; growing: " + ", ".join(named[:_MOST_NAMED])
    return Finding(
        check="memory_forecast",
        status=judgement.status,
        message=message,
        value=round(trend.hours_left, 2),
        advice="restart what grows before memory runs out, at a time that suits you; docker stats shows it",
        is_clear=judgement.is_clear,
        names_consumers=not growing,
    )


def _digits(number: float) -> int:
    return 0 if number >= 10 else 1


class _Limited(NamedTuple):
    """A container with a limit, and where it goes."""

    name: str
    limit_mb: float
    free_mb: float
    growth: Growth | None


def _list_limited(reading: Reading) -> list[_Limited]:
    growths = {growth.name: growth for growth in reading.growing if growth.to_limit}
    running = _find_running(reading.containers, reading.monotonic_seconds)
    values = reading.containers.passes[-1].values if running else {}
    return [
        _Limited(name, limit_mb, limit_mb - values[name], growths.get(name))
        for name, limit_mb in running.items()
        if limit_mb is not None
    ]


def _judge_containers(reading: Reading, settings: Settings, memory: Mapping[str, Any]) -> list[Finding]:
    """Return a row for each container that has a limit, so that an alert of it can end."""
    last = memory.get("containers", {})
    return [_judge_container(each, reading, settings, last.get(each.name)) for each in _list_limited(reading)]


def _judge_container(
    container: _Limited, reading: Reading, settings: Settings, last: dict[str, float] | None
) -> Finding:
    name, limit_mb, free_mb, growth = container
    if growth is None or growth.to_limit is None:
        is_clear = is_calm(last, reading.monotonic_seconds, free_mb)
        return ok("memory_forecast", "no trend", object=clean(name), is_clear=is_clear)
    judgement = judge_end(growth.to_limit, settings)
    message = (
        f"at this rate {clean(name)} reaches its limit of {limit_mb:.0f} MB in "
        f"{describe_end(growth.to_limit, reading.wall_seconds)}, +{growth.mb_per_hour:.1f} MB/h"
    )
    return Finding(
        check="memory_forecast",
        status=judgement.status,
        message=message,
        object=clean(name),
        value=round(growth.to_limit.hours_left, 2),
        advice="at its limit the kernel kills its processes: restart it before, or give it a higher limit (mem_limit)",
        is_clear=judgement.is_clear,
    )


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the hours left of the machine, where there is a trend."""
    trend = reading.trend
    return [MetricSample("vpsmon_memory_forecast_hours", trend.hours_left)] if trend else []


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return when the machine and each container with a limit had a trend last, and what was free then."""
    now, memory = reading.monotonic_seconds, previous.memory if previous else {}
    before = memory.get("containers", {})
    return {
        "machine": note_trend(reading.trend is not None, now, reading.free_mb, memory.get("machine")),
        "containers": {
            each.name: note_trend(each.growth is not None, now, each.free_mb, before.get(each.name))
            for each in _list_limited(reading)
        },
    }
