"""What a pass finds: the row of one check, and the events that are reported exactly once. No input or output here.

The types are named tuples because `dataclasses` imports `inspect`, which is 2 MB and 10 ms for a resident process
that should weigh a few megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Status = Literal["ok", "warning", "critical", "unknown", "skipped"]
Severity = Literal["critical", "warning", "info"]
# The subjects of checks, as people read them: what takes a machine down comes first.
Group = Literal["memory", "disks", "containers", "services"]
GROUPS: tuple[Group, ...] = ("memory", "disks", "containers", "services")
# The gravest first.
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")

_GRAVITY: dict[str, int] = {"skipped": 0, "ok": 1, "unknown": 2, "warning": 3, "critical": 4}


class Unanswered(Exception):
    """Why there is no reading. `reason` may be the same for many (no Docker); `remedy` then is what helps this one."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(join_remedy(reason, remedy))
        self.reason, self.remedy = reason, remedy


class NotApplicable(Unanswered):
    """A check that makes no sense on this machine; the text says why and what would change that."""


class ReadError(Unanswered):
    """A reading that should have worked and did not; the text says what, where and how to fix it."""


def join_remedy(reason: str, remedy: str) -> str:
    """Return the reason with what else would help."""
    return f"{reason}; or {remedy}" if remedy else reason


class Starting(ReadError):
    """A server that says that it is starting, recovering, loading or stopping: waiting helps, a restart harms."""


class Event(NamedTuple):
    """Something that happened once. `key` is the same in every pass that sees it, so that it is reported only once."""

    key: str
    object: str
    message: str
    wall_seconds: float


class Finding(NamedTuple):
    """One row of a pass, made with keywords or by a maker below. `value` is in the unit that the check's ROWS name."""

    check: str
    status: Status
    message: str
    object: str | None = None
    value: float | None = None
    # Filled in from ROWS and GROUP of the check by passes/run_check.py.
    unit: str = ""
    group: Group = "services"
    # Why there is no judgement, and what to do about it; `remedy` is what would help this check alone.
    reason: str | None = None
    remedy: str = ""
    # What the owner can do; part of the alert, not of the row.
    advice: str | None = None
    # False while the value is on the good side of its limit but within the margin: an open incident stays open.
    is_clear: bool = True
    # The alert is about memory: name the largest processes beside it.
    names_consumers: bool = False
    events: tuple[Event, ...] = ()
    # An order of the owner: once reported it is not repeated while it lasts.
    is_reported_once: bool = False

    def explain(self) -> str:
        """Return why there is no judgement, with all that would help; empty where there is one."""
        return join_remedy(self.reason, self.remedy) if self.reason else ""

    def to_row(self) -> dict[str, Any]:
        """Return the row as `monitor --once --json` prints it."""
        return {
            "check": self.check,
            "object": self.object,
            "status": self.status,
            "value": self.value,
            "unit": self.unit,
            "message": self.message,
            "reason": self.explain() or None,
        }


def ok(
    check: str, message: str, *, object: str | None = None, value: float | None = None, is_clear: bool = True
) -> Finding:
    """Return the row of something that is well."""
    return Finding(check, "ok", message, object=object, value=value, is_clear=is_clear)


def skipped(check: str, message: str, reason: str, *, object: str | None = None, value: float | None = None) -> Finding:
    """Return the row of something that is not judged here; `reason` says why and what would change that."""
    return Finding(check, "skipped", message, object=object, value=value, reason=reason)


def unknown(check: str, message: str, reason: str, *, object: str | None = None) -> Finding:
    """Return the row of something that should have been readable; `reason` says what failed and how to fix it."""
    return Finding(check, "unknown", message, object=object, reason=reason)


class MetricSample(NamedTuple):
    """One number for Prometheus, in the unit that its name says. Labels are (name, value)."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


class Previous(NamedTuple):
    """What a check remembered from the pass before, and the real seconds since then."""

    memory: dict[str, Any]
    elapsed_seconds: float


def worst_status(findings: Sequence[Finding]) -> Status:
    """Return the gravest status among the findings: critical, warning, unknown, ok, then skipped."""
    statuses: list[Status] = [finding.status for finding in findings]
    return max(statuses, key=_GRAVITY.__getitem__, default="unknown")


def reaches(status: Status, limit: Severity) -> bool:
    """Return whether a status is at least as grave as the limit (warning or critical)."""
    return _GRAVITY[status] >= _GRAVITY[limit]
