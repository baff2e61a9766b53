"""HTTP over a socket: what servers of all kinds answer, and what is none of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vpsmon.net.connection import Garbled
from vpsmon.net.http_exchange import Unsendable, exchange
from vpsmon.stack.docker.api import join_frames


@contextmanager
def server(*parts: bytes, pause_seconds: float = 0.0) -> Iterator[socket.socket]:
    """A connection to a server that takes the request and answers with the parts, one after the other."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            theirs.recv(65536)
            for part in parts:
                time.sleep(pause_seconds)
                try:
                    theirs.sendall(part)
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with ours:
        yield ours
    thread.join(10)


def ask(connection: socket.socket, method: str = "GET", seconds: float = 5.0) -> tuple[int, bytes]:
    return tuple(exchange(connection, method, "/x", {"Host": "h"}, None, time.monotonic() + seconds))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("parts", "status", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}and more"], 200, b"{}"),
        ([b"HTTP/1.0 200 OK\r\n\r\nup to ", b"the end"], 200, b"up to the end"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n", b"1;x=y\r\nc\r\n0\r\n\r\n"],
            200,
            b"abc",
        ),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\ncontent-length: 1\r\n\r\nx"], 409, b"x"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 304\r\n\r\n"], 304, b""),
        ([b"HTTP/1.1 2", b"00 OK\r", b"\n\r\n", b"ok"], 200, b"ok"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[half"], 200, b"[half"),
    ],
    ids=["length", "to the end", "chunks", "interim", "no content", "not modified", "in pieces", "cut off"],
)
def test_an_answer_is_read_to_its_end(parts: list[bytes], status: int, body: bytes) -> None:
    with server(*parts) as connection:
        assert ask(connection) == (status, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 smtp.example.org\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 100_000,
    ],
    ids=["nothing", "another protocol", "no status", "half a head", "no chunk", "no line at all"],
)
def test_what_is_no_http_is_said_to_be_none(answer: bytes) -> None:
    with server(answer) as connection, pytest.raises(Garbled):
        ask(connection)


def test_the_deadline_is_for_the_whole_answer_however_slowly_it_trickles() -> None:
    parts = [b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n"] * 100]
    with server(*parts, pause_seconds=0.1) as connection, pytest.raises(TimeoutError):
        ask(connection, seconds=0.5)


def test_a_line_break_never_gets_into_a_request() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(Unsendable, match="X-Api-Key"):
        exchange(ours, "GET", "/x", {"X-Api-Key": "a\r\nHost: elsewhere"}, None, time.monotonic() + 1)


def test_the_output_of_a_container_is_taken_out_of_its_frames_or_left_as_it_is() -> None:
    framed = b"\x01\0\0\0\0\0\0\x03abc" + b"\x02\0\0\0\0\0\0\x01d"
    assert join_frames(framed) == b"abcd"
    assert join_frames(b"plain text of a terminal\n") == b"plain text of a terminal\n"
    assert join_frames(framed + b"\x01\0") == framed + b"\x01\0"
    assert join_frames(b"") == b""
