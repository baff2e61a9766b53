"""The public API of n8n, as far as recovery needs it: which workflows run, and switching them off and on.

Facts are those of n8n 1.123 and 2.40: 1.x knows /deactivate and /activate, which publish the draft; 2.x has /unpublish
and /publish, which takes the version to publish. Neither the command line nor SQL takes effect in a running n8n.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.net.http_reply import HttpReply
from vpsmon.stack.n8n.server import find_n8n
from vpsmon.stack.web import Site, ask, make_key_header, parse_json
from vpsmon.stack.web_post import post
from vpsmon.system.host import Host

_SCOPES = "workflow:list, workflow:read, workflow:activate, workflow:deactivate"
HOW_TO_MAKE_A_KEY = (
    f"make a key in n8n under Settings > n8n API with the scopes {_SCOPES}, and put it into monitor.conf as N8N_API_KEY"
)
# More than this in one go is no emergency measure any more.
_MOST_PAGES = 10
_PAGE = 100
# A page of whole workflows, 40 kB each.
_LARGEST_PAGE_BYTES = 4_000_000


class KeyRefused(ReadError):
    """There is no API key, or n8n does not take it for this; the text says what to do."""


class Workflow(NamedTuple):
    """A workflow: the version that runs (`active_version`) and the one that is edited (`draft`)."""

    id: str
    name: str
    is_active: bool
    active_version: str
    draft: str


def list_active_workflows(host: Host, settings: Settings, tag: str) -> list[Workflow]:
    """Return the active workflows with a tag. Raises KeyRefused, ReadError."""
    found: list[Workflow] = []
    cursor = ""
    for _ in range(_MOST_PAGES):
        # The answer holds whole workflows whatever is asked; without the pinned data it is smaller.
        query = f"active=true&tags={quote(tag, safe='')}&limit={_PAGE}&excludePinnedData=true"
        page = _get(host, settings, f"/workflows?{query}" + (f"&cursor={quote(cursor, safe='')}" if cursor else ""))
        entries = page.get("data") if isinstance(page, dict) else None
        if not isinstance(entries, list):
            raise ReadError("n8n's list of workflows is not as expected: is N8N_URL right?")
        # What a proxy or another version makes of the query must not pause a workflow that nobody has tagged.
        found += [_parse(entry) for entry in entries if isinstance(entry, dict) and _has_tag(entry, tag)]
        cursor = str(page.get("nextCursor") or "")
        if not cursor:
            break
    return [each for each in found if each.id and each.is_active]


def _has_tag(entry: Mapping[str, Any], tag: str) -> bool:
    tags = entry.get("tags")
    return isinstance(tags, list) and any(isinstance(each, dict) and each.get("name") == tag for each in tags)


def read_workflow(host: Host, settings: Settings, identity: str) -> Workflow | None:
    """Return a workflow as it is now; None where it was deleted. Raises KeyRefused, ReadError."""
    reply = _ask(host, settings, f"/workflows/{quote(identity, safe='')}")
    return None if reply.status == 404 else _parse(_content(reply))


def deactivate(host: Host, settings: Settings, identity: str) -> None:
    """Switch a workflow off. Raises KeyRefused, ReadError; it may be off nevertheless."""
    reply = _post(host, settings, identity, "unpublish", None)
    if reply.status == 404:
        reply = _post(host, settings, identity, "deactivate", None)
    _content(reply)


def activate(host: Host, settings: Settings, workflow: Workflow, version: str) -> bool:
    """Switch a workflow on with the version that ran before; False where this n8n could only run another one.

    Raises KeyRefused, ReadError; it may be on nevertheless.
    """
    reply = _post(host, settings, workflow.id, "publish", {"versionId": version} if version else None)
    if reply.status == 404:
        # 1.x runs the draft, whatever it is.
        if version and workflow.draft != version:
            return False
        reply = _post(host, settings, workflow.id, "activate", None)
    _content(reply)
    return True


def _post(host: Host, settings: Settings, identity: str, verb: str, content: Any) -> HttpReply:
    site, headers = _open(host, settings)
    reply = post(host, site, f"/api/v1/workflows/{quote(identity, safe='')}/{verb}", headers, content)
    _check_key(reply)
    return reply


def _get(host: Host, settings: Settings, path: str) -> Any:
    return _content(_ask(host, settings, path))


def _ask(host: Host, settings: Settings, path: str) -> HttpReply:
    site, headers = _open(host, settings)
    reply = ask(host, site, f"/api/v1{path}", headers, largest_bytes=_LARGEST_PAGE_BYTES)
    _check_key(reply)
    return reply


def _open(host: Host, settings: Settings) -> tuple[Site, dict[str, str]]:
    """Return where n8n is and the header that opens it."""
    try:
        n8n = find_n8n(host, settings)
    except NotApplicable as absence:
        raise ReadError(str(absence)) from None
    if n8n.site is None:
        raise ReadError(n8n.absence)
    if not settings.N8N_API_KEY:
        raise KeyRefused(f"there is no API key of n8n: {HOW_TO_MAKE_A_KEY}")
    if n8n.doubt:
        raise KeyRefused(f"N8N_API_KEY is not sent: {n8n.doubt}")
    return n8n.site, make_key_header("X-N8N-API-KEY", settings.N8N_API_KEY, "N8N_API_KEY in monitor.conf")


def _check_key(reply: HttpReply) -> None:
    if reply.status == 401:
        raise KeyRefused(f"n8n refuses N8N_API_KEY; is it complete, and has it expired? Else {HOW_TO_MAKE_A_KEY}")
    if reply.status == 403:
        raise KeyRefused(f"N8N_API_KEY lacks a scope: {HOW_TO_MAKE_A_KEY}")


def _content(reply: HttpReply) -> Any:
    if not 200 <= reply.status < 300:
        raise ReadError(f"n8n answers with HTTP {reply.status}{_quote_message(reply)}")
    try:
        return parse_json(reply.body)
    except ValueError:
        raise ReadError("n8n's answer breaks off or is no JSON: is N8N_URL right?") from None


def _quote_message(reply: HttpReply) -> str:
    try:
        message = parse_json(reply.body).get("message")
    except (ValueError, AttributeError):
        return ""
    return f": {clean(str(message), 200)}" if message else ""


def _parse(entry: Any) -> Workflow:
    if not isinstance(entry, dict):
        raise ReadError("n8n's answer is no workflow: is N8N_URL right?")
    names = ("id", "name", "activeVersionId", "versionId")
    identity, name, active_version, draft = (str(entry.get(key) or "") for key in names)
    return Workflow(identity, name, entry.get("active") is True, active_version, draft)
