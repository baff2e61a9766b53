"""A request to a web server, over TCP with or without TLS, directly or through an HTTP proxy, without redirects.

A redirect is an answer like another: following it would turn a POST into a GET, and take secrets elsewhere.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from vpsmon.net.connection import Garbled, TooLarge, connect
from vpsmon.net.http_exchange import Unsendable, encode_head, exchange
from vpsmon.net.http_reply import LARGEST_REPLY_BYTES, Cause, HttpReply, RequestFailed

if TYPE_CHECKING:
    from vpsmon.net.proxy import Proxy

LOADED_LATE = ("vpsmon.net.proxy", "vpsmon.net.tls")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# For looking up a name there is no limit but this one.
_LOOK_UP_SECONDS = 0.2


class _Server(NamedTuple):
    scheme: str
    host: str
    port: int
    # As it stands in the URL.
    netloc: str
    target: str


def request(
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout_seconds: float,
    through_proxy: bool = False,
    largest_bytes: int = LARGEST_REPLY_BYTES,
) -> HttpReply:
    """Return the answer of a web server, whatever its status. Raises RequestFailed when there is none in time.

    The time is for all of it. `through_proxy` honours HTTPS_PROXY and its like; a container's address is never reached
    through one.
    """
    deadline = time.monotonic() + timeout_seconds

    def ask() -> HttpReply:
        server = _parse_url(url)
        proxy = _find_proxy(server) if through_proxy else None
        try:
            encode_head(method, server.target, headers)  # a fault on this side is one also where nothing listens
            connection = _open(server, proxy, deadline)
        except (OSError, ValueError) as error:
            raise RequestFailed(*_explain(error, "not_sent")) from None
        with connection:
            try:
                return _exchange(connection, server, proxy, method, headers, body, deadline, largest_bytes)
            except (OSError, ValueError) as error:
                raise RequestFailed(*_explain(error, "no_answer")) from None

    return _answer_within(timeout_seconds + _LOOK_UP_SECONDS, ask)


def describe_proxy(url: str) -> str:
    """Return the proxy that leads to a URL, without its password; empty for none. Raises RequestFailed."""
    proxy = _find_proxy(_parse_url(url))
    return proxy.describe() if proxy else ""


def _parse_url(url: str) -> _Server:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, port = urlsplit(""), 0
    if not port or not parts.hostname or parts.username is not None:
        raise RequestFailed("the URL is malformed: write http://host:port or https://host", "unusable")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Server(parts.scheme, parts.hostname, port, parts.netloc, target)


def _find_proxy(server: _Server) -> Proxy | None:
    from vpsmon.net.proxy import find_proxy

    return find_proxy(server.scheme, server.host, server.port)


def _open(server: _Server, proxy: Proxy | None, deadline: float) -> socket.socket:
    """Return a connection over which the server can be asked. Raises OSError, ValueError, RequestFailed."""
    if proxy is None:
        connection = connect(server.host, server.port, deadline)
    else:
        from vpsmon.net.proxy import connect_to_proxy, open_tunnel

        if server.scheme == "http":
            return connect_to_proxy(proxy, deadline)
        connection = open_tunnel(proxy, server.host, server.port, deadline)
    if server.scheme == "http":
        return connection
    from vpsmon.net.tls import make_tls_context

    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        return make_tls_context().wrap_socket(connection, server_hostname=server.host)
    except BaseException:
        connection.close()
        raise


def _exchange(
    connection: socket.socket,
    server: _Server,
    proxy: Proxy | None,
    method: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: float,
    largest_bytes: int,
) -> HttpReply:
    fields = {"Host": server.netloc, "User-Agent": "vpsmon", "Accept": "*/*", **headers}
    if proxy is None or server.scheme != "http":
        return exchange(connection, method, server.target, fields, body, deadline, largest_bytes)
    target = f"http://{server.netloc}{server.target}"
    reply = exchange(connection, method, target, {**fields, **proxy.headers}, body, deadline, largest_bytes)
    if reply.status == 407:  # of no server, only of a proxy (RFC 9110, section 15.5.8)
        raise proxy.refuse(reply.status, server.netloc)
    return reply


def _answer_within(seconds: float, ask: Callable[[], HttpReply]) -> HttpReply:
    """Return what `ask` returns, or raise what it raises. Raises RequestFailed when that takes longer.

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
        raise RequestFailed("no answer in time", "no_answer") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _explain(error: OSError | ValueError, cause: Cause) -> tuple[str, Cause]:
    """Say what went wrong without repeating the URL, which may hold a token."""
    if isinstance(error, TimeoutError):
        return "no answer in time", cause
    if isinstance(error, Unsendable):
        return str(error), "unusable"
    if isinstance(error, Garbled):
        return str(error), "too_large" if isinstance(error, TooLarge) else cause
    if not isinstance(error, OSError):
        return "the URL is malformed: its host is no name", "unusable"
    # By their attributes, because importing ssl takes 10 ms where nothing has used it.
    if why := getattr(error, "verify_message", None):
        remedy = "its authority belongs into the system's, or into the file that SSL_CERT_FILE names"
        return f"its certificate is not trusted here ({why}): {remedy}", "untrusted"
    if why := getattr(error, "reason", None):
        return f"no TLS connection: {why.replace('_', ' ').lower()}", cause
    return error.strerror or type(error).__name__, cause
