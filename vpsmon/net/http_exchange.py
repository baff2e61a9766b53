"""One HTTP request and its answer over a connected socket: what `http.client` does, without the 25 ms that it imports.

Format: RFC 9112. Every wait ends at one deadline for the whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from vpsmon.net.connection import Connection, Garbled, Reader
from vpsmon.net.http_reply import HttpReply

_LARGEST_HEAD_BYTES = 64_000


def exchange(
    connection: Connection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline_monotonic: float,
) -> HttpReply:
    """Return the answer to a request, whatever its status. Raises OSError: TimeoutError at the deadline, or Garbled."""
    fields = {**headers, "Connection": "close"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise Garbled("a line break in a header")
    reader = Reader(connection, deadline_monotonic)
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
        raise Garbled("the answer is not HTTP")
    pairs = (line.partition(":") for line in rest)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _read_chunks(reader: Reader) -> bytes:
    parts: list[bytes] = []
    while True:
        text = reader.read_until(b"\r\n", 100).partition(b";")[0].strip()
        try:
            size = int(text, 16)
        except ValueError:
            raise Garbled("a chunk without a size") from None
        if size <= 0:
            return b"".join(parts)
        parts.append(reader.read(size))
        reader.read_until(b"\r\n", 2)
