"""How much each running container has gained since its oldest sample of the last 24 h."""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.core.text import MEGABYTE, format_bytes
from vpsmon.report.facts import Facts, Unread
from vpsmon.report.timeline import DAY_SECONDS

# A gain over less than this says more about the start of a container than about its day.
_LEAST_SPAN_SECONDS = 3600.0


class Gain(NamedTuple):
    """What a container has gained, negative where it holds less, and over how long."""

    gained_bytes: float
    span_seconds: float

    def describe(self) -> str:
        """Return `+38 MB`."""
        return f"{'+' if self.gained_bytes >= 0 else '-'}{format_bytes(abs(self.gained_bytes))}"


def find_gains(facts: Facts) -> dict[str, Gain]:
    """Return the gain of each container that has been seen for long enough, the largest first."""
    reading = facts.readings.get("container_memory")
    if reading is None or isinstance(facts.containers, Unread):
        return {}
    oldest: dict[str, tuple[float, float]] = {}
    for age_seconds, values in facts.containers:
        if _LEAST_SPAN_SECONDS <= age_seconds < DAY_SECONDS:
            oldest.update({name: (age_seconds, megabytes) for name, megabytes in values.items()})
    gains = {
        each.name: Gain(each.usage.memory_bytes - oldest[each.name][1] * MEGABYTE, oldest[each.name][0])
        for each in reading.containers
        if each.usage and each.name in oldest
    }
    return dict(sorted(gains.items(), key=lambda item: -item[1].gained_bytes))
