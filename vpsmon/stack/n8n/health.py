"""Whether n8n says of itself that it is ready: /healthz, or where its own environment has put it."""

from __future__ import annotations

from collections.abc import Iterator

from vpsmon.core.findings import ReadError
from vpsmon.net.http_reply import HttpReply
from vpsmon.stack.n8n.server import N8n
from vpsmon.stack.web import Site, ask, parse_json
from vpsmon.system.host import Host

_HEALTH_SECONDS = 1.5


def is_ready(host: Host, n8n: N8n) -> bool:
    """Return False when n8n itself says that it is not: its database does not answer. Raises ReadError: no answer."""
    if n8n.site is None:
        raise ReadError(n8n.absence)
    path, reply = _find_health(host, n8n.site, n8n)
    if reply.status == 503:
        return False
    # A version without the readiness check answers it with a web page, which says nothing.
    return ask(host, n8n.site, f"{path}/readiness", {}, _HEALTH_SECONDS).status != 503


def _find_health(host: Host, site: Site, n8n: N8n) -> tuple[str, HttpReply]:
    """Return where n8n tells of its health, and what it says. Raises ReadError where nothing answers as n8n does."""
    answers = []
    for path in _list_paths(n8n):
        reply = ask(host, site, path, {}, _HEALTH_SECONDS)
        if reply.status == 503 or _is_well(reply):
            return path, reply
        answers.append(f"{path} answers with HTTP {reply.status}")
    raise ReadError(f"{', '.join(answers)} and not as n8n does: is N8N_URL right?")


def _list_paths(n8n: N8n) -> Iterator[str]:
    """Yield N8N_ENDPOINT_HEALTH, by itself and below N8N_PATH: not all versions put it there."""
    health = n8n.get("N8N_ENDPOINT_HEALTH").strip("/") or "healthz"
    base = n8n.get("N8N_PATH").strip("/")
    yield f"/{health}"
    if base:
        yield f"/{base}/{health}"


def _is_well(reply: HttpReply) -> bool:
    try:
        return reply.status == 200 and bool(parse_json(reply.body) == {"status": "ok"})
    except ValueError:
        return False
