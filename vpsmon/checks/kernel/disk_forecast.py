"""disk_forecast: how many days until a disk of DISK_PATHS is full at its present trend.

Method and sources: vpsmon/trends/forecast.py. A disk that fills within FORECAST_WARNING_HOURS is a finding.
"""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.checks._limits import judge_below
from vpsmon.checks._outlook import NO_HISTORY, describe_end, read_tails
from vpsmon.findings import Finding, Previous
from vpsmon.host import Host
from vpsmon.settings import Settings
from vpsmon.text import clean
from vpsmon.trends.forecast import Plan, find_trend
from vpsmon.trends.history import Tails, make_series
from vpsmon.trends.samples import DISK_PREFIX, MACHINE

ROWS = {"disk_forecast": "days"}
_PLAN = Plan((128, 64, 24, 8, 3, 1), 12)
# A disk is slower than memory: its latest passes are enough.
_LATEST_PASSES = 12


class Reading(NamedTuple):
    """The samples of this boot; the newest is that of the previous pass."""

    machine: Tails
    wall_seconds: float


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the history. Raises NotApplicable, OSError."""
    tails = read_tails(host, MACHINE)
    return Reading(tails._replace(passes=tails.passes[-_LATEST_PASSES:]), host.wall_seconds())


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding for each path of the newest sample."""
    newest = reading.machine.passes[-1].values if reading.machine.passes else {}
    paths = sorted(name.removeprefix(DISK_PREFIX) for name in newest if name.startswith(DISK_PREFIX))
    if not paths:
        return [Finding("disk_forecast", None, "skipped", None, "days", "no history yet", NO_HISTORY)]
    return [_judge_path(path, reading, settings) for path in paths]


def _judge_path(path: str, reading: Reading, settings: Settings) -> Finding:
    trend = find_trend(make_series(reading.machine, DISK_PREFIX + path), _PLAN)
    if trend is None:
        return Finding("disk_forecast", clean(path), "ok", None, "days", "no trend")
    judgement = judge_below(trend.hours_left, settings.FORECAST_WARNING_HOURS, settings.FORECAST_CRITICAL_HOURS)
    end = describe_end(trend.hours_left, reading.wall_seconds)
    return Finding(
        "disk_forecast",
        clean(path),
        judgement.status,
        round(trend.hours_left / 24, 2),
        "days",
        f"at this rate disk {clean(path)} is full in {end}, {-trend.per_hour:+.0f} MB/h",
        advice="see what fills it: du -xh --max-depth=2 / | sort -h | tail; docker system df",
        is_clear=judgement.is_clear,
    )
