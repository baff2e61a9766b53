"""A machine whose passes are the rows of a trace or a recording: the product's own code, the history in memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from benchmarks.forecast_traces import STEP_SECONDS
from vpsmon.checks.kernel import forecast as check
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Previous
from vpsmon.trends.history import History, Tier
from vpsmon.trends.samples import CONTAINERS, MACHINE, Sample

BOOT = "replayed"
# A step of the clock longer than this is a gap, not a habit.
LONGEST_STEP_SECONDS = 600


class MemoryHistory(History):
    """The history without files: the same tiers, joined by the same code."""

    def __init__(self) -> None:
        super().__init__("")
        self._samples: dict[tuple[str, str], deque[Sample]] = {}

    def _append(self, kind: str, tier: Tier, sample: Sample) -> None:
        self._samples.setdefault((kind, tier.name), deque(maxlen=tier.lines_read)).append(sample)

    def _tail(self, kind: str, tier: Tier, count: int) -> list[Sample]:
        samples = self._samples.get((kind, tier.name))
        return [] if not samples else list(samples) if count > 1 else [samples[-1]]


class Verdict(NamedTuple):
    """What the check says of one row."""

    hours: float | None
    status: str
    is_clear: bool
    growing: list[str]
    message: str


class Replay:
    """A machine whose passes are rows."""

    def __init__(self) -> None:
        self._history = MemoryHistory()
        self._monotonic_seconds = 0.0
        self._wall_seconds: float | None = None
        self._usual_step = float(STEP_SECONDS)
        self._previous: Previous | None = None

    def add(
        self, wall_seconds: float, free_mb: float, containers: dict[str, float], is_judged: bool = True
    ) -> Verdict | None:
        """Run a pass."""
        step = self._advance(wall_seconds)
        verdict = self._judge(free_mb) if is_judged else None
        if step:
            now = self._monotonic_seconds
            self._history.record(MACHINE, Sample(wall_seconds, now, BOOT, {"free": round(free_mb, 1)}))
            if containers:
                self._history.record(CONTAINERS, Sample(wall_seconds, now, BOOT, containers))
        return verdict

    def _advance(self, wall_seconds: float) -> float:
        """Move the monotonic clock; where the wall clock was set back, it went on by the usual step."""
        step = self._usual_step if self._wall_seconds is None else wall_seconds - self._wall_seconds
        if step < 0:
            step = self._usual_step
        elif 0 < step < LONGEST_STEP_SECONDS:
            self._usual_step = step
        self._wall_seconds = wall_seconds
        self._monotonic_seconds += step
        return step

    def _judge(self, free_mb: float) -> Verdict:
        now = self._monotonic_seconds
        machine, containers = (self._history.read(kind, BOOT, now) for kind in (MACHINE, CONTAINERS))
        reading = check.make_reading(free_mb, machine, containers, self._wall_seconds or 0.0, now)
        # All that grow, also without an end of the machine's memory.
        growing = reading.growing if reading.trend else check.find_growing(containers, now)
        finding = check.judge_machine(reading, DEFAULTS, self._previous.memory if self._previous else {})
        self._previous = Previous(check.remember(reading, self._previous), self._usual_step)
        names = [growth.name for growth in growing]
        return Verdict(finding.value, finding.status, finding.is_clear, names, finding.message)
