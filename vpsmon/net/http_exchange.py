"""One HTTP request and its answer over a connected socket: what `http.client` does, without the 25 ms that it imports.

Format: RFC 9112. Every wait ends at one deadline for the whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from vpsmon.net.connection import Connection, Garbled, Reader
from vpsmon.net.http_reply import LARGEST_REPLY_BYTES, HttpReply

_LARGEST_HEAD_BYTES = 64_000


class Unsendable(ValueError):
    """A header or target that HTTP cannot carry; the text names it and never quotes it."""


def exchange(
    connection: Connection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline_monotonic: float,
    largest_bytes: int = LARGEST_REPLY_BYTES,
) -> HttpReply:
    """Return the answer to a request, whatever its status.

    Raises OSError: TimeoutError at the deadline, or Garbled, also for an answer that is too large; Unsendable.
    """
    fields = {**headers, "Connection": "close"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    head = encode_head(method, target, fields)
    reader = Reader(connection, deadline_monotonic, largest_bytes)
    reader.limit_time()
    connection.sendall(head + (body or b""))
    status = 100
    while 100 <= status < 200:
        status, answered = read_head(reader)
    if method == "HEAD" or status in (204, 304):
        return HttpReply(status, b"")
    if answered.get("transfer-encoding", "").lower() == "chunked":
        return HttpReply(status, _read_chunks(reader))
    length = answered.get("content-length", "")
    return HttpReply(status, reader.read(int(length)) if length.isdecimal() else reader.read_rest())


def encode_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request without its body. Raises Unsendable: RFC 9110, section 5.5, and RFC 9112, section 3.2."""
    if not target.isascii() or not target.isprintable() or " " in target:
        raise Unsendable("the URL holds a blank or a character that must be written as %XX")
    for name, value in headers.items():
        if any(character < " " and character != "\t" for character in value):
            raise Unsendable(f"the value for {name} holds a line break: does its file have Windows line ends?")
        if any(character > "\xff" for character in value):
            raise Unsendable(f"the value for {name} holds a character that HTTP cannot carry: is it copied right?")
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def read_head(reader: Reader) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of an answer, their names in lower case. Raises OSError."""
    first, *rest = reader.read_until(b"\r\n\r\n", _LARGEST_HEAD_BYTES).decode("latin-1").split("\r\n")
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
