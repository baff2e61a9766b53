"""What the forecasts of memory and disk have in common: the way to the history, and the words for an end."""

from __future__ import annotations

import time

from vpsmon.findings import NotApplicable
from vpsmon.host import Host
from vpsmon.proc import read_boot_id
from vpsmon.text import format_duration
from vpsmon.trends.history import Tails, history_of

NO_HISTORY = "the first pass has nothing to look back on; see the next one"


def read_tails(host: Host, kind: str) -> Tails:
    """Return the newest samples of a kind, the same for the whole pass. Raises NotApplicable, OSError."""
    history = history_of(host)
    if history is None:
        raise NotApplicable("there is no history to look back on: the state directory cannot be used")
    return host.once(f"history of {kind}", lambda: history.read(kind, read_boot_id(host), host.monotonic_seconds()))


def describe_end(hours_left: float, wall_seconds: float) -> str:
    """Return how long it takes and when that is on the owner's clock: `5 h (about 03:40)`, `2 d (about Tue 11:00)`."""
    end = time.localtime(wall_seconds + hours_left * 3600)
    when = time.strftime("%H:%M" if hours_left < 20 else "%a %H:%M", end)
    return f"{format_duration(hours_left * 3600)} (about {when})"
