"""Asking the services of the stack: several addresses, huge answers, faults on this side. Real sockets on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.black_hole import black_hole
from tests.kit.relay import Relay, make_certificate
from tests.kit.stack import free_port, silent_server
from tests.kit.telegram import Answer, FakeTelegram
from tests.kit.waha import FakeWaha
from vpsmon.core.findings import ReadError
from vpsmon.net.http_client import request
from vpsmon.net.http_reply import RequestFailed
from vpsmon.net.tls import make_tls_context
from vpsmon.stack.waha import Silent, Waha, read_sessions, restart_session
from vpsmon.stack.web import Site, ask, make_key_header
from vpsmon.stack.web_post import post
from vpsmon.system.host import Host


def site(*ports: int) -> Site:
    return Site(tuple(f"http://127.0.0.1:{port}" for port in ports), "a test")


def port_of(server: FakeTelegram) -> int:
    return int(server.url.rpartition(":")[2])


def fail(where: Site) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        ask(Host(), where, "/path", {}, 1.5)
    return caught.value


def test_a_container_whose_own_address_swallows_packets_is_asked_where_it_is_published(telegram: FakeTelegram) -> None:
    with black_hole() as hole:
        where = site(hole, port_of(telegram))
        assert ask(Host(), where, "/path", {}).status == 404
        assert post(Host(), where, "/path", {}).status == 404
    assert [request.verb for request in telegram.requests] == ["GET", "POST"]


def test_the_address_that_works_is_looked_for_once_a_pass(telegram: FakeTelegram) -> None:
    host = Host()
    with black_hole() as hole:
        for _ in range(3):
            assert ask(host, site(hole, port_of(telegram)), "/path", {}).status == 404
        assert len([name for name in host._answers if "order" in name]) == 1


def test_nothing_is_sent_twice_where_it_may_have_arrived(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.stack.web_post._TIMEOUT_SECONDS", 0.5)
    with silent_server() as silent:
        where = site(silent, port_of(telegram))
        with pytest.raises(RequestFailed, match=f"127.0.0.1:{silent}: no answer in time") as caught:
            post(Host(), where, "/restart", {})
    assert caught.value.cause == "no_answer"
    assert telegram.requests == []
    assert post(Host(), site(free_port(), port_of(telegram)), "/restart", {}).status == 404


def test_an_answer_of_16_mb_is_refused_after_the_first(telegram: FakeTelegram) -> None:
    telegram.always = Answer(200, b"[" + b"{}," * 5_000_000 + b"{}]")
    failure = fail(site(port_of(telegram)))
    assert f"127.0.0.1:{port_of(telegram)}: the answer is larger than 1 MB: is this the right server?" in str(failure)
    assert (failure.cause, failure.is_on_this_side) == ("too_large", False)
    telegram.always = Answer(200, b"[" + b"{}," * 500_000 + b"{}]")
    assert len(ask(Host(), site(port_of(telegram)), "/", {}, largest_bytes=2_000_000).body) == 1_500_004


def test_what_was_wrong_is_a_field() -> None:
    assert fail(site(free_port())).cause == "not_sent"
    with silent_server() as silent:
        assert fail(site(silent)).cause == "no_answer"
    with black_hole() as hole:
        assert fail(site(hole, hole)).cause == "not_sent"
    assert fail(Site(("http://host:x",), "a test")).cause == "unusable"
    assert fail(Site(("ftp://host",), "a test")).cause == "unusable"
    assert "a blank or a character" in str(fail(Site(("http://127.0.0.1/ä",), "a test")))


def test_an_untrusted_certificate_is_a_fault_on_this_side_and_ends_the_asking(
    telegram: FakeTelegram, tmp_path: Path
) -> None:
    make_tls_context.cache_clear()
    with Relay(port_of(telegram), make_certificate(tmp_path, "localhost")) as relay:
        urls = (f"https://localhost:{relay.port}", telegram.url)
        failure = fail(Site(urls, "a test"))
    assert (failure.cause, failure.is_on_this_side) == ("untrusted", True)
    assert "its certificate is not trusted here (self-signed certificate)" in str(failure)
    assert telegram.requests == []


def test_what_does_not_speak_tls_is_said_and_has_got_nothing(telegram: FakeTelegram) -> None:
    failure = fail(Site((telegram.url.replace("http", "https"),), "a test"))
    assert "no TLS connection: " in str(failure)
    assert failure.cause == "not_sent"


@pytest.mark.parametrize("key", ["s3cret\r", "s3cret\n", "s3\r\nHost: x", " s3cret", "s3cr\u0435t", "s3cr\x00t"])
def test_a_key_that_no_header_can_carry_is_named_and_not_quoted(key: str) -> None:
    with pytest.raises(RequestFailed, match=r"^the key from WAHA_API_KEY in monitor\.conf (has|holds) a .*") as caught:
        make_key_header("X-Api-Key", key, "WAHA_API_KEY in monitor.conf")
    assert caught.value.is_on_this_side
    assert "s3" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestFailed, match="the value for X-Api-Key holds a") as caught:
        request("GET", "http://127.0.0.1:1/", None, {"X-Api-Key": "s3\r"}, 1)


def test_faults_on_this_side_are_no_silence_of_waha(tmp_path: Path) -> None:
    make_tls_context.cache_clear()
    with FakeWaha() as waha, Relay(int(waha.url.rpartition(":")[2]), make_certificate(tmp_path, "localhost")) as relay:
        secured = Site((f"https://localhost:{relay.port}",), "WAHA_URL")
        cases = [Waha(secured, "k", "a test", None), Waha(Site((waha.url,), "x"), "k\r", "a test", None)]
        for case in cases:
            for action in (read_sessions, lambda host, target: restart_session(host, target, "default")):
                with pytest.raises(ReadError) as caught:
                    action(Host(), case)
                assert not isinstance(caught.value, Silent)
    with pytest.raises(Silent):
        read_sessions(Host(), Waha(site(free_port()), "k", "a test", None))
