"""A TCP connection, and reading from it up to a deadline: for protocols that are small enough to be spoken directly."""

from __future__ import annotations

import socket
import time
from typing import Protocol

_LARGEST_REPLY_BYTES = 16_000_000


class Connection(Protocol):
    """A connected socket, with or without TLS."""

    def settimeout(self, value: float | None, /) -> None:
        """Limit the waiting of every further call."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything. Raises OSError."""

    def recv(self, bufsize: int, /) -> bytes:
        """Return what has arrived; nothing at the end. Raises OSError."""


class Garbled(OSError):
    """What answers does not speak the protocol, or stopped in the middle."""


def connect(name: str, port: int, deadline_monotonic: float) -> socket.socket:
    """Return a connection to the first address of a name that takes it.

    Raises OSError: TimeoutError at the deadline; ValueError for a name that is none.
    """
    # Text would be encoded as an international name, with modules of a megabyte, also where it is plain.
    plain_name = name.encode("ascii") if name.isascii() else name.encode("idna")
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in socket.getaddrinfo(plain_name, port, type=socket.SOCK_STREAM):
        remaining_seconds = deadline_monotonic - time.monotonic()
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


class Reader:
    """What arrives, up to the deadline. Every method raises OSError: TimeoutError at the deadline, or Garbled."""

    def __init__(self, connection: Connection, deadline_monotonic: float) -> None:
        self._connection = connection
        self._deadline = deadline_monotonic
        self._buffer = b""
        self._count = 0

    def limit_time(self) -> None:
        """Let the next call of the connection end at the deadline."""
        remaining_seconds = self._deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(remaining_seconds)

    def read_until(self, mark: bytes, longest: int) -> bytes:
        """Return what comes before a mark, at most so many bytes, and take the mark as well."""
        while mark not in self._buffer[: longest + len(mark)]:
            if len(self._buffer) > longest or not self._receive():
                raise Garbled("the answer is cut off, or in another protocol")
        text, _, self._buffer = self._buffer.partition(mark)
        return text

    def read(self, size: int) -> bytes:
        """Return so many bytes, or fewer where the server ends before that: whoever parses them notices."""
        parts, missing = [], size
        while missing and (self._buffer or self._receive()):
            parts.append(self._buffer[:missing])
            missing -= len(parts[-1])
            self._buffer = self._buffer[len(parts[-1]) :]
        return b"".join(parts)

    def read_rest(self) -> bytes:
        """Return everything up to the end."""
        parts = [self._buffer]
        self._buffer = b""
        while self._receive():
            parts.append(self._buffer)
            self._buffer = b""
        return b"".join(parts)

    def _receive(self) -> bool:
        self.limit_time()
        data = self._connection.recv(65536)
        self._buffer += data
        self._count += len(data)
        if self._count > _LARGEST_REPLY_BYTES:
            raise Garbled("the answer is too large")
        return bool(data)
