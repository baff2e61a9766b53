"""Redis's protocol against a local server that answers what no server of this machine does."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kit.relay import make_certificate
from vpsmon.core.findings import ReadError
from vpsmon.net.connection import Garbled
from vpsmon.stack.redis.protocol import Command, Refused, Target, TcpTarget, Tls, UntrustedCertificate
from vpsmon.stack.redis.session import RedisSession, Server
from vpsmon.stack.redis.url import UnixTarget, parse_url


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[TcpTarget, list[bytes]]]:
    """A server that sends one answer for each thing it receives, and then closes; what it received is in the list."""
    received: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            for answer in answers:
                received.append(self.request.recv(65536))
                self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        yield TcpTarget("127.0.0.1", listening.server_address[1]), received
        listening.shutdown()


def ask(target: Target, commands: Sequence[Command] = (("PING",),)) -> list[object]:
    session = target.connect(None, 5, 5)
    try:
        return session.run(commands)
    finally:
        session.close()


def test_every_kind_of_answer_is_read_and_a_length_counts_bytes() -> None:
    answer = b"+OK\r\n:-3\r\n$6\r\n\xc3\xa4\r\n\xff\x00\r\n$-1\r\n*-1\r\n*3\r\n$1\r\na\r\n$-1\r\n:7\r\n*0\r\n$0\r\n\r\n"
    with server(answer) as (target, received):
        found = ask(target, [("GET", "ä\r\n", 12)] * 8)
    assert found == ["OK", -3, "ä\r\n\ufffd\x00", None, None, ["a", None, 7], [], ""]
    assert received == [b"*3\r\n$3\r\nGET\r\n$4\r\n\xc3\xa4\r\n\r\n$2\r\n12\r\n" * 8]


def test_the_first_refusal_is_raised_and_the_answers_behind_it_belong_to_no_later_command() -> None:
    with server(b":1\r\n-WRONGTYPE one\r\n-ERR two\r\n:4\r\n", b":5\r\n") as (target, _):
        session = target.connect(None, 5, 5)
        with pytest.raises(Refused, match=r"^WRONGTYPE one$"):
            session.run([("PING",)] * 4)
        assert session.run([("PING",)]) == [5]
        session.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$5\r\nabc\r\n",
        b"$3\r\nabcde\r\n",
        b"$x\r\n",
        b":\r\n",
        b":" + b"9" * 5000 + b"\r\n",
        b"*1\r\n*1\r\n:1\r\n",
        b"*9999999\r\n:1\r\n",
        b"$99999999999\r\nabc",
        b"+" + b"x" * 70_000,
    ],
)
def test_what_is_none_of_it_or_breaks_off_is_said_to_be_that(answer: bytes) -> None:
    with server(answer) as (target, _), pytest.raises(Garbled):
        ask(target)


def test_a_server_without_users_is_given_the_password_alone() -> None:
    """The refusal is that of Redis 5 (src/server.c, call of a command with the wrong arity)."""
    refusal = b"-ERR wrong number of arguments for 'auth' command\r\n"
    with server(refusal, b"+OK\r\n", b"+OK\r\n", b"+PONG\r\n") as (target, received):
        assert ask(target._replace(username="default", password="word", database=3)) == ["PONG"]
    assert [each.split(b"\r\n")[2::2] for each in received] == [
        [b"AUTH", b"default", b"word"],
        [b"AUTH", b"word"],
        [b"SELECT", b"3"],
        [b"PING"],
    ]


def test_why_a_server_takes_no_more_clients_is_read_although_it_has_closed() -> None:
    """The words are those of Redis 7 (src/networking.c, acceptCommonHandler)."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        session = TcpTarget("127.0.0.1", listening.getsockname()[1]).connect(None, 5, 5)
        client, _ = listening.accept()
        client.sendall(b"-ERR max number of clients reached\r\n")
        # A reset, which makes the next sending fail.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(Refused, match="max number of clients"):
            session.run([("PING",)])
        session.close()


