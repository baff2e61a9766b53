"""One pass: read, judge, remember, decide what to tell. The commands print it, the outbox sends it.

A pass has two stages. The kernel checks take milliseconds and need nothing but /proc; what they find is on its way
before anything that can hang is asked. Everything between reading the state and writing it happens under one lock, and
is written as a whole: a stage that is killed anywhere has either happened or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.alerts.incidents import Ledger, Notice, format_history
from vpsmon.alerts.totals import FILE as TOTALS_FILE
from vpsmon.alerts.totals import load_totals
from vpsmon.checks import load_checks
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, worst_status
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.look import Look, conclude, is_of_shortage, look, read_checks
from vpsmon.passes.record_history import record_look
from vpsmon.passes.run_check import Attempt
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.recovery_file import RECOVERY_FILE, Clocks, Stopped, list_stopped
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id

ALERT_FILE = "alert_state.json"
HISTORY_LOG = "alert_history.log"
_STATE_CHECK = "state_directory"


def run_kernel_stage(context: PassContext) -> StageResult:
    """Run the kernel checks, remember their counters, and put what is to be told into the outbox."""
    host, settings, state = context.host, context.config.settings, context.state
    checks = load_checks("kernel")
    try:
        with state.lock():
            memories = context.recall_memories()
            host.history_folder = state.path
            return _record("kernel", context, memories, look(checks, host, settings, memories), None)
    except StateError as error:
        return _look_without_state(context, read_checks(checks, host, settings, lambda check: None), str(error))


def record_stack_stage(context: PassContext, attempts: Sequence[Attempt], entry_id: str | None) -> StageResult:
    """Judge what was read of the stack, remember it, and add what is to be told to the message of this pass."""
    try:
        with context.state.lock():
            memories = context.recall_memories()
            stopped = find_stopped(context.state, context.host, context.config.settings)
            seen = conclude(attempts, context.host, context.config.settings, memories, stopped)
            return _record("stack", context, memories, seen, entry_id)
    except StateError as error:
        return _look_without_state(context, attempts, str(error))


def _look_without_state(context: PassContext, attempts: Sequence[Attempt], error: str) -> StageResult:
    nothing = Memories(context.host, {}, context.with_alerts)
    seen = conclude(attempts, context.host, context.config.settings, nothing)
    return StageResult(seen.findings, [], error, attempts=attempts)


def _record(stage: str, context: PassContext, memories: Memories, seen: Look, entry_id: str | None) -> StageResult:
    """Write all that follows from a look in one step."""
    host, state = context.host, context.state
    if any(map(is_of_shortage, seen.findings)):
        # The alert and the repair must not wait for the disk. What is written outlives every process all the same; a
        # power failure may take the last half minute with it.
        state.waits_for_disk = False
    if context.with_alerts:
        record_look(host, state.path, seen)
    _note_stage(stage, host, memories, seen.findings)
    result = StageResult(seen.findings, [], attempts=seen.attempts)
    files = {context.memories_file: memories.to_state()}
    if context.with_alerts:
        result, alert_files = _decide_what_to_tell(stage, context, result, entry_id)
        files |= alert_files
    return _commit(state, result, files)


def _note_stage(stage: str, host: Host, memories: Memories, findings: Sequence[Finding]) -> None:
    memories.note_stage(stage, host.wall_seconds(), worst_status(findings), findings)
    if stage == "stack":
        is_absent = all(finding.status == "skipped" for finding in findings)
        memories.note_absent_stack({finding.check: finding.unit for finding in findings} if is_absent else None)


def _decide_what_to_tell(
    stage: str, context: PassContext, result: StageResult, entry_id: str | None
) -> tuple[StageResult, dict[str, dict[str, Any]]]:
    """Return the result with what is to be told, and the files that remember it."""
    host, state = context.host, context.state
    rows = {name for each in result.attempts for name in each.check.ROWS}
    worries: list[Finding] = []
    if stage == "kernel":
        rows.add(_STATE_CHECK)
        worries = _worry_about_state(state)
    notices, alerts = _judge_alerts(context, result.findings + worries, rows)
    files = {ALERT_FILE: alerts, TOTALS_FILE: _count(state, notices, result.findings)}
    if notices and context.config.settings.has_telegram:
        from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
        from vpsmon.alerts.outbox import add_entry, choose_identity

        outbox = state.load(OUTBOX_FILE)
        entry_id = choose_identity(outbox, entry_id)
        files[OUTBOX_FILE] = add_entry(outbox, host.name, host.wall_seconds(), entry_id, notices)
    return result._replace(notices=notices, entry_id=entry_id), files


def _count(state: StateDirectory, notices: list[Notice], findings: list[Finding]) -> dict[str, Any]:
    totals = load_totals(state)
    totals.count_alerts(notices)
    totals.count_oom_kills(findings)
    return totals.to_state()


def find_stopped(state: StateDirectory, host: Host, settings: Settings) -> Stopped:
    """Return the containers that recovery has stopped. Raises StateError."""
    # Recovery has to find it as it is: without what it remembers it only looks for a while.
    content = state.peek(RECOVERY_FILE)
    if not content or not content.get("changes"):
        return Stopped()
    return list_stopped(content, settings, Clocks(read_boot_id(host), host.monotonic_seconds()))


def _worry_about_state(state: StateDirectory) -> list[Finding]:
    """Return what has to be told of the state itself: it is no check, so it has no row."""
    if not state.trouble:
        return []
    advice = "until it is fixed, alerts are kept in memory and recovery changes nothing"
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
