"""A connection to Redis in its own protocol, RESP2, which every version of it speaks.

To import the redis library takes half of the processor time of a whole pass; it is left what this cannot do
(redis_library.py). Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from vpsmon.net.connection import Garbled, Reader, connect
from vpsmon.stack.presence import REDIS_PORT

Command = Sequence[str | int]

_LONGEST_LINE_BYTES = 64_000
# INFO has 8 kB, the longest list that is asked for has 200 short texts.
_LARGEST_ANSWER_BYTES = 1_000_000


class Refused(Exception):
    """What the server says instead of an answer, its code first: WRONGTYPE Operation against a key …"""


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


class TcpTarget(NamedTuple):
    """A port without TLS."""

    host: str
    port: int = REDIS_PORT
    username: str = ""
    password: str = ""
    database: int = 0

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self, database: int | None, connect_seconds: float, answer_seconds: float) -> ProtocolSession:
        return ProtocolSession(self, self.database if database is None else database, connect_seconds, answer_seconds)


def parse_plain_url(url: str) -> TcpTarget | None:
    """Return what redis://user:password@host:port/database means; None for another kind of URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.query:
        return None
    return TcpTarget(
        unquote(parts.hostname or "localhost"),
        parts.port or REDIS_PORT,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        int(parts.path.strip("/") or 0),
    )


class ProtocolSession:
    """One connection. Every call of `run` has its own deadline."""

    def __init__(self, target: TcpTarget, database: int, connect_seconds: float, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._connection = connect(target.host, target.port, time.monotonic() + connect_seconds)
        try:
            self._log_in(target, database)
        except BaseException:
            self.close()
            raise

    def _log_in(self, target: TcpTarget, database: int) -> None:
        # A user with `nopass` is let in with an empty one.
        login = [target.username, target.password] if target.username else [target.password]
        if any(login):
            try:
                self.run([("AUTH", *login)])
            except Refused as refusal:
                # Before Redis 6 there were no users.
                if len(login) == 1 or "wrong number of arguments" not in str(refusal):
                    raise
                self.run([("AUTH", target.password)])
        if database:
            self.run([("SELECT", database)])

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
