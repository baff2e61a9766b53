"""A request to a web server, over TCP with or without TLS, without a proxy and without following redirects.

A redirect is an answer like another: following it would turn a POST into a GET, and take secrets elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vpsmon.core.findings import ReadError
from vpsmon.net.connection import connect
from vpsmon.net.http_exchange import exchange
from vpsmon.net.http_reply import HttpReply

if TYPE_CHECKING:
    import ssl
    import urllib.request

_LARGEST_REPLY_BYTES = 4_000_000
_DEFAULT_PORTS = {"http": 80, "https": 443}


def request(
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout_seconds: float,
    through_proxy: bool = False,
) -> HttpReply:
    """Return the answer of a web server, whatever its status. Raises ReadError when there is none in time.

    The time is for all of it: for looking up a name there is no limit of its own.
    `through_proxy` honours HTTPS_PROXY and its like; a container's address is never reached through one.
    """
    return _answer_within(timeout_seconds, lambda: _request(method, url, body, headers, timeout_seconds, through_proxy))


def fetch(method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout_seconds: float) -> HttpReply:
    """Return the answer of a web server, whatever its status.

    Raises OSError: TimeoutError when there is no whole answer in time; ValueError for a URL that is none.
    """
    deadline = time.monotonic() + timeout_seconds
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    if not parts.hostname or parts.username is not None:
        raise ValueError("not a URL that can be asked")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": parts.netloc, "User-Agent": "vpsmon", "Accept": "*/*", **headers}
    with connect(parts.hostname, port, deadline) as plain:
        if parts.scheme == "http":
            return exchange(plain, method, target, fields, body, deadline)
        with make_tls_context().wrap_socket(plain, server_hostname=parts.hostname) as secured:
            return exchange(secured, method, target, fields, body, deadline)


@lru_cache(maxsize=1)
def make_tls_context() -> ssl.SSLContext:
    """Return the context of all TLS connections: reading the authorities takes 20 ms, so it is kept."""
    import ssl

    return ssl.create_default_context()


def _answer_within(seconds: float, ask: Callable[[], HttpReply]) -> HttpReply:
    """Return what `ask` returns, or raise what it raises. Raises ReadError when that takes longer.

    Where no thread can be started, it takes as long as it takes.
    """
    import queue
    import threading

    outcomes: queue.SimpleQueue[HttpReply | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put(ask())
        except Exception as error:
            outcomes.put(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:
        return ask()
    try:
        outcome = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise ReadError("no answer in time") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _request(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout_seconds: float, through_proxy: bool
) -> HttpReply:
    try:
        if through_proxy and _has_proxy():
            return _request_through_proxy(method, url, body, headers, timeout_seconds)
        return fetch(method, url, body, headers, timeout_seconds)
    except (OSError, ValueError) as error:
        # ValueError: a header or URL that HTTP cannot carry; its text would repeat it.
        raise ReadError(_name_network_error(error)) from None


def _has_proxy() -> bool:
    names = (f"{kind}_proxy" for kind in ("http", "https", "all"))
    return any(os.environ.get(name) or os.environ.get(name.upper()) for name in names)


def _request_through_proxy(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout_seconds: float
) -> HttpReply:
    """urllib knows all about proxies, and takes 30 ms to be imported.

    And not requests: the texts of urllib's exceptions do not hold the URL, and so never the bot token.
    """
    import http.client
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)  # noqa: S310 the scheme is checked by the caller
        opener = urllib.request.build_opener(_make_redirect_stopper())
        try:
            reply = opener.open(request, timeout=timeout_seconds)
        except urllib.error.HTTPError as refusal:
            reply = refusal
        with reply:
            return HttpReply(reply.status or 0, reply.read(_LARGEST_REPLY_BYTES))
    except urllib.error.URLError as error:
        raise ReadError(_name_network_error(error.reason)) from None
    except http.client.HTTPException as error:
        raise ReadError(_name_network_error(error)) from None


def _make_redirect_stopper() -> urllib.request.HTTPRedirectHandler:
    """A redirect is an answer like another: following it would turn a POST into a GET, and take secrets elsewhere."""
    import urllib.request

    class RedirectStopper(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: object, **keywords: object) -> None:
            return None

    return RedirectStopper()


def _name_network_error(reason: object) -> str:
    """Say what went wrong without repeating the URL, which may hold a token."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return str(reason.strerror)
    return type(reason).__name__
