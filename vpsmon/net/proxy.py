"""Which proxy leads to a URL, and the tunnel through it.

The variables are those of curl (everything.curl.dev/usingcurl/proxies/env.html) and of Python's urllib.request:
`https_proxy`, `http_proxy`, then `all_proxy` for both, in small letters first and then in capitals; HTTP_PROXY in
capitals is no setting inside a CGI program (httpoxy.org, CVE-2016-1000110); `no_proxy` names hosts with their
subdomains, `host:port`, addresses, networks (10.0.0.0/8) or `*`. CONNECT and absolute-form: RFC 9110, section 9.3.6,
and RFC 9112, section 3.2.2; the password: RFC 7617.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from vpsmon.core.text import clean
from vpsmon.net.connection import Garbled, Reader, connect
from vpsmon.net.http_exchange import encode_head, read_head
from vpsmon.net.http_reply import LARGEST_REPLY_BYTES, RequestFailed

_SUPPORTED = "only http:// proxies are supported (https:// URLs go through them by CONNECT)"


class Proxy(NamedTuple):
    """An HTTP proxy, and the variable that names it; without a user, without a login."""

    host: str
    port: int
    user: str
    password: str
    source: str

    def __repr__(self) -> str:
        return f"<proxy {self.describe()}>"

    def describe(self) -> str:
        """Return what it is and from where that is known, without a secret."""
        return f"http://{clean(join_place(self.host, self.port), 100)} ({self.source})"

    @property
    def headers(self) -> dict[str, str]:
        """What lets us in."""
        if not self.user and not self.password:
            return {}
        import base64

        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {login}"}

    def refuse(self, status: int, place: str) -> RequestFailed:
        """Return what its refusal to reach a place means."""
        if status == 407:
            said = "refuses user and password" if self.headers else "wants a user and a password"
            what = f"{said} (HTTP 407): set {self.source}=http://user:password@host:port, special characters as %XX"
        elif status == 403:
            what = f"does not let this machine reach {place} (HTTP 403): allow it there, or name the host in NO_PROXY"
        else:
            what = f"cannot reach {place} (HTTP {status})"
        return RequestFailed(f"the proxy {self.describe()} {what}", "unusable" if status in (403, 407) else "not_sent")


def join_place(host: str, port: int) -> str:
    """Return host:port as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def find_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy for a server; None for none. Raises RequestFailed for a setting that cannot be followed."""
    environment = os.environ if environment is None else environment
    source = next((name for name in _list_variables(scheme, environment) if environment.get(name, "").strip()), None)
    if source is None or _is_exempt(host, port, environment.get("no_proxy", environment.get("NO_PROXY", ""))):
        return None
    return _parse(environment[source].strip(), source)


def _list_variables(scheme: str, environment: Mapping[str, str]) -> list[str]:
    """Return the variables that count, the first one first; an empty one in small letters hides the other."""
    names = []
    for name in (f"{scheme}_proxy", "all_proxy"):
        is_foreign = name == "http_proxy" and "REQUEST_METHOD" in environment
        names += [name] if name in environment or is_foreign else [name.upper()]
    return names


def _parse(value: str, source: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme and parts.scheme != "http":
        kind = clean(parts.scheme, 20)
        raise RequestFailed(f"{source} names a proxy of the kind {kind}://, and {_SUPPORTED}", "unusable")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        form = "http://user:password@host:port, special characters of the password as %XX"
        raise RequestFailed(f"{source} is malformed: write {form}", "unusable")
    return Proxy(parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""), source)


def _is_exempt(host: str, port: int, exceptions: str) -> bool:
    host = host.lower().rstrip(".")
    return any(_matches(each.lower(), host, port) for each in exceptions.replace(",", " ").split())


def _matches(exception: str, host: str, port: int) -> bool:
    if exception == "*":
        return True
    if "/" in exception:
        return _is_inside(host, exception)
    name, colon, number = exception.rpartition(":")
    # An IPv6 address without brackets is full of colons and has no port.
    if not colon or not number.isdecimal() or (":" in name and not name.endswith("]")):
        name, number = exception, str(port)
    name = name.strip("[]").lstrip(".").rstrip(".")
    return number == str(port) and bool(name) and (host == name or host.endswith(f".{name}"))


def _is_inside(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def connect_to_proxy(proxy: Proxy, deadline_monotonic: float) -> socket.socket:
    """Return a connection to the proxy itself. Raises RequestFailed."""
    try:
        return connect(proxy.host, proxy.port, deadline_monotonic)
    except TimeoutError:
        why = "does not answer in time"
    except (OSError, ValueError) as error:
        why = f"cannot be reached: {getattr(error, 'strerror', None) or 'its name is malformed'}"
    raise RequestFailed(f"the proxy {proxy.describe()} {why}", "not_sent")


def open_tunnel(proxy: Proxy, host: str, port: int, deadline_monotonic: float) -> socket.socket:
    """Return a connection through the proxy to a server. Raises RequestFailed."""
    connection = connect_to_proxy(proxy, deadline_monotonic)
    try:
        status = _ask_for_tunnel(proxy, connection, join_place(host, port), deadline_monotonic)
        if not 200 <= status < 300:
            raise proxy.refuse(status, join_place(host, port))
        return connection
    except BaseException:
        connection.close()
        raise


def _ask_for_tunnel(proxy: Proxy, connection: socket.socket, place: str, deadline_monotonic: float) -> int:
    reader = Reader(connection, deadline_monotonic, LARGEST_REPLY_BYTES)
    try:
        reader.limit_time()
        connection.sendall(encode_head("CONNECT", place, {"Host": place, **proxy.headers}))
        return read_head(reader)[0]
    except TimeoutError:
        why = "does not answer in time"
    except Garbled:
        why = "does not answer as an HTTP proxy does: is the port right?"
    except OSError as error:
        why = f"breaks off: {error.strerror or type(error).__name__}"
    raise RequestFailed(f"the proxy {proxy.describe()} {why}", "not_sent")
