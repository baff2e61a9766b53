"""One pass: read, judge, remember, decide what to tell. The commands print it, the outbox sends it.

Everything between reading the state and writing it happens under one lock, and is written as a whole: a pass that is
killed anywhere has either happened or not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.alerts.incidents import Ledger, Notice, format_history
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import add_entry
from vpsmon.checks import Check, load_checks
from vpsmon.config import Config
from vpsmon.consumers import describe_consumers, read_largest_consumers
from vpsmon.findings import Finding, NotApplicable, Previous, ReadError, Status
from vpsmon.host import Host
from vpsmon.proc import read_boot_id
from vpsmon.state import StateDirectory, StateError

COUNTERS_FILE = "pass_state.json"
ALERT_FILE = "alert_state.json"
HISTORY_LOG = "alert_history.log"
_NAMED_CONSUMERS = 3


class PassResult(NamedTuple):
    """What a pass found and has to tell; `state_error` says why nothing could be remembered, if so."""

    findings: list[Finding]
    notices: list[Notice]
    state_error: str | None = None


class _Outcome(NamedTuple):
    """The rows of one check module, and what it wants to remember; None keeps what it remembered before."""

    findings: list[Finding]
    memory: dict[str, Any] | None


def run_kernel_stage(host: Host, config: Config, state: StateDirectory, with_alerts: bool) -> PassResult:
    """Run the kernel checks, remember their counters, and put what is to be told into the outbox.

    A pass without alerts keeps counters of its own: it must not hide a stall or a kill from the next one with alerts.
    """
    try:
        with state.lock():
            return _run_locked(host, config, state, with_alerts)
    except StateError as error:
        outcomes = [_run_check(check, host, config, None) for check in load_checks("kernel")]
        findings = [finding for outcome in outcomes for finding in outcome.findings]
        return PassResult(_name_consumers(host, findings), [], str(error))


def _run_locked(host: Host, config: Config, state: StateDirectory, with_alerts: bool) -> PassResult:
    memories = _Memories(host, state.load(COUNTERS_FILE), "with_alerts" if with_alerts else "without_alerts")
    findings: list[Finding] = []
    rows: set[str] = set()
    for check in load_checks("kernel"):
        outcome = _run_check(check, host, config, memories.recall(check))
        findings += outcome.findings
        rows |= check.ROWS.keys()
        if outcome.memory is not None:
            memories.keep(check, outcome.memory)
    findings = _name_consumers(host, findings)
    files = {COUNTERS_FILE: memories.to_state()}
    if not with_alerts:
        return _commit(state, PassResult(findings, []), files, [])
    now = host.wall_seconds()
    notices, files[ALERT_FILE] = _judge_alerts(state, findings, rows, now, config.settings.ALERT_RATE_LIMIT_SEC)
    if notices and config.settings.has_telegram:
        files[OUTBOX_FILE] = add_entry(state.load(OUTBOX_FILE), host.name, now, os.urandom(4).hex(), notices)
    return _commit(state, PassResult(findings, notices), files, [format_history(notice) for notice in notices])


def _judge_alerts(
    state: StateDirectory, findings: list[Finding], rows: set[str], now_seconds: float, rate_limit_seconds: float
) -> tuple[list[Notice], dict[str, Any]]:
    """Return what to tell, and the alert state after that."""
    try:
        ledger = Ledger(state.load(ALERT_FILE), now_seconds, rate_limit_seconds)
        return ledger.judge(findings, rows), ledger.to_state()
    except (TypeError, ValueError, KeyError, AttributeError):
        ledger = Ledger(state.set_aside(ALERT_FILE, "its tables are of another form"), now_seconds, rate_limit_seconds)
        return ledger.judge(findings, rows), ledger.to_state()


def _commit(
    state: StateDirectory, result: PassResult, files: dict[str, dict[str, Any]], lines: list[str]
) -> PassResult:
    try:
        state.commit(files, {HISTORY_LOG: lines})
    except StateError as error:
        return result._replace(state_error=str(error))
    return result


def _run_check(check: Check, host: Host, config: Config, previous: Previous | None) -> _Outcome:
    """Return the rows of a check; whatever goes wrong in it becomes a row and stays there."""
    try:
        reading = check.read(host, config.settings, previous)
        findings = check.judge(reading, config.settings, previous)
        remember = getattr(check, "remember", None)
        return _Outcome(findings, remember(reading, previous) if remember else None)
    except NotApplicable as error:
        return _Outcome(_rows_without_value(check, "skipped", "not applicable here", str(error)), None)
    except (ReadError, OSError) as error:
        return _Outcome(_rows_without_value(check, "unknown", "cannot be read", str(error)), None)
    except Exception as error:
        if previous is not None:
            # What was remembered may be of another form: without it the check starts afresh.
            return _run_check(check, host, config, None)
        reason = f"unexpected {type(error).__name__} in {check.__name__}: please report this"
        return _Outcome(_rows_without_value(check, "unknown", "failed", reason), None)


def _rows_without_value(check: Check, status: Status, message: str, reason: str) -> list[Finding]:
    return [Finding(name, None, status, None, unit, message, reason) for name, unit in check.ROWS.items()]


def _name_consumers(host: Host, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, those of a memory problem with the largest processes in their message."""
    if not any(_wants_consumers(finding) for finding in findings):
        return list(findings)
    largest = describe_consumers(read_largest_consumers(host, _NAMED_CONSUMERS))
    return [
        finding._replace(message=f"{finding.message}; {largest}") if largest and _wants_consumers(finding) else finding
        for finding in findings
    ]


def _wants_consumers(finding: Finding) -> bool:
    return finding.names_consumers and finding.status in ("warning", "critical")


class _Memories:
    """What the checks remembered in the pass before: the content of pass_state.json, for one kind of pass."""

    def __init__(self, host: Host, state: dict[str, Any], kind: str) -> None:
        self._state = {name: table for name, table in state.items() if isinstance(table, dict)}
        self._kind = kind
        self._monotonic = host.monotonic_seconds()
        self._boot_id = read_boot_id(host)

    def recall(self, check: Check) -> Previous | None:
        """Return what a check remembered; None on the first pass, after a reboot, and after a newer pass than this."""
        kinds = [self._kind] if self._kind == "with_alerts" else ["with_alerts", self._kind]
        records = [record for kind in kinds if (record := self._find(kind, check))]
        if not records:
            return None
        record = max(records, key=lambda each: (each["boot_id"] == self._boot_id, float(each["monotonic_seconds"])))
        if record["boot_id"] != self._boot_id:
            return Previous(record["memory"], 0.0) if getattr(check, "KEEPS_ACROSS_BOOTS", False) else None
        elapsed_seconds = self._monotonic - record["monotonic_seconds"]
        return Previous(record["memory"], elapsed_seconds) if elapsed_seconds > 0 else None

    def _find(self, kind: str, check: Check) -> dict[str, Any] | None:
        record = self._state.get(kind, {}).get(check.__name__)
        if not isinstance(record, dict) or not isinstance(record.get("memory"), dict):
            return None
        has_time = isinstance(record.get("monotonic_seconds"), (int, float))
        return record if has_time and "boot_id" in record else None

    def keep(self, check: Check, memory: dict[str, Any]) -> None:
        record = {"boot_id": self._boot_id, "monotonic_seconds": self._monotonic, "memory": memory}
        self._state.setdefault(self._kind, {})[check.__name__] = record

    def to_state(self) -> dict[str, Any]:
        return self._state
