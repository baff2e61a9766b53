"""The dead-man's switch: HEARTBEAT_URL, which a service at the other end expects after every good pass."""

from __future__ import annotations

import re

from vpsmon.core.findings import ReadError
from vpsmon.core.secrets import redact
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.system.host import Host
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
        _fetch(context.host, "GET", url, b"")
    elif failure_url := name_failure_url(url):
        _fetch(context.host, "POST", failure_url, redact(trouble).encode())


def explain_undelivered(context: PassContext) -> str | None:
    """Return why alerts do not arrive where they should; None where they do, or are not sent. Raises StateError."""
    if not context.config.settings.has_telegram:
        return None
    from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
    from vpsmon.alerts.outbox import explain_silence

    return explain_silence(context.state.load(OUTBOX_FILE), context.host.wall_seconds())


def name_failure_url(url: str) -> str | None:
    """Return where healthchecks.io is told of a failure; None for a service that is not known to have such a place."""
    path = re.split("[?#]", url, maxsplit=1)[0].rstrip("/")
    return f"{path}/fail" if _HOSTED.fullmatch(path) or _OWN.fullmatch(path) else None


def _fetch(host: Host, verb: str, url: str, body: bytes) -> None:
    """A failure is only a warning: the service rings by itself."""
    try:
        reply = host.request(verb, url, body or None, {}, _TIMEOUT_SECONDS, through_proxy=True)
    except ReadError as error:
        say("warning", f"HEARTBEAT_URL cannot be reached: {error}")
        return
    if not 200 <= reply.status < 300:
        say("warning", f"HEARTBEAT_URL answered with HTTP status {reply.status}; is the URL right?")
