"""One scrape by Prometheus: answers the HTTP request on standard input with the metrics file, and ends.

systemd accepts the connection and starts this for it (vps-metrics-exporter.socket), so nothing waits in memory between
two scrapes, and whatever a client does ends with its own process. It imports next to nothing, reads no configuration,
and no request makes it do more than send that one file. HTTP: RFC 9112.
"""

from __future__ import annotations

import os
import select
import time

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Prometheus sends about 300 bytes.
_LARGEST_REQUEST_BYTES = 8192
# For the whole conversation; Prometheus' own limit is 10 s.
_TOTAL_SECONDS = 5.0
# What a client may still be sending when it is refused: closing on it would reset the connection under the answer.
_REFUSED_EARLY = (405, 431)
_LARGEST_DISCARDED_BYTES = 4_000_000
_LONGEST_SILENCE_SECONDS = 0.5
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_NO_FILE = "no metrics yet: `vpsmon export` writes them, and vps-metrics-exporter.timer runs it\n"


def serve(path: str, reader: int = 0, writer: int = 1) -> None:
    """Answer one request with the file at the path; `reader` and `writer` are the descriptors of the connection."""
    deadline = time.monotonic() + _TOTAL_SECONDS
    try:
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)
        status, request = _read_request(reader, deadline)
        if status:
            status, body, is_sent = _answer(status, request, path)
            _send(writer, _compose(status, body, is_sent), deadline)
        if status in _REFUSED_EARLY:
            _discard(reader, deadline)
    except OSError:
        # The client has gone: there is nobody to tell.
        return


def _read_request(reader: int, deadline: float) -> tuple[int, bytes]:
    """Return 200 and the head of the request, or the status to refuse it with; 0 where nothing at all was asked."""
    request = b""
    while b"\r\n\r\n" not in request:
        if len(request) > _LARGEST_REQUEST_BYTES:
            return 431, request
        if not _wait(reader, select.POLLIN, deadline):
            return 408, request
        part = os.read(reader, _LARGEST_REQUEST_BYTES)
        if not part:
            return 400 if request else 0, request
        request += part
    return 200, request


def _wait(descriptor: int, event: int, deadline: float) -> bool:
    """Wait until the descriptor is ready, and return whether it is before the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _answer(status: int, request: bytes, path: str) -> tuple[int, bytes, bool]:
    """Return the status and the body of the answer, and whether the body is to be sent."""
    words = request.split(b"\r\n", 1)[0].split(b" ")
    if status != 200:
        return status, _explain(status), True
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return 400, _explain(400), True
    verb, target, _ = words
    if verb not in (b"GET", b"HEAD"):
        return 405, _explain(405), True
    if target.partition(b"?")[0] != b"/metrics":
        return 404, b"the metrics are at /metrics\n", verb == b"GET"
    try:
        with open(path, "rb") as file:
            return 200, file.read(), verb == b"GET"
    except OSError:
        return 503, _NO_FILE.encode(), verb == b"GET"


def _explain(status: int) -> bytes:
    return f"{_REASONS[status].lower()}\n".encode()


def _compose(status: int, body: bytes, is_sent: bool) -> bytes:
    kind = CONTENT_TYPE if status == 200 else "text/plain; charset=utf-8"
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    if status == 405:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    return head + body if is_sent else head


def _send(writer: int, answer: bytes, deadline: float) -> None:
    rest = memoryview(answer)
    while rest and _wait(writer, select.POLLOUT, deadline):
        rest = rest[os.write(writer, rest) :]


def _discard(reader: int, deadline: float) -> None:
    size = 0
    while size < _LARGEST_DISCARDED_BYTES:
        quiet_until = min(deadline, time.monotonic() + _LONGEST_SILENCE_SECONDS)
        part = os.read(reader, 65536) if _wait(reader, select.POLLIN, quiet_until) else b""
        if not part:
            return
        size += len(part)