def test_where_the_likeliest_address_does_not_answer_the_next_one_is_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = TcpTarget("127.0.0.1", closed.getsockname()[1])
    with server(b"+PONG\r\n") as (target, _):
        assert RedisSession(Server("test", (nobody, target), "")).run([("PING",)], None) == ["PONG"]
    with pytest.raises(ReadError, match="is not listening"):
        RedisSession(Server("test", (nobody, nobody), "")).run([("PING",)], None)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://me:p%2Fw@cache:6390/4", TcpTarget("cache", 6390, "me", "p/w", 4)),
        ("redis://:pw@[::1]", TcpTarget("::1", 6379, "", "pw", 0)),
        ("redis://h/3?db=1", TcpTarget("h", 6379, "", "", 1)),
        ("rediss://h", TcpTarget("h", 6379, tls=Tls())),
        ("rediss://h?ssl_ca_certs=/ca&ssl_check_hostname=false", TcpTarget("h", tls=Tls("/ca", checks_name=False))),
        ("rediss://h?ssl_cert_reqs=none", TcpTarget("h", tls=Tls(verifies=False, checks_name=False))),
        ("rediss://h?ssl_certfile=/c&ssl_keyfile=/k", TcpTarget("h", tls=Tls("", "/c", "/k"))),
        ("unix://me:pw@/run/redis.sock?db=2", UnixTarget("/run/redis.sock", "me", "pw", 2)),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    "url",
    ["h:6379", "http://h", "unix://", "redis://h/x", "redis://h?db", "rediss://h?ssl_cert_reqs=s3cret", "redis://h:x"],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_url(url)


@pytest.mark.parametrize("url", ["redis://h?s3cret=1", "redis://h?ssl_ca_certs=/x", "rediss://:pa?s3cret=t@h"])
def test_an_option_that_is_not_known_is_refused_and_those_that_are_named(url: str) -> None:
    with pytest.raises(ReadError, match=r"^REDIS_URL has an option that is not supported: db is") as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)


@contextmanager
def tls_server(folder: Path, wants_certificate: bool = False) -> Iterator[tuple[int, str]]:
    """A server with TLS that answers PONG, and the file of its certificate, which is of localhost."""
    certificate, key = make_certificate(folder, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if wants_certificate:
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_REQUIRED

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as secured:
                secured.recv(65536)
                secured.sendall(b"+PONG\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        yield listening.server_address[1], str(certificate)
        listening.shutdown()


def test_a_certificate_is_trusted_only_where_the_url_says_so(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (port, certificate):
        for refused in (
            f"rediss://localhost:{port}",
            f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}",
            f"rediss://127.0.0.1:{port}?ssl_check_hostname=false",
        ):
            with pytest.raises(UntrustedCertificate):
                ask(parse_url(refused))
        reason = "does not trust (self-signed certificate): REDIS_URL=rediss://"
        with pytest.raises(ReadError, match=re.escape(reason)):
            RedisSession(Server("test", (parse_url(f"rediss://localhost:{port}"),), "")).run([("PING",)], None)
        for taken in (
            f"rediss://localhost:{port}?ssl_ca_certs={certificate}",
            f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}&ssl_check_hostname=false",
            f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none",
        ):
            assert ask(parse_url(taken)) == ["PONG"]


def test_a_certificate_of_our_own_is_shown_to_a_server_that_wants_one(tmp_path: Path) -> None:
    with tls_server(tmp_path, wants_certificate=True) as (port, certificate):
        url = f"rediss://localhost:{port}?ssl_ca_certs={certificate}"
        with pytest.raises(OSError, match=r"."):
            ask(parse_url(url))
        assert ask(parse_url(f"{url}&ssl_certfile={certificate}&ssl_keyfile={tmp_path / 'key.pem'}")) == ["PONG"]


def test_a_unix_socket_is_spoken_to_and_one_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pytest.raises(FileNotFoundError):
        ask(parse_url(f"unix://{path}"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        session = threading.Thread(target=lambda: listening.accept()[0].sendall(b"+PONG\r\n"), daemon=True)
        session.start()
        assert ask(parse_url(f"unix://{path}")) == ["PONG"]
    with pytest.raises(ConnectionRefusedError):
        ask(parse_url(f"unix://{path}"))
