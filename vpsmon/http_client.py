"""A request to a web server, over TCP with or without TLS, without a proxy and without following redirects.

A redirect is an answer like another: following it would turn a POST into a GET, and take secrets elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vpsmon.host import HttpReply
from vpsmon.http_exchange import exchange
from vpsmon.tcp import connect

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
