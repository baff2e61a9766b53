"""Two days of a small server that leaks, as passes would have recorded them: samples, alerts and repairs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

from vpsmon.trends.history import History
from vpsmon.trends.samples import CONTAINERS, MACHINE, Sample

BOOT = "99999999"
STEP_SECONDS = 300
DAY_SECONDS = 86_400
# Hours before the end: n8n was restarted, and swap began to fill before that.
RESTART_HOURS_AGO = 4.0
_N8N_START_MB = 290.0


def write_two_days(folder: Path, end_wall_seconds: float, total_mb: float = 973, swap_mb: float = 1024) -> None:
    """Record samples for the 48 h that end at that time, and the logs of the same days, in a state directory."""
    folder.mkdir(mode=0o700, exist_ok=True)
    history = History(str(folder))
    for sample, containers in _make_samples(end_wall_seconds, total_mb, swap_mb):
        history.record(MACHINE, sample)
        history.record(CONTAINERS, containers)
    (folder / "alert_history.log").write_text(_write_lines(_ALERTS, end_wall_seconds))
    (folder / "recovery.log").write_text(_write_lines(_REPAIRS, end_wall_seconds))


def _make_samples(end: float, total_mb: float, swap_mb: float) -> Iterator[tuple[Sample, Sample]]:
    for number in range(2 * DAY_SECONDS // STEP_SECONDS):
        hours_ago = 48 - number * STEP_SECONDS / 3600
        seconds = 1000.0 + number * STEP_SECONDS
        grown_hours = 48 - hours_ago if hours_ago > RESTART_HOURS_AGO else RESTART_HOURS_AGO - hours_ago
        n8n_mb = _N8N_START_MB + 14 * grown_hours + 12 * math.sin(number / 4)
        wanted_mb = n8n_mb + 330 + 25 * math.sin((48 - hours_ago) / 24 * 2 * math.pi)
        swap_used = min(swap_mb, max(0.0, wanted_mb - total_mb * 0.86))
        available = total_mb - (wanted_mb - swap_used)
        score = 0.4 + (swap_used / 12 if swap_used else 0.0) * (1.4 + math.sin(number))
        values = {
            "free": available + swap_mb - swap_used,
            "available": available,
            "swap_used": swap_used,
            "total": total_mb,
            "score": min(100.0, score),
            "disk:/": 9000 - number * 3,
        }
        wall = end - hours_ago * 3600
        used = {"crm-n8n-1": n8n_mb, "crm-postgres-1": 33.0, "crm-waha-1": 205 + number / 16, "crm-redis-1": 3.4}
        yield _sample(wall, seconds, values), _sample(wall, seconds, used)


def _sample(wall_seconds: float, seconds: float, values: dict[str, float]) -> Sample:
    return Sample(wall_seconds, seconds, BOOT, {name: round(value, 1) for name, value in values.items()})


def _write_lines(lines: list[tuple[float, str]], end: float) -> str:
    return "".join(f"{_format(end - hours_ago * 3600)} {text}\n" for hours_ago, text in lines)


def _format(wall_seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_seconds))


_ALERTS = [
    (30.0, "WARNING swap_usage 931 MB of 1024 MB swap used, warning above 922 MB"),
    (29.0, "INFO swap_usage resolved after 1 h: 700 MB of 1024 MB swap used"),
    (9.2, "WARNING memory_forecast at this rate memory and swap run out in 12 h (about 10:10); growing: n8n +14 MB/h"),
    (
        4.3,
        "CRITICAL oom_kills[crm-n8n-1] OOM killer ended node (pid 4711, 611 MB resident) in container crm-n8n-1: "
        "its memory limit was reached",
    ),
    (4.1, "CRITICAL memory_available 41 MB of 973 MB memory available, critical below 50 MB"),
    (4.0, "INFO recovery swap_thrashing[crm-blog-1] memory is short: stop the container crm-blog-1: it helped"),
    (3.9, "INFO memory_available resolved after 6 min: 402 MB of 973 MB memory available"),
]
_REPAIRS = [
    (4.02, "INFO swap_thrashing[crm-blog-1] swap-in 8120 kB/s, 41 MB available: stop the container crm-blog-1: begun"),
    (
        4.0,
        "INFO swap_thrashing[crm-blog-1] swap-in 8120 kB/s, 41 MB available: stop the container crm-blog-1: it helped",
    ),
    (
        3.6,
        "INFO swap_thrashing[crm-blog-1] undoing what was done before (stop the container crm-blog-1): "
        "start the container crm-blog-1: begun",
    ),
    (
        3.59,
        "INFO swap_thrashing[crm-blog-1] undoing what was done before (stop the container crm-blog-1): "
        "start the container crm-blog-1: done",
    ),
]
