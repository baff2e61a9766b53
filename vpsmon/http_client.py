"""A request to a web server, over TCP with or without TLS, without a proxy and without following redirects.

A redirect is an answer like another: following it would turn a POST into a GET, and take secrets elsewhere.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vpsmon.host import HttpReply
from vpsmon.http_exchange import exchange

if TYPE_CHECKING:
    import ssl

_DEFAULT_PORTS = {"http": 80, "https": 443}


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
    with _connect(parts.hostname, port, deadline) as plain:
        if parts.scheme == "http":
            return exchange(plain, method, target, fields, body, deadline)
        with make_tls_context().wrap_socket(plain, server_hostname=parts.hostname) as secured:
            return exchange(secured, method, target, fields, body, deadline)


def _connect(name: str, port: int, deadline: float) -> socket.socket:
    """Return a connection to the first address of a name that takes it. Raises OSError."""
    # Text would be encoded as an international name, with modules of a megabyte, also where it is plain.
    plain_name = name.encode("ascii") if name.isascii() else name.encode("idna")
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in socket.getaddrinfo(plain_name, port, type=socket.SOCK_STREAM):
        remaining_seconds = deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError("timed out")
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(remaining_seconds)
        try:
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


@lru_cache(maxsize=1)
def make_tls_context() -> ssl.SSLContext:
    """Return the context of all TLS connections: reading the authorities takes 20 ms, so it is kept."""
    import ssl

    return ssl.create_default_context()
