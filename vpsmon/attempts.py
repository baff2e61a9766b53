"""Reading and judging one check: whatever goes wrong in it becomes a row of that check and stays there."""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks import Check
from vpsmon.findings import Finding, NotApplicable, Previous, ReadError, Status
from vpsmon.host import Host
from vpsmon.settings import Settings


class Attempt(NamedTuple):
    """One check's reading, or what was raised instead of it."""

    check: Check
    reading: Any
    error: Exception | None


class Outcome(NamedTuple):
    """The rows of one check, and what it wants to remember; None keeps what it remembered before."""

    findings: list[Finding]
    memory: dict[str, Any] | None


def attempt(check: Check, host: Host, settings: Settings, previous: Previous | None) -> Attempt:
    """Read one check."""
    try:
        return Attempt(check, check.read(host, settings, previous), None)
    except (NotApplicable, ReadError, OSError) as error:
        return Attempt(check, None, error)
    except Exception as error:
        # What was remembered may be of another form: without it the check starts afresh.
        return Attempt(check, None, error) if previous is None else attempt(check, host, settings, None)


def judge_attempt(attempt: Attempt, settings: Settings, previous: Previous | None) -> Outcome:
    """Return the rows of a check and what it remembers."""
    check, reading, error = attempt
    if isinstance(error, NotApplicable):
        return Outcome(_rows_without_value(check, "skipped", "not applicable here", str(error)), None)
    if isinstance(error, (ReadError, OSError)):
        return Outcome(_rows_without_value(check, "unknown", "cannot be read", str(error)), None)
    try:
        if error is not None:
            raise error
        remember = getattr(check, "remember", None)
        findings = check.judge(reading, settings, previous)
        return Outcome(findings, remember(reading, previous) if remember else None)
    except Exception as failure:
        if previous is not None and error is None:
            return judge_attempt(attempt, settings, None)
        reason = f"unexpected {type(failure).__name__} in {check.__name__}: please report this"
        return Outcome(_rows_without_value(check, "unknown", "failed", reason), None)


def _rows_without_value(check: Check, status: Status, message: str, reason: str) -> list[Finding]:
    return [Finding(name, None, status, None, unit, message, reason) for name, unit in check.ROWS.items()]
