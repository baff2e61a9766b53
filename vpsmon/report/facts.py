"""What a report is made of: everything that was read at one time, or why it could not be. No input or output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.core.findings import Finding
from vpsmon.recovery.changes import Emergency
from vpsmon.report.logs import LogLine, Repair
from vpsmon.report.timeline import Placed
from vpsmon.stack.n8n.day import Executions, Workflows
from vpsmon.stack.postgres.leads import LeadCount


class Unread(NamedTuple):
    """Why there is no answer; `is_fault` is False where the question makes no sense on this machine."""

    reason: str
    is_fault: bool
    remedy: str = ""


class Facts(NamedTuple):
    """What was read for a report at one time."""

    host_name: str
    wall_seconds: float
    boot_age_seconds: float
    findings: list[Finding]
    # By the name of the check's module; without those that could not be read.
    readings: dict[str, Any]
    machine: list[Placed] | Unread
    containers: list[Placed] | Unread
    alerts: list[LogLine] | Unread
    repairs: list[Repair] | Unread
    emergencies: list[Emergency] | Unread
    oom_kills_since_boot: int | Unread
    workflows: Workflows | Unread
    executions: Executions | Unread
    leads: LeadCount | Unread


def choose(findings: Sequence[Finding], check: str) -> list[Finding]:
    """Return the rows of a check."""
    return [finding for finding in findings if finding.check == check]
