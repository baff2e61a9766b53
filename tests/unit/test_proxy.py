"""Proxies: which one is for which URL, and what each refusal is called. Real sockets on loopback."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kit.black_hole import black_hole
from tests.kit.relay import Relay, make_certificate
from tests.kit.stack import free_port
from tests.kit.telegram import FakeTelegram
from vpsmon.net.http_client import describe_proxy, request
from vpsmon.net.http_reply import RequestFailed
from vpsmon.net.proxy import find_proxy
from vpsmon.net.tls import make_tls_context

PASSWORD = "s3cret:p@ss/w"
WRITTEN = "s3cret%3Ap%40ss%2Fw"
NO_SUCH_HOST = "api.telegram.invalid"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *map(str.upper, NAMES), "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


def choose(url: str, **environment: str) -> str | None:
    scheme, _, place = url.partition("://")
    host, _, port = place.partition(":")
    proxy = find_proxy(scheme, host, int(port or {"http": 80, "https": 443}[scheme]), environment)
    return f"{proxy.host}:{proxy.port} by {proxy.source}" if proxy else None


@pytest.mark.parametrize(
    ("url", "environment", "chosen"),
    [
        ("https://a.org", {}, None),
        ("https://a.org", {"HTTPS_PROXY": "http://p:3128"}, "p:3128 by HTTPS_PROXY"),
        ("https://a.org", {"HTTPS_PROXY": "p:3128"}, "p:3128 by HTTPS_PROXY"),
        ("https://a.org", {"HTTPS_PROXY": "http://p/"}, "p:80 by HTTPS_PROXY"),
        ("https://a.org", {"HTTPS_PROXY": "http://[::1]:3128"}, "::1:3128 by HTTPS_PROXY"),
        ("https://a.org", {"HTTPS_PROXY": "p:1", "https_proxy": "q:2"}, "q:2 by https_proxy"),
        ("https://a.org", {"HTTPS_PROXY": "p:1", "https_proxy": ""}, None),
        ("https://a.org", {"HTTP_PROXY": "p:1"}, None),
        ("http://a.org", {"HTTP_PROXY": "p:1"}, "p:1 by HTTP_PROXY"),
        ("http://a.org", {"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, None),
        ("http://a.org", {"http_proxy": "p:1", "REQUEST_METHOD": "GET"}, "p:1 by http_proxy"),
        ("http://a.org", {"ALL_PROXY": "p:1"}, "p:1 by ALL_PROXY"),
        ("https://a.org", {"all_proxy": "p:1", "HTTPS_PROXY": "q:2"}, "q:2 by HTTPS_PROXY"),
    ],
)
def test_the_proxy_of_a_url(url: str, environment: dict[str, str], chosen: str | None) -> None:
    assert choose(url, **environment) == chosen


@pytest.mark.parametrize(
    ("exceptions", "url", "is_exempt"),
    [
        ("*", "https://a.org", True),
        ("a.org", "https://a.org", True),
        ("a.org", "https://api.a.org", True),
        (".a.org", "https://api.A.org.", True),
        (".a.org", "https://a.org", True),
        ("a.org", "https://nota.org", False),
        ("b.org, a.org", "https://a.org", True),
        ("b.org a.org", "https://a.org", True),
        ("a.org:443", "https://a.org", True),
        ("a.org:8443", "https://a.org", False),
        ("a.org:8443", "https://a.org:8443", True),
        ("10.1.2.3", "http://10.1.2.3:81", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.0.0.0/8", "http://ten.org", False),
        ("10.0.0.0/x", "http://10.1.2.3", False),
        ("", "http://a.org", False),
        (" , ,", "http://a.org", False),
        ("-", "http://a.org", False),
    ],
)
def test_the_exceptions(exceptions: str, url: str, is_exempt: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert (choose(url, ALL_PROXY="p:1", **{name: exceptions}) is None) == is_exempt


def test_an_ipv6_address_is_an_exception_with_and_without_brackets() -> None:
    for exception in ("fd00::2", "[fd00::2]", "[fd00::2]:443", "fd00::/16"):
        assert find_proxy("https", "fd00::2", 443, {"ALL_PROXY": "p:1", "NO_PROXY": exception}) is None
    assert find_proxy("https", "fd00::2", 443, {"ALL_PROXY": "p:1", "NO_PROXY": "[fd00::2]:80"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"https://user:{WRITTEN}@p:3128", "HTTPS_PROXY names a proxy of the kind https://, and only http:// proxies"),
        (f"https://user:{WRITTEN}@", "only http:// proxies are supported"),
        ("socks5://p:1080", "HTTPS_PROXY names a proxy of the kind socks5://, and only http:// proxies"),
        ("socks5h://p", "kind socks5h://"),
        ("http://user:s3cret/x@p:3128", "HTTPS_PROXY is malformed: write http://user:password@host:port"),
        ("http://user:s3cret#x@p:3128", "HTTPS_PROXY is malformed"),
        ("http://p:s3cret", "HTTPS_PROXY is malformed"),
        ("http://[s3cret", "HTTPS_PROXY is malformed"),
        ("http://", "HTTPS_PROXY is malformed"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_named_and_never_ignored(
    value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    failure = fail("https://a.invalid/secret-token")
    assert words in str(failure)
    assert (failure.cause, failure.is_on_this_side) == ("unusable", True)


def fail(url: str, seconds: float = 3.0) -> RequestFailed:
    """Return why a request fails, after a look for what must not stand there."""
    with pytest.raises(RequestFailed) as caught:
        request("GET", url, None, {}, seconds, through_proxy=True)
    text = str(caught.value)
    assert not any(secret in text for secret in ("s3cret", "secret-token", "\n", "OSError", "BadStatus"))
    return caught.value


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[int, list[str]]]:
    """A server that sends these answers, one for each request that comes, and notes the requests."""
    heads: list[str] = []

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            with suppress(OSError):
                client, _ = listener.accept()
                with client:
                    heads.append(client.recv(65536).decode())
                    client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], heads
    thread.join(10)


@pytest.mark.parametrize(
    ("answer", "login", "words", "is_on_this_side"),
    [
        (
            b"HTTP/1.1 407 Login\r\n\r\n",
            "",
            "wants a user and a password (HTTP 407): set HTTPS_PROXY=http://user:",
            True,
        ),
        (b"HTTP/1.1 407 Login\r\n\r\n", f"me:{WRITTEN}@", "refuses user and password (HTTP 407)", True),
        (b"HTTP/1.1 403 No\r\n\r\n", "", f"does not let this machine reach {NO_SUCH_HOST}:443 (HTTP 403)", True),
        (b"HTTP/1.1 502 Bad\r\n\r\n", f"me:{WRITTEN}@", f"cannot reach {NO_SUCH_HOST}:443 (HTTP 502)", False),
        (b"220 mail.example.org ESMTP\r\n\r\n", "", "does not answer as an HTTP proxy does: is the port right?", False),
        (b"", "", "does not answer as an HTTP proxy does", False),
    ],
)
def test_what_a_proxy_refuses_is_named(
    answer: bytes, login: str, words: str, is_on_this_side: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(answer) as (port, heads):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}127.0.0.1:{port}")
        failure = fail(f"https://{NO_SUCH_HOST}/secret-token")
    assert f"the proxy http://127.0.0.1:{port} (HTTPS_PROXY) {words}" in str(failure)
    assert failure.is_on_this_side == is_on_this_side
    assert heads[0].startswith(f"CONNECT {NO_SUCH_HOST}:443 HTTP/1.1\r\nHost: {NO_SUCH_HOST}:443\r\n")
    expected = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert (f"Proxy-Authorization: {expected}\r\n" in heads[0]) == bool(login)


def test_a_proxy_that_is_not_there_or_says_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{free_port()}")
    assert "(ALL_PROXY) cannot be reached: Connection refused" in str(fail("https://a.invalid/"))
    monkeypatch.setenv("ALL_PROXY", "no-such-proxy.invalid:3128")
    assert "the proxy http://no-such-proxy.invalid:3128 (ALL_PROXY) cannot be reached: " in str(
        fail("http://a.invalid/")
    )
    with black_hole() as hole:
        monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{hole}")
        assert "(ALL_PROXY) does not answer in time" in str(fail("http://a.invalid/", seconds=0.5))


def test_plain_http_is_asked_for_by_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 407 Login\r\n\r\n")
    with answering(*answers) as (port, heads):
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{WRITTEN}@127.0.0.1:{port}")
        url = "http://a.invalid:81/path?x=1"
        assert request("GET", url, None, {}, 3, through_proxy=True) == (200, b"ok")
        assert "refuses user and password (HTTP 407)" in str(fail(url))
    assert heads[0].startswith("GET http://a.invalid:81/path?x=1 HTTP/1.1\r\nHost: a.invalid:81\r\n")
    assert "Proxy-Authorization: Basic " in heads[0]


def test_who_does_not_ask_for_a_proxy_gets_none(telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://no-such-proxy.invalid:1")
    assert request("GET", telegram.url, None, {}, 3).status == 404


def test_tls_goes_through_the_tunnel_to_a_name_that_only_the_proxy_knows(
    telegram: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, NO_SUCH_HOST)
    port = int(telegram.url.rpartition(":")[2])
    with Relay(port, certificate) as api, Relay(api.port, is_proxy=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{WRITTEN}@127.0.0.1:{proxy.port}")
        assert fail(f"https://{NO_SUCH_HOST}/").cause == "untrusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        make_tls_context.cache_clear()
        assert request("GET", f"https://{NO_SUCH_HOST}/", None, {}, 3, through_proxy=True).status == 404
        make_tls_context.cache_clear()
        assert proxy.asked_for == [f"{NO_SUCH_HOST}:443"] * 2


def test_the_proxy_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{WRITTEN}@p:3128")
    assert describe_proxy("https://api.telegram.org") == "http://p:3128 (HTTPS_PROXY)"
    assert describe_proxy("http://127.0.0.1:8081") == ""
    proxy = find_proxy("https", "a.org", 443)
    assert (proxy and proxy.password, repr(proxy)) == (PASSWORD, "<proxy http://p:3128 (HTTPS_PROXY)>")
