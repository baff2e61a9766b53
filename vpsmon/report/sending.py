"""Getting a report out: into the outbox and by Telegram, and by e-mail. Says on one line each how it went."""

from __future__ import annotations

import os
import re
from email.policy import SMTP

from vpsmon.alerts.delivery import Delivery
from vpsmon.alerts.mail_spool import add_mail, try_mail
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import add_report, list_entries
from vpsmon.alerts.telegram import make_destination
from vpsmon.config.settings import Config
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.net.smtp import Rejected, find_sender, parse_smtp_url
from vpsmon.report.mail import make_mail
from vpsmon.report.model import Report
from vpsmon.report.telegram import format_telegram
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.system.host import Host

# Whatever a mail server may take; a name before the address or a second one after it is none.
_ADDRESS = re.compile(r"[^\s<>,;:\"@]+@[^\s<>,;:\"@]+")


def send_by_email(config: Config, state: StateDirectory, report: Report, plain: str, chart: bytes | None) -> str:
    """Send the report, and return in words to whom. Raises ReadError where it was not taken, StateError."""
    settings = config.settings
    sender = find_sender(parse_smtp_url(settings.SMTP_URL), settings.EMAIL_FROM)
    for address in (*settings.EMAIL_TO, sender):
        if not _ADDRESS.fullmatch(address):
            key = "EMAIL_FROM" if address == sender else "EMAIL_TO"
            raise ReadError(f"{key}: {clean(address)} is no address like name@example.org")
    message = make_mail(report, plain, sender, settings.EMAIL_TO, chart)
    name = add_mail(state, report.wall_seconds, message.as_bytes(policy=SMTP))
    try:
        return try_mail(state, settings, name)
    except Rejected:
        raise
    except ReadError as error:
        raise ReadError(f"{error}; it waits, and vpsmon monitor tries again") from None


def send_by_telegram(host: Host, config: Config, state: StateDirectory, report: Report, photo: str) -> str:
    """Put the report into the outbox, send what waits there, and return in words what became of it.

    `photo` is the name of its chart in the folder of the reports, or "". Raises ReadError where Telegram refused it,
    StateError where it could not be written down.
    """
    identity = os.urandom(4).hex()
    with state.lock():
        outbox = state.load(OUTBOX_FILE)
        lines = format_telegram(report, identity)
        state.commit({OUTBOX_FILE: add_report(outbox, report.host_name, report.wall_seconds, identity, lines, photo)})
    try:
        Delivery(host, state, make_destination(config.settings)).deliver()
    except StateError as error:
        return f"it waits in the outbox: {error}"
    outbox = state.load(OUTBOX_FILE)
    if any(entry["id"] == identity for entry in list_entries(outbox)):
        return "it waits in the outbox, and the next pass of vpsmon monitor sends it"
    refusal = outbox.get("refusal")
    if isinstance(refusal, dict):
        raise ReadError(str(refusal.get("reason")))
    return "sent"
