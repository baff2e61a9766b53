"""Reading and judging one check: whatever goes wrong in it becomes a row of that check and stays there."""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks import Check
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Group, MetricSample, NotApplicable, Previous, ReadError, Status
from vpsmon.core.secrets import redact
from vpsmon.system.host import Host


class Attempt(NamedTuple):
    """One check's reading, or what was raised instead of it; what it was compared with, and how long it took."""

    check: Check
    reading: Any
    error: Exception | None
    previous: Previous | None = None
    duration_seconds: float = 0.0


# What a reading may fail with; anything else is a fault of vpsmon.
_EXPECTED = (NotApplicable, ReadError, OSError)


class Outcome(NamedTuple):
    """The rows of one check, and what it wants to remember; None keeps what it remembered before."""

    findings: list[Finding]
    memory: dict[str, Any] | None


def attempt(check: Check, host: Host, settings: Settings, previous: Previous | None) -> Attempt:
    """Read one check."""
    started = host.monotonic_seconds()
    reading, error = _read(check, host, settings, previous)
    if previous is not None and error is not None and not isinstance(error, _EXPECTED):
        # What was remembered may be of another form: without it the check starts afresh.
        return attempt(check, host, settings, None)
    return Attempt(check, reading, error, previous, host.monotonic_seconds() - started)


def _read(check: Check, host: Host, settings: Settings, previous: Previous | None) -> tuple[Any, Exception | None]:
    try:
        return check.read(host, settings, previous), None
    except Exception as error:
        return None, error


def judge_attempt(attempt: Attempt, settings: Settings, previous: Previous | None) -> Outcome:
    """Return the rows of a check and what it remembers."""
    check, reading, error = attempt.check, attempt.reading, attempt.error
    if isinstance(error, NotApplicable):
        return Outcome(_rows_without_value(check, "skipped", "not applicable here", error.reason, error.remedy), None)
    if isinstance(error, ReadError):
        return Outcome(_rows_without_value(check, "unknown", "cannot be read", error.reason, error.remedy), None)
    if isinstance(error, OSError):
        return Outcome(_rows_without_value(check, "unknown", "cannot be read", str(error)), None)
    try:
        if error is not None:
            raise error
        remember = getattr(check, "remember", None)
        findings = [_complete(each, check) for each in check.judge(reading, settings, previous)]
        return Outcome(findings, remember(reading, previous) if remember else None)
    except Exception as failure:
        if previous is not None and error is None:
            return judge_attempt(attempt, settings, None)
        reason = f"unexpected {type(failure).__name__} in {check.__name__}: please report this"
        return Outcome(_rows_without_value(check, "unknown", "failed", reason), None)


def measure_attempt(attempt: Attempt, settings: Settings) -> list[MetricSample] | None:
    """Return a check's samples for Prometheus, [] where there was nothing to read; None where measuring failed."""
    measure = getattr(attempt.check, "measure", None)
    if measure is None or attempt.error is not None:
        return []
    for previous in (attempt.previous, None):
        try:
            return list(measure(attempt.reading, settings, previous))
        except Exception:  # noqa: S112 - one check must not take the metrics of the others with it
            continue
    return None


def _rows_without_value(check: Check, status: Status, message: str, reason: str, remedy: str = "") -> list[Finding]:
    rows = (Finding(check=name, status=status, message=message, reason=reason, remedy=remedy) for name in check.ROWS)
    return [_complete(row, check) for row in rows]


def _complete(finding: Finding, check: Check) -> Finding:
    """Return a row as it leaves its check: with what that declares once for all, and no secret in what it says."""
    group: Group = getattr(check, "GROUP", "services")
    return finding._replace(
        unit=check.ROWS[finding.check],
        group=group,
        message=redact(finding.message),
        reason=finding.reason and redact(finding.reason),
        remedy=redact(finding.remedy),
        advice=finding.advice and redact(finding.advice),
        events=tuple(event._replace(message=redact(event.message)) for event in finding.events),
    )
