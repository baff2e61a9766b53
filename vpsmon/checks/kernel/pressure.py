"""memory_pressure: a score of 0 to 100 for the time that tasks lost waiting for memory (/proc/pressure/memory).

The score is the mean of `some` and `full` in percent: of the kernel's 10 second average, or of the stall time since
the previous pass where that is higher, so that a stall between two passes is not lost.
Source: Documentation/accounting/psi.rst. Not applicable on kernels before 4.20 or booted with psi=0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.checks._limits import CLEAR_MARGIN
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, Status
from vpsmon.system.guest import read_own_pressure
from vpsmon.system.host import Host
from vpsmon.system.proc import Pressure
from vpsmon.trends.samples import MACHINE

ROWS = {"memory_pressure": "score"}
GROUP = "memory"
ROWS_OF_SHORTAGE = ("memory_pressure",)
METRICS = {"memory_pressure_score": "Share of time that tasks waited for memory: mean of some and full, 0 to 100."}
HISTORY = MACHINE
# The kernel samples pressure every 2 seconds: over less time a single stall looks like a permanent one.
_SHORTEST_SPAN_SECONDS = 2.0


Reading = Pressure


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the memory pressure. Raises NotApplicable or ReadError."""
    return read_own_pressure(host)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding with the score."""
    score = compute_score(reading, previous)
    warning, critical = settings.MEMORY_PRESSURE_WARNING, settings.MEMORY_PRESSURE_THRESHOLD
    status: Status = "critical" if score >= critical else "warning" if score >= warning else "ok"
    message = f"memory pressure {score:.0f} of 100"
    if status != "ok":
        message += f", {status} from {critical if status == 'critical' else warning:g}: tasks wait for memory"
    return [
        Finding(
            check="memory_pressure",
            status=status,
            message=message,
            value=round(score, 2),
            advice="the machine is short of memory: stop or restart what has grown before it freezes",
            is_clear=score < min(warning, critical) * (1 - CLEAR_MARGIN),
            names_consumers=True,
        )
    ]


def compute_score(reading: Reading, previous: Previous | None) -> float:
    """Return the mean of some and full in percent, 0 to 100."""
    score = (reading.some_average_percent + reading.full_average_percent) / 2
    if previous is not None and previous.elapsed_seconds >= _SHORTEST_SPAN_SECONDS:
        before = Reading(**previous.memory)
        stall_microseconds = (
            reading.some_total_microseconds
            - before.some_total_microseconds
            + reading.full_total_microseconds
            - before.full_total_microseconds
        )
        score = max(score, stall_microseconds / 2 / (previous.elapsed_seconds * 1e6) * 100)
    return min(100.0, max(0.0, score))


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the score, 0 to 100."""
    return [MetricSample("memory_pressure_score", compute_score(reading, previous))]


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the counters that the next pass compares with."""
    return reading._asdict()


def sample(reading: Reading, findings: Sequence[Finding]) -> dict[str, float]:
    """Return the score for the report to look back on."""
    values = [finding.value for finding in findings if finding.value is not None]
    return {"score": values[0]} if values else {}
