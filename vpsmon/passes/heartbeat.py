"""The dead-man's switch: HEARTBEAT_URL, which a service at the other end expects after every good pass."""

from __future__ import annotations

import re

from vpsmon.core.findings import ReadError
from vpsmon.core.secrets import redact
from vpsmon.core.text import quote_foreign
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.system.log import say

_TIMEOUT_SECONDS = 5.0
# healthchecks.io/docs/http_api: /UUID, or /KEY/NAME, at hc-ping.com; below /ping/ at a server of one's own.
_HOSTED = re.compile(r"https?://hc-ping\.com/[^?#]+")
_OWN = re.compile(r"https?://[^?#]+/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def send_heartbeat(context: PassContext, result: StageResult) -> None:
    """Fetch HEARTBEAT_URL, if there is one and the pass was good: what it found is remembered, and alerts arrive.

    After another one say so, where the service can be told; elsewhere it rings since nothing comes. Raises StateError.
    """
    url = context.config.settings.HEARTBEAT_URL
    if not (context.with_alerts and url):
        return
    trouble = result.state_error or context.state.trouble or explain_undelivered(context)
    if not trouble:
        _fetch("GET", url, b"")
    elif failure_url := name_failure_url(url):
        _fetch("POST", failure_url, redact(trouble).encode())


def explain_undelivered(context: PassContext) -> str | None:
    """Return why alerts do not arrive where they should; None where they do, or are not sent. Raises StateError."""
    if not context.config.settings.has_telegram:
        return None
    from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
    from vpsmon.alerts.outbox import explain_silence

    return explain_silence(context.state.load(OUTBOX_FILE), context.host.wall_seconds())


def name_failure_url(url: str) -> str | None:
    """Return where healthchecks.io is told of a failure; None for a service that is not known to have such a place."""
    return _find_place(url, "fail")


def name_log_url(url: str) -> str | None:
    """Return where healthchecks.io notes a call that is no sign of life; None for another service."""
    return _find_place(url, "log")


def _find_place(url: str, name: str) -> str | None:
    path = re.split("[?#]", url, maxsplit=1)[0].rstrip("/")
    return f"{path}/{name}" if _HOSTED.fullmatch(path) or _OWN.fullmatch(path) else None


def _fetch(verb: str, url: str, body: bytes) -> None:
    """A failure is only a warning: the service rings by itself."""
    try:
        ping(verb, url, body)
    except ReadError as error:
        say("warning", str(error))


def ping(verb: str, url: str, body: bytes) -> None:
    """Call the service. Raises ReadError where it cannot be reached, or knows nothing of this URL.

    healthchecks.io answers 200 `OK (not found)` for a check that was deleted, and `OK (rate limited)`; Uptime Kuma
    before 1.17 200 `{"ok":false,"msg":"Monitor not found or not active."}`.
    """
    from vpsmon.net.http_client import request

    try:
        reply = request(verb, url, body or None, {}, _TIMEOUT_SECONDS, through_proxy=True)
    except ReadError as error:
        raise ReadError(f"HEARTBEAT_URL cannot be reached: {error}") from None
    if not 200 <= reply.status < 300:
        raise ReadError(f"HEARTBEAT_URL answered with HTTP status {reply.status}; is the URL right?")
    said = quote_foreign(reply.body[:500].decode("utf-8", "replace").strip(), 120)
    if re.match(r"OK \(.+\)$", said) or re.search(r'"ok"\s*:\s*false', said):
        raise ReadError(f"HEARTBEAT_URL is refused: {said}; is the check still there, and are these too many calls?")
