"""One pass: read, judge, remember, decide what to tell. The commands print it, the outbox sends it.

A pass has two stages. The kernel checks take milliseconds and need nothing but /proc; what they find is on its way
before anything that can hang is asked. Everything between reading the state and writing it happens under one lock, and
is written as a whole: a stage that is killed anywhere has either happened or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.alerts.incidents import Ledger, Notice, format_history
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import add_entry, choose_identity
from vpsmon.alerts.totals import FILE as TOTALS_FILE
from vpsmon.alerts.totals import load_totals
from vpsmon.checks import load_checks
from vpsmon.core.findings import Finding, worst_status
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.container_names import excuse_stopped, name_containers
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.record_history import record_stage
from vpsmon.passes.run_check import Attempt, attempt, judge_attempt
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.recovery_file import RECOVERY_FILE, list_stopped_ids
from vpsmon.system.host import Host
from vpsmon.system.largest_processes import describe_largest
from vpsmon.trends.history import open_history

ALERT_FILE = "alert_state.json"
HISTORY_LOG = "alert_history.log"
_NAMED_CONSUMERS = 3
_STATE_CHECK = "state_directory"


def run_kernel_stage(context: PassContext) -> StageResult:
    """Run the kernel checks, remember their counters, and put what is to be told into the outbox."""
    host, config, state = context[:3]
    checks = load_checks("kernel")
    try:
        with state.lock():
            memories = context.recall_memories()
            open_history(host, state.path)
            attempts = [attempt(check, host, config.settings, memories.recall(check)) for check in checks]
            return _record("kernel", context, memories, attempts, None)
    except StateError as error:
        attempts = [attempt(check, host, config.settings, None) for check in checks]
        return _judge_without_state(context, attempts, str(error))


def record_stack_stage(context: PassContext, attempts: Sequence[Attempt], entry_id: str | None) -> StageResult:
    """Judge what was read of the stack, remember it, and add what is to be told to the message of this pass."""
    try:
        with context.state.lock():
            return _record("stack", context, context.recall_memories(), attempts, entry_id)
    except StateError as error:
        return _judge_without_state(context, attempts, str(error))


def _judge_without_state(context: PassContext, attempts: Sequence[Attempt], error: str) -> StageResult:
    outcomes = [judge_attempt(each, context.config.settings, None) for each in attempts]
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    return StageResult(_name_consumers(context.host, findings), [], error, attempts=attempts)


def _record(
    stage: str, context: PassContext, memories: Memories, attempts: Sequence[Attempt], entry_id: str | None
) -> StageResult:
    """Judge the readings and write all that follows from them in one step."""
    host, config, state = context[:3]
    findings = _judge_all(stage, context, memories, attempts)
    if any(map(_tells_of_shortage, findings)):
        # The alert and the repair must not wait for the disk. What is written outlives every process all the same; a
        # power failure may take the last half minute with it.
        state.waits_for_disk = False
    if context.with_alerts:
        record_stage(host, state.path, config.settings, attempts, findings)
    _note_stage(stage, host, memories, findings)
    result = StageResult(_name_consumers(host, findings), [], attempts=attempts)
    files = {context.memories_file: memories.to_state()}
    if context.with_alerts:
        result, alert_files = _decide_what_to_tell(stage, context, result, entry_id)
        files |= alert_files
    return _commit(state, result, files)


def _judge_all(stage: str, context: PassContext, memories: Memories, attempts: Sequence[Attempt]) -> list[Finding]:
    """Return the rows of all checks, and keep what the checks want to remember."""
    findings: list[Finding] = []
    for each in attempts:
        outcome = judge_attempt(each, context.config.settings, memories.recall(each.check))
        findings += outcome.findings
        if outcome.memory is not None:
            memories.keep(each.check, outcome.memory)
    if any(finding.events for finding in findings):
        findings = name_containers(findings, memories.recall_container_names())
    if stage == "stack":
        findings = excuse_stopped(findings, find_stopped_names(context.state, memories))
    return findings


def _note_stage(stage: str, host: Host, memories: Memories, findings: Sequence[Finding]) -> None:
    memories.note_stage(stage, host.wall_seconds(), worst_status(findings), findings)
    if stage == "stack":
        is_absent = all(finding.status == "skipped" for finding in findings)
        memories.note_absent_stack({finding.check: finding.unit for finding in findings} if is_absent else None)


def _decide_what_to_tell(
    stage: str, context: PassContext, result: StageResult, entry_id: str | None
) -> tuple[StageResult, dict[str, dict[str, Any]]]:
    """Return the result with what is to be told, and the files that remember it."""
    host, config, state = context[:3]
    rows = {name for each in result.attempts for name in each.check.ROWS}
    worries: list[Finding] = []
    if stage == "kernel":
        rows.add(_STATE_CHECK)
        worries = _worry_about_state(state)
    notices, alerts = _judge_alerts(context, result.findings + worries, rows)
    files = {ALERT_FILE: alerts, TOTALS_FILE: _count(state, notices, result.findings)}
    if notices and config.settings.has_telegram:
        outbox = state.load(OUTBOX_FILE)
        entry_id = choose_identity(outbox, entry_id)
        files[OUTBOX_FILE] = add_entry(outbox, host.name, host.wall_seconds(), entry_id, notices)
    return result._replace(notices=notices, entry_id=entry_id), files


def _count(state: StateDirectory, notices: list[Notice], findings: list[Finding]) -> dict[str, Any]:
    totals = load_totals(state)
    totals.count_alerts(notices)
    totals.count_oom_kills(findings)
    return totals.to_state()


def find_stopped_names(state: StateDirectory, memories: Memories) -> set[str]:
    """Return the names of the containers that recovery has stopped. Raises StateError."""
    # Recovery has to find it as it is: without what it remembers it only looks for a while.
    content = state.peek(RECOVERY_FILE)
    if not content:
        return set()
    names = memories.recall_container_names()
    return {names[each[:12]] for each in list_stopped_ids(content) if each[:12] in names}


def _worry_about_state(state: StateDirectory) -> list[Finding]:
    """Return what has to be told of the state itself: it is no check, so it has no row."""
    if not state.trouble:
        return []
    advice = "meanwhile alerts are remembered in memory, and recovery leaves everything as it is"
    return [Finding(check=_STATE_CHECK, status="critical", message=state.trouble, unit="-", advice=advice)]


def _judge_alerts(context: PassContext, findings: list[Finding], rows: set[str]) -> tuple[list[Notice], dict[str, Any]]:
    """Return what to tell, and the alert state after that."""
    now_seconds = context.host.wall_seconds()
    rate_limit_seconds = context.config.settings.ALERT_RATE_LIMIT_SEC
    try:
        ledger = Ledger(context.state.load(ALERT_FILE), now_seconds, rate_limit_seconds)
        return ledger.judge(findings, rows), ledger.to_state()
    except WRONG_FORM:
        afresh = context.state.set_aside(ALERT_FILE, "its tables are of another form")
        ledger = Ledger(afresh, now_seconds, rate_limit_seconds)
        return ledger.judge(findings, rows), ledger.to_state()


def _commit(state: StateDirectory, result: StageResult, files: dict[str, dict[str, Any]]) -> StageResult:
    try:
        state.commit(files, {HISTORY_LOG: [format_history(notice) for notice in result.notices]})
    except StateError as error:
        return result._replace(state_error=str(error))
    return result._replace(state_error=state.trouble)


def _name_consumers(host: Host, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, those of a memory problem with the largest processes in their message."""
    if not any(_tells_of_shortage(finding) for finding in findings):
        return list(findings)
    largest = describe_largest(host, _NAMED_CONSUMERS)
    return [
        finding._replace(message=f"{finding.message}; {largest}")
        if _tells_of_shortage(finding) and largest
        else finding
        for finding in findings
    ]


def _tells_of_shortage(finding: Finding) -> bool:
    return finding.names_consumers and finding.status in ("warning", "critical")
