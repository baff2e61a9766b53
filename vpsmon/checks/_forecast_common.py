"""What the forecasts of memory and disk have in common: the history, the words for an end, and when it is off.

A trend is not gone because one pass is not sure of it, so each forecast remembers when there was one last.
"""

from __future__ import annotations

import time
from typing import Any

from vpsmon.checks._limits import Judgement, judge_below
from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id
from vpsmon.trends.forecast import Trend
from vpsmon.trends.history import History, Tails

# An alert ends only after so long without a trend, unless much was freed meanwhile.
_CALM_SECONDS = 3600
_MUCH_FREED = 1.3
# In hours, with their words.
_UNITS = ((24.0, "d"), (1.0, "h"), (1 / 60, "min"))
NO_HISTORY = "the first pass has nothing to look back on; see the next one"


def read_tails(host: Host, kind: str) -> Tails:
    """Return the newest samples of a kind, the same for the whole pass. Raises NotApplicable, OSError."""
    if host.history_folder is None:
        raise NotApplicable("there is no history to look back on: the state directory cannot be used")
    history = History(host.history_folder)
    return host.once(f"history of {kind}", lambda: history.read(kind, read_boot_id(host), host.monotonic_seconds()))


def describe_end(trend: Trend, wall_seconds: float) -> str:
    """Return how long it takes, its range, and when that is on the owner's clock: `5 h (3 to 9), about 03:40`."""
    hours_left = trend.hours_left
    unit, word = next(each for each in _UNITS if hours_left >= each[0] * 2 or each is _UNITS[-1])
    middle, earliest, latest = (hours / unit for hours in (hours_left, trend.earliest_hours, trend.latest_hours))
    digits = 0 if middle >= 4 else 1
    when = time.strftime("%H:%M" if hours_left < 20 else "%a %H:%M", time.localtime(wall_seconds + hours_left * 3600))
    return f"{middle:.{digits}f} {word} ({earliest:.{digits}f} to {latest:.{digits}f}), about {when}"


def judge_end(trend: Trend, settings: Settings) -> Judgement:
    """Judge the earliest end: to be told too late costs a night, to be told a little early costs nothing."""
    return judge_below(trend.earliest_hours, settings.FORECAST_WARNING_HOURS, settings.FORECAST_CRITICAL_HOURS)


def note_trend(is_there: bool, monotonic_seconds: float, free_mb: float, before: Any) -> dict[str, float] | None:
    """Return when there was a trend last, and what was free then; None where there was none."""
    return {"monotonic_seconds": monotonic_seconds, "free_mb": free_mb} if is_there else before


def is_calm(last: dict[str, float] | None, monotonic_seconds: float, free_mb: float) -> bool:
    """Return whether the latest trend is long ago, or much has been freed since, as by a restart."""
    if last is None:
        return True
    is_long_ago = monotonic_seconds - last["monotonic_seconds"] >= _CALM_SECONDS
    return is_long_ago or free_mb > last["free_mb"] * _MUCH_FREED
