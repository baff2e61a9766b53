"""A connection to Redis in its own protocol, RESP2, which every version of it speaks.

To import the redis library took 95 ms, half of the processor time of a whole pass. Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from vpsmon.net.connection import Garbled, Reader, connect
from vpsmon.stack.presence import REDIS_PORT

Command = Sequence[str | int]

_LONGEST_LINE_BYTES = 64_000
# INFO has 8 kB, the longest list that is asked for has 200 short texts.
_LARGEST_ANSWER_BYTES = 1_000_000


class Refused(Exception):
    """What the server says instead of an answer, its code first: WRONGTYPE Operation against a key …"""


class UntrustedCertificate(OSError):
    """The server's certificate is not one of those that this machine trusts; the text says why not."""


class Session(Protocol):
    """A connection that is logged in."""

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands sent in one go: text, whole numbers, None, or a list of them.

        Raises Refused with the first refusal, or OSError.
        """

    def close(self) -> None:
        """Close the connection."""


class Target(Protocol):
    """A place where Redis may listen, with what it takes to log in."""

    @property
    def place(self) -> str:
        """What it is called, without a secret."""

    def connect(self, database: int | None, connect_seconds: float, answer_seconds: float) -> Session:
        """Return a session; the database is by default that of the target. Raises OSError, ValueError or Refused."""


class Login(NamedTuple):
    """What it takes to be let in, and the database."""

    username: str
    password: str
    database: int


class Tls(NamedTuple):
    """What is trusted, a file or else the authorities of the system, and the certificate of our own, if any."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""
    verifies: bool = True
    checks_name: bool = True

    def wrap(self, connection: socket.socket, host: str) -> socket.socket:
        """Return the connection with TLS. Raises OSError: UntrustedCertificate where that is the reason."""
        import ssl

        from vpsmon.net.tls import make_tls_context

        try:
            context = make_tls_context()
            if self != Tls():
                context = ssl.create_default_context(cafile=self.authorities or None)
                context.check_hostname = self.checks_name
                context.verify_mode = ssl.CERT_REQUIRED if self.verifies else ssl.CERT_NONE
            if self.certificate:
                # Without a password of its own, a key that has one would be asked for on the terminal.
                context.load_cert_chain(self.certificate, self.key or None, password="")
            return context.wrap_socket(connection, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise UntrustedCertificate(error.verify_message) from None
        except BaseException:
            connection.close()
            raise


class TcpTarget(NamedTuple):
    """A port, with or without TLS."""

    host: str
    port: int = REDIS_PORT
    username: str = ""
    password: str = ""
    database: int = 0
    tls: Tls | None = None

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self, database: int | None, connect_seconds: float, answer_seconds: float) -> ProtocolSession:
        connection = connect(self.host, self.port, time.monotonic() + connect_seconds)
        if self.tls:
            connection = self.tls.wrap(connection, self.host)
        login = Login(self.username, self.password, self.database if database is None else database)
        return ProtocolSession(connection, login, answer_seconds)


class ProtocolSession:
    """One connection. Every call of `run` has its own deadline."""

    def __init__(self, connection: socket.socket, login: Login, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._connection = connection
        try:
            self._log_in(login)
        except BaseException:
            self.close()
            raise

    def _log_in(self, login: Login) -> None:
        # A user with `nopass` is let in with an empty one.
        words = [login.username, login.password] if login.username else [login.password]
        if any(words):
            try:
                self.run([("AUTH", *words)])
            except Refused as refusal:
                # Before Redis 6 there were no users.
                if len(words) == 1 or "wrong number of arguments" not in str(refusal):
                    raise
                self.run([("AUTH", login.password)])
        if login.database:
            self.run([("SELECT", login.database)])

    def run(self, commands: Sequence[Command]) -> list[Any]:
        reader = Reader(self._connection, time.monotonic() + self._answer_seconds, _LARGEST_ANSWER_BYTES)
        reader.limit_time()
        # A server that takes no more clients says so and closes: then this fails, and why is still to be read.
        with suppress(ConnectionError):
            self._connection.sendall(b"".join(_encode(command) for command in commands))
        answers = [_read_answer(reader) for _ in commands]
        refusal = next((answer for answer in answers if isinstance(answer, Refused)), None)
        if refusal:
            raise refusal
        return answers

    def close(self) -> None:
        self._connection.close()


def _encode(command: Command) -> bytes:
    words = [str(word).encode() for word in command]
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


def _read_answer(reader: Reader, is_inner: bool = False) -> str | int | Refused | list[Any] | None:
    line = reader.read_until(b"\r\n", _LONGEST_LINE_BYTES).decode("utf-8", "replace")
    kind, rest = line[:1], line[1:]
    if kind == "+":
        return rest
    if kind == "-":
        return Refused(rest)
    if kind not in (":", "$", "*"):
        raise Garbled("it does not answer as Redis does")
    number = _parse_number(rest)
    if kind == ":":
        return number
    if number < 0:
        return None
    if kind == "$":
        return _read_text(reader, number)
    if is_inner:
        raise Garbled("a list in a list, which nothing was asked for")
    return [_read_answer(reader, is_inner=True) for _ in range(number)]


def _parse_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Garbled("a number is none") from None


def _read_text(reader: Reader, size: int) -> str:
    data = reader.read(size + 2)
    if len(data) != size + 2 or data[-2:] != b"\r\n":
        raise Garbled("a text is cut off")
    return data[:-2].decode("utf-8", "replace")
