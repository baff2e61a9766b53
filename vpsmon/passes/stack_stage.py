"""What follows the kernel checks of a pass: the checks of the stack, sending what waits, and the heartbeat.

`monitor --once` runs it in the foreground, the resident monitor in the same child process as the kernel checks.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from vpsmon.checks import load_checks
from vpsmon.core.findings import ReadError, skipped
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.stages import record_stack_stage
from vpsmon.stack.presence import explain_absence
from vpsmon.state.directory import StateBusy, StateError
from vpsmon.system.host import Host
from vpsmon.system.log import say

# What preload.py loads for it as soon as memory is short.
LOADED_LATE = ("vpsmon.alerts.delivery", "vpsmon.alerts.telegram")
# Healthy services answer within this; when one does not, what the kernel checks found is sent before waiting for it.
_GRACE_SECONDS = 1.0
_HEARTBEAT_TIMEOUT_SECONDS = 5.0


def run_rest_of_pass(context: PassContext, entry_id: str | None) -> StageResult:
    """Check the stack, then send what is to be told and the heartbeat. Raises StateError.

    `entry_id` is the message of this pass in the outbox, if the kernel checks had anything to tell.
    """
    result = find_absence(context) or _run_stack_stage(context, entry_id)
    try:
        _send_all(context, result)
    except StateError as error:
        # What was found is remembered, and must not be lost to what follows it.
        return result._replace(state_error=result.state_error or str(error))
    return result


def _send_all(context: PassContext, result: StageResult) -> None:
    deliver(context)
    send_heartbeat(context, result)
    if has_email(context):
        from vpsmon.alerts.mail_spool import deliver_mail

        # Last, because a mail server may take its time.
        deliver_mail(context.host, context.state, context.config.settings)


def find_absence(context: PassContext) -> StageResult | None:
    """Return the rows of a machine on which nothing of a stack was found and nothing has come since; else None.

    Importing the stack's checks alone costs twice what Python itself does. Raises StateError.
    """
    units = context.recall_memories().recall_absent_stack()
    reason = explain_absence(context.host, context.config.settings) if units else None
    if reason is None:
        return None
    rows = [skipped(name, "not applicable here", reason)._replace(unit=unit) for name, unit in units.items()]
    return StageResult(rows, [])


def _run_stack_stage(context: PassContext, entry_id: str | None) -> StageResult:
    from vpsmon.passes.in_parallel import start_in_parallel

    attempts = start_in_parallel(
        load_checks("stack"), context.host, context.config.settings, context.recall_memories().recall
    )
    if not attempts.wait(_GRACE_SECONDS):
        # Trouble with sending is met, and said, at the end of the pass as well.
        with suppress(StateError):
            deliver(context, waits=False)
    return record_stack_stage(context, attempts.collect(), entry_id)


def deliver(context: PassContext, waits: bool = True) -> None:
    """Send what waits in the outbox, if anything. Raises StateError.

    Only one process sends at a time, and takes along what is new: where another does, wait for it or leave it to it.
    """
    if has_mail(context):
        from vpsmon.alerts.delivery import Delivery
        from vpsmon.alerts.telegram import make_destination

        try:
            Delivery(context.host, context.state, make_destination(context.config.settings)).deliver(waits)
        except StateBusy as error:
            if waits:
                say("warning", f"{error}; what waits in the outbox is sent by it or by the next pass")


def has_mail(context: PassContext) -> bool:
    """Return whether something waits that can be sent. Raises StateError."""
    if not context.with_alerts or not context.config.settings.has_telegram:
        return False
    from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
    from vpsmon.alerts.outbox import list_entries

    return bool(list_entries(context.state.load(OUTBOX_FILE)))


def has_email(context: PassContext) -> bool:
    """Return whether a report waits to be sent by e-mail, and may be tried now."""
    if not context.with_alerts or not context.config.settings.has_email:
        return False
    from vpsmon.alerts.mail_spool import list_due

    return bool(list_due(context.host, context.state))


def send_heartbeat(context: PassContext, result: StageResult) -> None:
    """Fetch HEARTBEAT_URL, if there is one and the pass was good: it could remember what it found.

    The dead-man's switch at the other end rings when this stops coming; here a failure is only a warning.
    """
    url = context.config.settings.HEARTBEAT_URL
    if context.with_alerts and url and not (result.state_error or context.state.trouble):
        _fetch_heartbeat(context.host, url)


def _fetch_heartbeat(host: Host, url: str) -> None:
    try:
        reply = host.request("GET", url, None, {}, _HEARTBEAT_TIMEOUT_SECONDS, through_proxy=True)
    except ReadError as error:
        say("warning", f"HEARTBEAT_URL cannot be reached: {error}")
        return
    if not 200 <= reply.status < 300:
        say("warning", f"HEARTBEAT_URL answered with HTTP status {reply.status}; is the URL right?")


def leave(status: int) -> NoReturn:
    """End the process at once: a reader that still hangs in its thread must not delay the end or die with noise."""
    sys.stdout.flush()
    os._exit(status)
