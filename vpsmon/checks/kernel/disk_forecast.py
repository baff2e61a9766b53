"""disk_forecast: how many days until a disk of DISK_PATHS is full, or has no inode left, at its present trend.

Method and sources: vpsmon/trends/forecast.py. A disk that fills within FORECAST_WARNING_HOURS is a finding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks._forecast_common import NO_HISTORY, describe_end, is_calm, judge_end, note_trend, read_tails
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Previous, ok, skipped
from vpsmon.core.text import clean
from vpsmon.system.host import Host
from vpsmon.trends.forecast import Plan, Trend, find_trend
from vpsmon.trends.history import Tails, make_series
from vpsmon.trends.samples import DISK_PREFIX, INODES_PREFIX, MACHINE

ROWS = {"disk_forecast": "days"}
GROUP = "disks"
ROWS_BEYOND_REPAIR = ("disk_forecast",)
_PREFIXES = (DISK_PREFIX, INODES_PREFIX)
PLAN = Plan((128, 64, 24, 8, 3, 1), 12)
# A disk is slower than memory: its latest passes are enough.
LATEST_PASSES = 12


class Disk(NamedTuple):
    """What was free of a disk at the newest sample, and where that and its free inodes lead."""

    free_mb: float
    trend: Trend | None
    inodes: Trend | None = None


class Reading(NamedTuple):
    """The disks of the newest sample of this boot, which is that of the previous pass, by path."""

    disks: dict[str, Disk]
    wall_seconds: float
    monotonic_seconds: float


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return where the disks of the history are going. Raises NotApplicable, OSError."""
    return make_reading(read_tails(host, MACHINE), host.wall_seconds(), host.monotonic_seconds())


def make_reading(tails: Tails, wall_seconds: float, monotonic_seconds: float) -> Reading:
    """Return a reading of what the history holds."""
    tails = tails._replace(passes=tails.passes[-LATEST_PASSES:])
    newest = tails.passes[-1].values if tails.passes else {}
    disks = {
        path: Disk(newest[DISK_PREFIX + path], *[_find_trend(tails, prefix + path) for prefix in _PREFIXES])
        for path in sorted(name.removeprefix(DISK_PREFIX) for name in newest if name.startswith(DISK_PREFIX))
    }
    return Reading(disks, wall_seconds, monotonic_seconds)


def _find_trend(tails: Tails, name: str) -> Trend | None:
    return find_trend(make_series(tails, name), PLAN)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding for each path."""
    if not reading.disks:
        return [skipped("disk_forecast", "no history yet", NO_HISTORY)]
    memory = previous.memory if previous else {}
    return [_judge_disk(path, disk, reading, settings, memory.get(path)) for path, disk in reading.disks.items()]


def _judge_disk(path: str, disk: Disk, reading: Reading, settings: Settings, last: dict[str, float] | None) -> Finding:
    trend = min(filter(None, disk[1:]), key=lambda each: each.hours_left, default=None)
    if trend is None:
        is_clear = is_calm(last, reading.monotonic_seconds, disk.free_mb)
        return ok("disk_forecast", "no trend", object=clean(path), is_clear=is_clear)
    judgement = judge_end(trend, settings)
    end = describe_end(trend, reading.wall_seconds)
    message = f"at this rate disk {clean(path)} is full in {end}, {-trend.per_hour:+.0f} MB/h"
    advice = "see what fills it: du -xh --max-depth=2 / | sort -h | tail; docker system df"
    if trend is disk.inodes:
        message = f"at this rate disk {clean(path)} has no inode left in {end}, {-trend.per_hour * 1000:+.0f} files/h"
        advice = "see where the many files are: du -x --inodes --max-depth=3 / | sort -n | tail"
    return Finding(
        check="disk_forecast",
        status=judgement.status,
        message=message,
        object=clean(path),
        value=round(trend.hours_left / 24, 2),
        advice=advice,
        is_clear=judgement.is_clear,
    )


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return by path when there was a trend last, and what was free then."""
    before = previous.memory if previous else {}
    return {
        path: note_trend(any(disk[1:]), reading.monotonic_seconds, disk.free_mb, before.get(path))
        for path, disk in reading.disks.items()
    }
