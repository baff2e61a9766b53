"""The scrape endpoint behind systemd's own accept loop: what it answers, and clients that mean harm."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.prometheus import scrape_endpoint

METRICS = "# HELP a_bytes help\n# TYPE a_bytes gauge\na_bytes 1\n" + "".join(f'b{{c="{n}"}} {n}\n' for n in range(500))
GET = b"GET /metrics HTTP/1.1\r\nHost: vps\r\n\r\n"
LONGEST_SECONDS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with scrape_endpoint(folder / "metrics.prom") as running:
        yield running


@pytest.fixture(autouse=True)
def _metrics(folder: Path) -> None:
    (folder / "metrics.prom").write_text(METRICS)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LONGEST_SECONDS)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def ask(port: int, request: bytes) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer; 0 where the connection was closed without one."""
    with connect(port) as connection:
        connection.sendall(request)
        answer = read_all(connection)
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]) if first else 0, dict(line.split(": ", 1) for line in lines), body


def test_it_serves_the_file_as_it_is_now(port: int, folder: Path) -> None:
    status, headers, body = ask(port, GET)
    assert (status, body) == (200, METRICS)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["Content-Length"]) == len(METRICS)
    (folder / "metrics.prom").write_text("fresh 2\n")
    assert ask(port, GET)[2] == "fresh 2\n"


def test_head_gets_the_length_without_the_body(port: int) -> None:
    status, headers, body = ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (status, headers["Content-Length"], body) == (200, str(len(METRICS)), "")


def test_a_query_is_no_other_path(port: int) -> None:
    assert ask(port, b"GET /metrics?name[]=a HTTP/1.0\r\n\r\n")[0] == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET / HTTP/1.1", 404),
        ("GET /metrics/../../monitor.conf HTTP/1.1", 404),
        ("GET /metrics/ HTTP/1.1", 404),
        ("GET //metrics HTTP/1.1", 404),
        ("GET /etc/passwd HTTP/1.1", 404),
        ("GET http://other/metrics HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("DELETE /metrics HTTP/1.1", 405),
        ("get /metrics HTTP/1.1", 405),
        ("CONNECT other:443 HTTP/1.1", 405),
        ("GET /metrics", 400),
        ("GET  /metrics HTTP/1.1", 400),
        ("GET /metrics HTTP/2.0", 400),
        ("GET /metrics SPDY/1", 400),
        ("\x16\x03\x01\x02\x00", 400),
        ("", 400),
    ],
)
def test_anything_else_is_refused(port: int, request_line: str, status: int) -> None:
    assert ask(port, request_line.encode("latin-1") + b"\r\nHost: vps\r\n\r\n")[0] == status


def test_a_refused_verb_is_told_which_are_allowed(port: int) -> None:
    assert ask(port, b"PUT /metrics HTTP/1.1\r\n\r\n")[1]["Allow"] == "GET, HEAD"


def test_without_a_file_it_says_what_writes_it(port: int, folder: Path) -> None:
    (folder / "metrics.prom").unlink()
    status, _, body = ask(port, GET)
    assert status == 503
    assert "vpsmon export" in body


def test_a_header_of_a_megabyte_is_refused_in_a_way_that_arrives(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        for _ in range(16):
            connection.sendall(b"a" * 62_500)
            time.sleep(0.02)  # a network is slower than loopback
        connection.sendall(b"\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 431")


def test_half_a_request_and_a_client_that_hangs_up_do_no_harm(port: int) -> None:
    for request in (b"", b"GET", b"GET /metrics HTTP/1.1\r\n"):
        with connect(port) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection)[:12] in (b"", b"HTTP/1.1 400")
    with connect(port) as connection:
        connection.sendall(GET)
    assert ask(port, GET)[0] == 200


def test_a_byte_a_second_ends_in_time_and_keeps_nobody_waiting(port: int) -> None:
    with connect(port) as slow:
        slow.settimeout(1.0)
        started = time.monotonic()
        answer = b""
        while not answer and time.monotonic() - started < LONGEST_SECONDS:
            with suppress(BrokenPipeError, ConnectionResetError):
                slow.sendall(b"G")
            assert ask(port, GET)[0] == 200
            with suppress(TimeoutError):
                answer = slow.recv(100) or b"closed"
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_hundred_at_once_are_all_answered(port: int) -> None:
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: ask(port, GET), range(100)))
    assert [(status, body) for status, _, body in answers] == [(200, METRICS)] * 100


def test_a_hundred_that_say_nothing_keep_nobody_waiting(port: int) -> None:
    silent = [connect(port) for _ in range(100)]
    try:
        assert ask(port, GET)[0] == 200
        for connection in silent:
            assert read_all(connection).startswith(b"HTTP/1.1 408")
    finally:
        for connection in silent:
            connection.close()


def test_a_client_that_does_not_read_is_left(port: int, folder: Path) -> None:
    (folder / "metrics.prom").write_text("x" * 20_000_000)
    with connect(port) as connection:
        connection.sendall(GET)
        time.sleep(7)  # longer than the whole conversation may take
        assert len(read_all(connection)) < 20_000_000
    (folder / "metrics.prom").write_text(METRICS)
    assert ask(port, GET)[2] == METRICS
