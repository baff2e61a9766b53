"""What follows the kernel checks of a pass: the checks of the stack, sending what waits, and the heartbeat.

`monitor --once` runs it in the foreground, the resident monitor in the same child process as the kernel checks.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from vpsmon.checks import load_checks
from vpsmon.core.findings import skipped
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.heartbeat import send_heartbeat
from vpsmon.passes.stages import record_stack_stage
from vpsmon.stack.presence import explain_absence
from vpsmon.state.directory import StateBusy, StateError
from vpsmon.system.log import say

# What preload.py loads for it as soon as memory is short.
LOADED_LATE = ("vpsmon.alerts.delivery", "vpsmon.alerts.telegram")
# Healthy services answer within this; when one does not, what the kernel checks found is sent before waiting for it.
_GRACE_SECONDS = 1.0


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
    ask_after_refusal(context)
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


def ask_after_refusal(context: PassContext) -> None:
    """Where Telegram has refused the last message of a pass before, ask whether it would take one now.

    Raises StateError.
    """
    settings = context.config.settings
    if not context.with_alerts or not settings.has_telegram:
        return
    from vpsmon.alerts.outbox import FILE as OUTBOX_FILE

    if context.state.load(OUTBOX_FILE).get("refusal"):
        from vpsmon.alerts.delivery import Delivery
        from vpsmon.alerts.telegram import make_destination

        Delivery(context.host, context.state, make_destination(settings)).ask_again()


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


def leave(status: int) -> NoReturn:
    """End the process at once: a reader that still hangs in its thread must not delay the end or die with noise."""
    sys.stdout.flush()
    os._exit(status)
