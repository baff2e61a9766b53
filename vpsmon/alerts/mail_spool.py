"""E-mails on their way: on disk before the first attempt, tried again by later passes while the server is away.

A file of `.alerts/mail/` is one message; when it was changed says when it was tried last.
"""

from __future__ import annotations

import contextlib
import os

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.state.directory import StateDirectory
from vpsmon.state.folder import Folder
from vpsmon.system.host import Host
from vpsmon.system.log import say

# Servers that put strangers off for a while (greylisting) want some minutes.
_RETRY_SECONDS = 600
# Older than that, the next report says more.
_GIVE_UP_SECONDS = 86_400
_MOST_KEPT = 5
_LOCK_SECONDS = 20.0


def open_spool(state: StateDirectory) -> Folder:
    """Return the folder of the messages that wait."""
    return Folder(state, "mail")


def add_mail(state: StateDirectory, wall_seconds: float, content: bytes) -> str:
    """Put a message where it waits, and return its name. Raises StateError."""
    name = f"{wall_seconds:.0f}-{os.urandom(4).hex()}.eml"
    open_spool(state).write(name, content, _MOST_KEPT)
    return name


def list_due(host: Host, state: StateDirectory) -> list[str]:
    """Return the messages that may be tried now; a time in the future comes from a clock that was wrong."""
    spool, now = open_spool(state), host.wall_seconds()
    due = []
    for name in spool.list():
        with contextlib.suppress(OSError):
            if not 0 <= now - os.stat(os.path.join(spool.path, name)).st_mtime < _RETRY_SECONDS:
                due.append(name)
    return due


def try_mail(state: StateDirectory, settings: Settings, name: str) -> str:
    """Hand one message over, and return in words to whom; one that can never go is taken out.

    Raises Rejected (never), ReadError (it waits) or StateError.
    """
    from vpsmon.net.smtp import Rejected

    with state.mail_lock(_LOCK_SECONDS):
        spool = open_spool(state)
        content = spool.read(name)
        if content is None:
            return "sent by another process"
        try:
            told = _hand_over(settings, content)
        except Rejected:
            spool.remove(name)
            raise
        except ReadError:
            with contextlib.suppress(OSError):
                os.utime(os.path.join(spool.path, name))
            raise
        spool.remove(name)
        return told


def _hand_over(settings: Settings, content: bytes) -> str:
    from vpsmon.core.text import clean
    from vpsmon.net.smtp import find_sender, hand_over, parse_smtp_url

    server = parse_smtp_url(settings.SMTP_URL)
    refused = hand_over(server, find_sender(server, settings.EMAIL_FROM), settings.EMAIL_TO, content)
    told = "".join(f"; {clean(name)} was refused: {reason}" for name, reason in refused.items())
    return f"sent to {clean(', '.join(settings.EMAIL_TO), 200)}{told}"


def deliver_mail(host: Host, state: StateDirectory, settings: Settings) -> None:
    """Try again what waits, and say what became of it. Raises StateError."""
    from vpsmon.net.smtp import Rejected

    for name in list_due(host, state):
        try:
            try_mail(state, settings, name)
        except Rejected as error:
            say("error", f"a report is not sent by e-mail: {error}; it is kept in .alerts/reports/")
        except ReadError as error:
            if host.wall_seconds() - _made_at(name) > _GIVE_UP_SECONDS:
                open_spool(state).remove(name)
                say("error", f"a report was not sent by e-mail for a day, and is given up: {error}")
            else:
                say("warning", f"a report waits to be sent by e-mail: {error}")


def _made_at(name: str) -> float:
    seconds = name.partition("-")[0]
    return float(seconds) if seconds.isdecimal() else 0.0
