"""WAHA: where its API is, which key opens it, and the WhatsApp sessions that it tells of.

Sources: WAHA's swagger (`SessionInfo`), docs "Sessions" and "Security". Statuses are an open set: newer versions add
some. `timestamps.activity` exists since 2025.11.2, may be {} or null, and is the last call that used WhatsApp: neither
incoming messages nor a quiet night move it, so it proves nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean, format_duration
from vpsmon.net.http_reply import HttpReply, RequestFailed
from vpsmon.stack.command_line import to_port
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.choice import Choice
from vpsmon.stack.locate import Ambiguous, find_choice, locate
from vpsmon.stack.presence import WAHA_PORT
from vpsmon.stack.web import (
    Site,
    ask,
    has_listener,
    make_key_header,
    parse_json,
    site_of_addresses,
    site_of_setting,
)
from vpsmon.stack.web_post import post
from vpsmon.system.host import Host

_PORT = WAHA_PORT
LOOPBACK = Site((f"http://127.0.0.1:{_PORT}",), f"port {_PORT} of this machine")
_ONLY_BY_URL = f"a program on port {_PORT} of this machine gets it only where WAHA_URL says so"
_PROBE_SECONDS = 1.0
# The newest name first; WAHA_API_KEY_PLAIN stands beside a WAHA_API_KEY that holds only a hash.
_KEY_VARIABLES = ("WAHA_API_KEY_PLAIN", "WAHA_API_KEY", "WHATSAPP_API_KEY")
_HASH_PREFIX = "sha512:"
_NAMES_A_PERSON = ("SCAN_QR", "PASSKEY")


class Silent(ReadError):
    """The API gives no answer at all."""


class Broken(ReadError):
    """The API answers with an error of its own, or with half an answer."""


class Waha(NamedTuple):
    """A WAHA and how to talk to it; the key is a secret."""

    site: Site
    key: str
    key_source: str
    container: Container | None
    # Why the key of monitor.conf waits: it is another container than before.
    change: str = ""

    def __repr__(self) -> str:
        return f"<WAHA {describe_waha(self)}>"


class Session(NamedTuple):
    """A WhatsApp session; the name and status are foreign text. The activity is unknown in older versions."""

    name: str
    status: str
    activity_wall_seconds: float | None
    # False where WAHA says that no phone is linked (`me` is null).
    is_linked: bool = True


def find_waha(host: Host, settings: Settings, was_on_loopback: bool = False) -> Waha:
    """Return the WAHA of this machine, asked for once a pass.

    One on the machine itself is known by its answer; with `was_on_loopback` it need not answer now. Raises
    NotApplicable (there is none), Silent (its container is not running) or ReadError (Docker is in trouble).
    """
    return host.once("waha", lambda: _find_waha(host, settings, was_on_loopback))


def _find_waha(host: Host, settings: Settings, was_on_loopback: bool) -> Waha:
    choice = _find_choice(host, settings)
    if settings.WAHA_URL:
        # The container only tells the key and the time of its start.
        container = None if choice.doubt or not _leads_to(settings.WAHA_URL, choice.container) else choice.container
        return Waha(site_of_setting(settings.WAHA_URL, "WAHA_URL"), *_find_key(settings, container), container)
    try:
        place = locate(host, settings, "WAHA_CONTAINER", "WAHA_URL", _find_port)
    except Ambiguous:
        raise
    except ReadError as error:
        raise Silent(str(error)) from None
    if place.container is not None:
        site = site_of_addresses(place.addresses, _find_scheme(place.container))
        change = choice.doubt if choice.is_new and settings.WAHA_API_KEY else ""
        return Waha(site, *_find_key(settings, place.container, choice.doubt), place.container, change)
    if isinstance(place.absence, NotApplicable) and (was_on_loopback or _answers_on_loopback(host)):
        return Waha(LOOPBACK, *_find_key(settings, None, _ONLY_BY_URL), None)
    raise place.absence or NotApplicable("no WAHA found")


def leads_to_this_machine(url: str) -> bool:
    """Return whether a URL is one of loopback."""
    host_name = urlsplit(url).hostname or ""
    return host_name in ("localhost", "::1") or host_name.startswith("127.")


def _leads_to(url: str, container: Container | None) -> bool:
    """Return whether a URL may be that of a container: its key goes to no other machine."""
    if container is None:
        return False
    return leads_to_this_machine(url) or urlsplit(url).hostname in container.addresses


def _find_port(container: Container) -> int:
    environment = container.environment
    return to_port(environment.get("WHATSAPP_API_PORT") or environment.get("PORT"), _PORT)


def _find_scheme(container: Container) -> str:
    """WAHA serves its port by TLS then, and by nothing else (waha.devlike.pro/docs/how-to/config)."""
    return "https" if container.environment.get("WAHA_HTTPS_ENABLED", "").lower() == "true" else "http"


def _find_choice(host: Host, settings: Settings) -> Choice:
    try:
        return find_choice(host, settings, "WAHA_CONTAINER")
    except (NotApplicable, ReadError):
        return Choice()


def _find_key(settings: Settings, container: Container | None, doubt: str = "") -> tuple[str, str]:
    """Return the key and where it is from; without a key, why there is none.

    `doubt` says why the key of monitor.conf must not go there; what the container itself holds may.
    """
    if settings.WAHA_API_KEY and not doubt:
        return settings.WAHA_API_KEY, "WAHA_API_KEY in monitor.conf"
    environment = container.environment if container else {}
    values = {name: environment[name] for name in _KEY_VARIABLES if environment.get(name)}
    for name, value in values.items():
        if not value.startswith(_HASH_PREFIX):
            return value, f"{name} of its container"
    if settings.WAHA_API_KEY:
        return "", f"WAHA_API_KEY is not sent ({doubt})"
    return "", "its container holds only a hash of the key" if values else "none was found"


def _answers_on_loopback(host: Host) -> bool:
    """Many programs use this port; WAHA answers /ping with pong, or wants a key in the words of its framework."""
    if not has_listener(host, LOOPBACK):
        return False
    try:
        reply = ask(host, LOOPBACK, "/ping", {}, _PROBE_SECONDS)
        return parse_json(reply.body) in ({"message": "pong"}, {"message": "Unauthorized", "statusCode": 401})
    except (ReadError, ValueError):
        return False


def describe_waha(waha: Waha) -> str:
    """Return what was found and from where, without the key."""
    key = f"key from {waha.key_source}" if waha.key else f"no key: {waha.key_source}"
    return clean(f"{waha.site.urls[0]} ({waha.site.source}), {key}", 300)


def read_sessions(host: Host, waha: Waha) -> list[Session]:
    """Return all sessions, also stopped ones. Raises Silent, Broken, or ReadError where the owner has to mend it."""
    headers = make_key_header("X-Api-Key", waha.key, waha.key_source)
    try:
        reply = ask(host, waha.site, "/api/sessions?all=true", headers)
    except RequestFailed as failure:
        if failure.is_on_this_side or failure.cause == "too_large":
            raise
        raise Silent(str(failure)) from None
    _check_status(reply, waha)
    return parse_sessions(reply.body)


def _check_status(reply: HttpReply, waha: Waha) -> None:
    if reply.status == 200:
        return
    if reply.status in (401, 403):
        found = f"the key from {waha.key_source} is refused" if waha.key else f"it wants a key, and {waha.key_source}"
        raise ReadError(f"{found} (HTTP {reply.status}): put the plain key into monitor.conf as WAHA_API_KEY")
    if reply.status >= 500:
        raise Broken(f"it answers with HTTP {reply.status}: look into its log")
    raise ReadError(f"it answers with HTTP {reply.status}, which WAHA does not: is WAHA_URL right?")


def parse_sessions(body: bytes) -> list[Session]:
    """Return the sessions of GET /api/sessions. Raises Broken (half a JSON) or ReadError (not from WAHA)."""
    try:
        content = parse_json(body)
    except ValueError:
        if body.lstrip()[:1] in (b"[", b"{"):
            raise Broken("its answer breaks off in the middle or is no JSON: look into its log") from None
        raise ReadError("its answer is no JSON but perhaps a web page: is WAHA_URL right?") from None
    if not isinstance(content, list):
        raise ReadError("its answer is not a list of sessions: is WAHA_URL right?")
    return [_parse_session(entry) for entry in content if isinstance(entry, dict) and _has_name(entry)]


def _has_name(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("name"), str) and entry["name"] != ""


def _parse_session(entry: dict[str, Any]) -> Session:
    status = entry.get("status")
    timestamps = entry.get("timestamps")
    milliseconds = timestamps.get("activity") if isinstance(timestamps, dict) else None
    activity = None
    if isinstance(milliseconds, (int, float)) and 1 < milliseconds < 1e15:
        activity = milliseconds / 1000
    is_linked = entry.get("me", "") is not None
    return Session(entry["name"], status if isinstance(status, str) and status else "UNKNOWN", activity, is_linked)


def is_connected(status: str) -> bool:
    """Return whether messages get through: what the metrics call connected, everything else disconnected."""
    return status == "WORKING"


def needs_a_person(status: str) -> bool:
    """Return whether a session waits for somebody with the phone: no restart helps."""
    return status.startswith(_NAMES_A_PERSON)


def show_activity(activity_wall_seconds: float | None, now_wall_seconds: float) -> str:
    """Return when a session was last used to send something, in words; nothing where the version does not tell it."""
    if activity_wall_seconds is None:
        return ""
    return f", last sent {format_duration(now_wall_seconds - activity_wall_seconds)} ago"


def restart_session(host: Host, waha: Waha, name: str) -> None:
    """Stop and start one session; it keeps its login. Raises ReadError; it may be done nevertheless."""
    _post_session(host, waha, name, "restart")


def start_session(host: Host, waha: Waha, name: str) -> None:
    """Start a session that is stopped; nothing happens to one that runs. Raises ReadError."""
    _post_session(host, waha, name, "start")


def _post_session(host: Host, waha: Waha, name: str, verb: str) -> None:
    headers = make_key_header("X-Api-Key", waha.key, waha.key_source)
    reply = post(host, waha.site, f"/api/sessions/{quote(name, safe='', errors='replace')}/{verb}", headers)
    if reply.status == 404:
        raise ReadError(f"it knows no session {clean(name)}, or is older than 2024.9")
    if not 200 <= reply.status < 300:
        _check_status(reply, waha)
