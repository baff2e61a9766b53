"""Turning numbers and foreign names into text that is safe to print, log and send."""

from __future__ import annotations

import time

from vpsmon.core.secrets import redact, redact_foreign

# As free, docker stats and the kernel count.
MEGABYTE = 1024 * 1024
# Times that every clock can show: from 1970 to the year 9999, less a day for the zones.
LATEST_WALL_SECONDS = 253_402_214_400.0


def clean(text: str, limit_characters: int = 80) -> str:
    """Return a foreign name on one line, without control characters, terminal escapes or secrets, cut to the limit.

    A process may call itself anything, also "ok\\n<3>all is well" or a terminal escape sequence.
    """
    printable = "".join(character if character.isprintable() else "?" for character in redact(text))
    return printable if len(printable) <= limit_characters else printable[: limit_characters - 1] + "…"


def quote_foreign(text: str, limit_characters: int = 200) -> str:
    """Return on one line what another program wrote or answered, its secrets blanked before it is cut to the limit."""
    return clean(redact_foreign(text), limit_characters)


def format_bytes(count_bytes: float) -> str:
    """Return a size as people say it: `842 MB`, `1.4 GB` (1 MB = 1024 kB, as in free and docker stats)."""
    size = float(count_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 1024 or (unit == "MB" and abs(size) < 10_000) or unit == "GB":
            digits = 1 if unit == "GB" or (unit == "MB" and abs(size) < 10) else 0
            return f"{size:.{digits}f} {unit}"
        size /= 1024
    raise AssertionError("unreachable: the last unit always returns")


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min" if minutes >= 10 or not rest else f"{minutes} min {rest} s"
    if whole < 86400:
        hours, rest = divmod(whole, 3600)
        return f"{hours} h {rest // 60} min" if rest >= 60 else f"{hours} h"
    days, rest = divmod(whole, 86400)
    return f"{days} d {rest // 3600} h" if rest >= 3600 else f"{days} d"


def format_utc(wall_seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, to the second: `2026-11-23T08:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_bound_time(wall_seconds)))


def format_local(wall_seconds: float) -> str:
    """Return a time as the owner's clock shows it, with its zone: `2026-11-23 08:00:00 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(_bound_time(wall_seconds)))


def _bound_time(wall_seconds: float) -> float:
    """A damaged file may hold any time, and beyond some year the C library has none."""
    return min(max(0.0, wall_seconds), LATEST_WALL_SECONDS)
