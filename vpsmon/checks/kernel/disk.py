"""disk_usage: how full each filesystem of DISK_PATHS is, as df shows it (statvfs(3)): its blocks, or its inodes.

A full disk stops PostgreSQL and Redis, and Docker's logs are what usually fills it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, skipped, unknown
from vpsmon.core.text import MEGABYTE, clean, format_bytes
from vpsmon.system.disk_space import DiskSpace
from vpsmon.system.host import Host
from vpsmon.trends.samples import DISK_PREFIX, INODES_PREFIX, MACHINE

ROWS = {"disk_usage": "percent"}
GROUP = "disks"
ROWS_BEYOND_REPAIR = ("disk_usage",)
METRICS = {"vpsmon_disk_used_percent": "How full the filesystem of each path of DISK_PATHS is, as df shows it."}
HISTORY = MACHINE


class Reading(NamedTuple):
    """The space of each path, or why it could not be read."""

    spaces: dict[str, DiskSpace]
    errors: dict[str, str]


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the space of every path in DISK_PATHS; a path that cannot be read does not hide the others."""
    spaces = {}
    errors = {}
    for path in settings.DISK_PATHS:
        try:
            spaces[path] = host.read_disk_space(path)
        except (OSError, ValueError) as error:
            errors[path] = getattr(error, "strerror", None) or str(error)
    return Reading(spaces, errors)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding for each path."""
    findings = [_judge_space(path, space, settings) for path, space in reading.spaces.items()]
    findings += [_explain_error(path, error) for path, error in reading.errors.items()]
    if not findings:
        reason = "DISK_PATHS is empty; name at least one path in monitor.conf"
        findings.append(skipped("disk_usage", "no path to check", reason))
    return findings


def _explain_error(path: str, error: str) -> Finding:
    remedy = "correct DISK_PATHS in monitor.conf, mount it, or have the services see it with `sudo vpsmon install`"
    reason = f"{clean(path)}: {clean(error)}; {remedy}"
    return unknown("disk_usage", "cannot be read", reason, object=clean(path))


def _judge_space(path: str, space: DiskSpace, settings: Settings) -> Finding:
    full_percent, inodes_percent = compute_used_percent(space), compute_used_inodes_percent(space)
    if full_percent is None:
        reason = "this filesystem has no size; take it out of DISK_PATHS"
        return skipped("disk_usage", "no size", reason, object=clean(path))
    percent = max(full_percent, inodes_percent or 0.0)
    judgement = judge_above(percent, settings.DISK_WARNING_PCT, settings.DISK_CRITICAL_PCT)
    message = f"{full_percent:.1f} % full, {format_bytes(space.available_bytes)} free"
    advice = "see what fills it: du -xh --max-depth=2 / | sort -h | tail; docker system df"
    if percent > full_percent:
        message += f"; {percent:.1f} % of its inodes used, room for {space.available_inodes} more files"
        advice = "see where the many files are: du -x --inodes --max-depth=3 / | sort -n | tail"
    if judgement.status != "ok":
        message += f", {judgement.status} above {judgement.limit:g} %"
    # A tenth of the limit would be gigabytes: a disk is clear again two points below its limit.
    is_clear = judgement.status == "ok" and percent <= max(judgement.limit - 2, judgement.limit * 0.9)
    return Finding(
        check="disk_usage",
        status=judgement.status,
        message=message,
        object=clean(path),
        value=round(percent, 2),
        advice=advice,
        is_clear=is_clear,
    )


def compute_used_inodes_percent(space: DiskSpace) -> float | None:
    """Return the share of inodes in use in percent; None where a filesystem makes them as it needs them."""
    usable = space.used_inodes + space.available_inodes
    return space.used_inodes / usable * 100 if usable > 0 else None


def compute_used_percent(space: DiskSpace) -> float | None:
    """Return how full a filesystem is for users other than root, in percent; None where it has no size."""
    usable_bytes = space.used_bytes + space.available_bytes
    return space.used_bytes / usable_bytes * 100 if usable_bytes else None


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return how full each path is in percent."""
    percents = {path: compute_used_percent(space) for path, space in reading.spaces.items()}
    return [
        MetricSample("vpsmon_disk_used_percent", percent, (("path", path),))
        for path, percent in percents.items()
        if percent is not None
    ]


def sample(reading: Reading, findings: Sequence[Finding]) -> dict[str, float]:
    """Return what is free of each path, for the forecast to look back on."""
    spaces = reading.spaces.items()
    return {DISK_PREFIX + path: space.available_bytes / MEGABYTE for path, space in spaces} | {
        INODES_PREFIX + path: space.available_inodes / 1000 for path, space in spaces if space.used_inodes
    }
