"""One HTTP request and its answer over a connected socket: what `http.client` does, without the 25 ms that it imports.

Format: RFC 9112. Every wait ends at one deadline for the whole answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from vpsmon.host import HttpReply

_LARGEST_HEAD_BYTES = 64_000
_LARGEST_REPLY_BYTES = 16_000_000


class Connection(Protocol):
    """A connected socket, with or without TLS."""

    def settimeout(self, value: float | None, /) -> None:
        """Limit the waiting of every further call."""

    def sendall(self, data: bytes, /) -> None:
        """Send everything. Raises OSError."""

    def recv(self, bufsize: int, /) -> bytes:
        """Return what has arrived; nothing at the end. Raises OSError."""


class NotHttp(OSError):
    """What answered does not speak HTTP, or stopped in the middle."""


def exchange(
    connection: Connection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline_monotonic: float,
) -> HttpReply:
    """Return the answer to a request, whatever its status. Raises OSError: TimeoutError at the deadline, or NotHttp."""
    fields = {**headers, "Connection": "close"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise NotHttp("a line break in a header")
    reader = _Reader(connection, deadline_monotonic)
    reader.limit_time()
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
    status = 100
    while 100 <= status < 200:
        status, answered = _parse_head(reader.read_until(b"\r\n\r\n", _LARGEST_HEAD_BYTES))
    if method == "HEAD" or status in (204, 304):
        return HttpReply(status, b"")
    if answered.get("transfer-encoding", "").lower() == "chunked":
        return HttpReply(status, _read_chunks(reader))
    length = answered.get("content-length", "")
    return HttpReply(status, reader.read(int(length)) if length.isdecimal() else reader.read_rest())


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise NotHttp("the answer is not HTTP")
    pairs = (line.partition(":") for line in rest)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _read_chunks(reader: _Reader) -> bytes:
    parts: list[bytes] = []
    while True:
        text = reader.read_until(b"\r\n", 100).partition(b";")[0].strip()
        try:
            size = int(text, 16)
        except ValueError:
            raise NotHttp("a chunk without a size") from None
        if size <= 0:
            return b"".join(parts)
        parts.append(reader.read(size))
        reader.read_until(b"\r\n", 2)


class _Reader:
    """What arrives, up to the deadline."""

    def __init__(self, connection: Connection, deadline_monotonic: float) -> None:
        self._connection = connection
        self._deadline = deadline_monotonic
        self._buffer = b""
        self._count = 0

    def limit_time(self) -> None:
        remaining_seconds = self._deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(remaining_seconds)

    def read_until(self, mark: bytes, longest: int) -> bytes:
        while mark not in self._buffer[: longest + len(mark)]:
            if len(self._buffer) > longest or not self._receive():
                raise NotHttp("the answer is cut off, or is not HTTP")
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
            raise NotHttp("the answer is too large")
        return bool(data)
