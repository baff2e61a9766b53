"""A TCP connection, and reading from it up to a deadline: for protocols that are small enough to be spoken directly.

A name may have several addresses, and one of them may swallow every packet (IPv6 that is announced and leads nowhere
is the usual case). So they race as RFC 8305 ("Happy Eyeballs") says: in the order of getaddrinfo, which is that of
RFC 6724, the families taking turns (section 4); the next one starts 250 ms after the one before, or as soon as that
has failed (section 5); the first that is connected wins.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol

# RFC 8305, section 8: the recommended Connection Attempt Delay.
_ATTEMPT_DELAY_SECONDS = 0.25


class Connection(Protocol):
    """A connected socket, with or without TLS."""

    def settimeout(self, value: float | None, /) -> None:
        """Limit the waiting of every further call."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything. Raises OSError."""

    def recv(self, bufsize: int, /) -> bytes:
        """Return what has arrived; nothing at the end. Raises OSError."""


class Garbled(OSError):
    """What answers does not speak the protocol, or stopped in the middle; the text says so without quoting it."""


class TooLarge(Garbled):
    """There is no end to what answers."""


class Connected(NamedTuple):
    """A connection, and the position of the place that took it."""

    position: int
    socket: socket.socket


class _Attempt(NamedTuple):
    position: int
    family: int
    kind: int
    protocol: int
    address: tuple[Any, ...]


def connect(name: str, port: int, deadline_monotonic: float) -> socket.socket:
    """Return a connection to the first address of a name that takes it.

    Raises OSError: TimeoutError at the deadline; ValueError for a name that is none.
    """
    return connect_to_first([(name, port)], deadline_monotonic).socket


def find_first(places: Sequence[tuple[str, int]], deadline_monotonic: float) -> int:
    """Return the position of the first of several places that takes a connection, which is closed again.

    For libraries that make their own connections. Raises as `connect_to_first`.
    """
    connected = connect_to_first(places, deadline_monotonic)
    connected.socket.close()
    return connected.position


def connect_to_first(places: Sequence[tuple[str, int]], deadline_monotonic: float) -> Connected:
    """Return a connection to the first of several places (name, port) that takes one; the likeliest comes first.

    Raises OSError: TimeoutError at the deadline; ValueError for a name that is none.
    """
    attempts: list[_Attempt] = []
    failure: OSError = OSError("no address")
    for position, (name, port) in enumerate(places):
        try:
            attempts += _look_up(position, name, port)
        except OSError as error:
            failure = error
    if not attempts:
        raise failure
    return _Race(attempts, deadline_monotonic).run()


def _look_up(position: int, name: str, port: int) -> list[_Attempt]:
    # Text would be encoded as an international name, with modules of a megabyte, also where it is plain.
    plain_name = name.encode("ascii") if name.isascii() else name.encode("idna")
    found = [
        _Attempt(position, family, kind, protocol, address)
        for family, kind, protocol, _, address in socket.getaddrinfo(plain_name, port, type=socket.SOCK_STREAM)
    ]
    preferred = [each for each in found if each.family == found[0].family]
    others = [each for each in found if each.family != found[0].family]
    return [each for pair in zip_longest(preferred, others) for each in pair if each]


class _Race:
    def __init__(self, attempts: Sequence[_Attempt], deadline_monotonic: float) -> None:
        self._waiting = list(attempts)
        self._deadline = deadline_monotonic
        # However many there are, the last one still has half of the time.
        share_seconds = max(0.0, deadline_monotonic - time.monotonic()) / 2 / len(attempts)
        self._delay_seconds = min(_ATTEMPT_DELAY_SECONDS, share_seconds)
        self._next_start = time.monotonic()
        self._running: dict[int, Connected] = {}
        self._poller = select.poll()
        self._failure: OSError = TimeoutError("timed out")

    def run(self) -> Connected:
        try:
            while self._waiting or self._running:
                winner = self._start_next() or self._wait()
                if winner:
                    return winner
            raise self._failure
        finally:
            for loser in self._running.values():
                loser.socket.close()

    def _start_next(self) -> Connected | None:
        """Start what is due; one whose connection is there at once has won."""
        while self._waiting and time.monotonic() >= self._next_start:
            position, family, kind, protocol, address = self._waiting.pop(0)
            try:
                connection = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            except OSError as error:  # a kernel without IPv6
                self._failure = error
                continue
            attempt = Connected(position, connection)
            code = connection.connect_ex(address)
            if code == 0:
                return self._win(attempt)
            if code == errno.EINPROGRESS:
                self._running[connection.fileno()] = attempt
                self._poller.register(connection, select.POLLOUT)
                self._next_start = time.monotonic() + self._delay_seconds
            else:
                self._fail(attempt, code)
        return None

    def _wait(self) -> Connected | None:
        now = time.monotonic()
        if now >= self._deadline:
            raise TimeoutError("timed out")
        until = min(self._deadline, self._next_start) if self._waiting else self._deadline
        for descriptor, _ in self._poller.poll(max(0, math.ceil((until - now) * 1000))):
            attempt = self._running.pop(descriptor)
            self._poller.unregister(descriptor)
            code = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return self._win(attempt)
            self._fail(attempt, code)
            self._next_start = now
        return None

    def _win(self, attempt: Connected) -> Connected:
        attempt.socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        return attempt

    def _fail(self, attempt: Connected, code: int) -> None:
        attempt.socket.close()
        # Made from its number, it is of the class that belongs to it: ConnectionRefusedError, TimeoutError.
        self._failure = OSError(code, os.strerror(code))


class Reader:
    """What arrives, up to the deadline. Every method raises OSError: TimeoutError at the deadline, or Garbled."""

    def __init__(self, connection: Connection, deadline_monotonic: float, largest_bytes: int) -> None:
        self._connection = connection
        self._deadline = deadline_monotonic
        self._largest_bytes = largest_bytes
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
        if self._count > self._largest_bytes:
            raise TooLarge(
                f"the answer is larger than {self._largest_bytes / 1_000_000:g} MB: is this the right server?"
            )
        return bool(data)
