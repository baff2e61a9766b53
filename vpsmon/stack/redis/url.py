"""What REDIS_URL can say: redis://, rediss:// with TLS, unix:///path, with the options of the redis library for both.

To import the library took 95 ms; these are its options that say how to reach a server.
"""

from __future__ import annotations

import socket
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from vpsmon.core.findings import ReadError
from vpsmon.stack.presence import REDIS_PORT
from vpsmon.stack.redis.protocol import Login, ProtocolSession, Target, TcpTarget, Tls

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_OPTIONS = ("db", *_TLS_OPTIONS)
_REQUIREMENTS = {"required": True, "optional": True, "none": False}
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class UnixTarget(NamedTuple):
    """The file of a Unix socket."""

    path: str
    username: str = ""
    password: str = ""
    database: int = 0

    @property
    def place(self) -> str:
        return self.path

    def connect(self, database: int | None, connect_seconds: float, answer_seconds: float) -> ProtocolSession:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(connect_seconds)
            connection.connect(self.path)
        except BaseException:
            connection.close()
            raise
        login = Login(self.username, self.password, self.database if database is None else database)
        return ProtocolSession(connection, login, answer_seconds)


def parse_url(url: str) -> Target:
    """Return where a URL leads. Raises ValueError, with secrets in it, or ReadError for an option that is not known."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
    is_tls = parts.scheme == "rediss"
    if set(options) - set(_OPTIONS if is_tls else _OPTIONS[:1]):
        # What stands there may be a part of the password.
        raise ReadError(
            f"REDIS_URL has an option that is not supported: db is, and for rediss:// {', '.join(_TLS_OPTIONS)}"
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme == "unix" and parts.path:
        return UnixTarget(unquote(parts.path), user, password, _to_database(options.get("db", "")))
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("another kind of URL")
    database = _to_database(options.get("db") or parts.path.strip("/"))
    host = unquote(parts.hostname or "localhost")
    return TcpTarget(host, parts.port or REDIS_PORT, user, password, database, _read_tls(options) if is_tls else None)


def _to_database(text: str) -> int:
    return int(text) if text else 0


def _read_tls(options: dict[str, str]) -> Tls:
    verifies = _choose(_REQUIREMENTS, options.get("ssl_cert_reqs", "required"))
    return Tls(
        options.get("ssl_ca_certs", ""),
        options.get("ssl_certfile", ""),
        options.get("ssl_keyfile", ""),
        verifies,
        verifies and _choose(_SWITCHES, options.get("ssl_check_hostname", "true")),
    )


def _choose(meanings: dict[str, bool], word: str) -> bool:
    try:
        return meanings[word.lower()]
    except KeyError:
        raise ValueError("an option has a value that is none") from None
