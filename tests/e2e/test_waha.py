"""WAHA's sessions over real HTTP, with WAHA on this machine and in real containers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import docker.models.containers
import pytest

import vpsmon.stack.waha
from tests.kit.docker import DockerEngine, run_container
from tests.kit.local_server import Answer, half_a_json, never, reply, server_error, web_page
from tests.kit.stack import free_port
from tests.kit.waha import KEY, OLD, FakeWaha
from vpsmon.checks.stack import waha as check
from vpsmon.config.settings import DEFAULTS, Settings
from vpsmon.core.findings import Finding, NotApplicable, Previous
from vpsmon.net.http_client import request
from vpsmon.stack.waha import describe_waha, find_waha
from vpsmon.stack.web import Site
from vpsmon.system.host import Host

NO_DOCKER = "unix:///nonexistent/docker.sock"
# A pass gives a check 5 s.
LONGEST_SECONDS = 4.5
SLEEP = ["sleep", "1000"]


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NO_DOCKER)
    monkeypatch.setattr(vpsmon.stack.waha, "LOOPBACK", Site((f"http://127.0.0.1:{free_port()}",), "a free port"))


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        yield server


def settings_for(waha: FakeWaha, **keys: Any) -> Settings:
    return DEFAULTS._replace(**{"WAHA_URL": waha.url, "WAHA_API_KEY": KEY, **keys})


class Watch:
    """Real passes, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.memory: dict[str, Any] | None = None

    def look(self) -> list[Finding]:
        """Read, judge and remember as a pass does."""
        previous = None if self.memory is None else Previous(self.memory, 30.0)
        reading = check.read(Host(), self.settings, previous)
        findings = check.judge(reading, self.settings, previous)
        self.memory = json.loads(json.dumps(check.remember(reading, previous)))
        return findings

    def look_at(self, name: str | None) -> Finding:
        """The row of one session."""
        return next(finding for finding in self.look() if finding.object == name)


@pytest.mark.parametrize("version", [OLD, "2025.10.1", "2025.11.2", "2026.7.1"])
def test_every_session_has_a_row_in_every_version(waha: FakeWaha, version: str) -> None:
    waha.version = version
    waha.add("default", activity_milliseconds=round((time.time() - 7200) * 1000))
    waha.add("sales", "STOPPED")
    waha.add("support", "SCAN_QR_CODE")
    waha.add("bulk", "FAILED").has_empty_timestamps = True
    findings = {finding.object: finding for finding in Watch(settings_for(waha)).look()}
    statuses = {name: finding.status for name, finding in findings.items()}
    assert statuses == {"default": "ok", "sales": "ok", "support": "warning", "bulk": "warning"}
    assert ("last sent 2 h ago" in findings["default"].message) == (waha.version_number >= (2025, 11, 2))


def test_a_session_that_restarts_is_a_warning_until_it_works(waha: FakeWaha) -> None:
    waha.add("default")
    watch = Watch(settings_for(waha))
    waha.start_seconds = 0.5
    waha.script()
    headers = {"X-Api-Key": KEY}
    assert request("POST", f"{waha.url}/api/sessions/default/restart", b"", headers, 5).status == 201
    assert watch.look_at("default").status == "warning"
    time.sleep(0.6)
    assert watch.look_at("default").status == "ok"


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (web_page(), "unknown", "is WAHA_URL right?"),
        (web_page(404), "unknown", "HTTP 404"),
        (Answer(302, b"", {"Location": "https://elsewhere.example/"}), "unknown", "HTTP 302"),
        (
            reply({"message": "Unauthorized", "statusCode": 401}, 401),
            "unknown",
            "WAHA_API_KEY in monitor.conf is refused",
        ),
        (reply({"message": "Forbidden"}, 403), "unknown", "is refused (HTTP 403)"),
        (reply({"statusCode": 422, "message": "only in Plus version"}, 422), "unknown", "HTTP 422"),
        (server_error(), "unknown", "HTTP 500: look into its log"),
        (web_page(502), "unknown", "HTTP 502"),
        (half_a_json(), "unknown", "breaks off in the middle"),
        (reply({"sessions": []}), "unknown", "not a list of sessions"),
        (reply(None), "unknown", "not a list of sessions"),
        (Answer(200, b"\xff\xfe\x00"), "unknown", "no JSON"),
        (Answer(200, b"[" + b"{}," * 5_000_000 + b"{}]"), "unknown", "the answer is larger than 1 MB"),
        (Answer(lost=True), "warning", "no usable answer"),
        (never(), "warning", "no answer in time"),
    ],
)
def test_an_answer_that_is_no_list_of_sessions_gives_one_row_with_the_remedy(
    waha: FakeWaha, answer: Answer, status: str, words: str
) -> None:
    waha.always = answer
    started = time.monotonic()
    (finding,) = Watch(settings_for(waha)).look()
    assert time.monotonic() - started < LONGEST_SECONDS
    assert (finding.object, finding.status) == (None, status)
    text = finding.message + (finding.reason or "") + (finding.advice or "")
    assert words in text
    assert KEY not in text


def test_a_waha_that_is_not_running_is_a_warning_and_keeps_the_rows_of_its_sessions(waha: FakeWaha) -> None:
    waha.add("default")
    watch = Watch(settings_for(waha))
    watch.look()
    waha.stop()
    api, session = watch.look()
    assert (api.status, session.object, session.status) == ("warning", "default", "unknown")
    assert "Connection refused" in api.message
    waha.start()
    assert [finding.status for finding in watch.look()] == ["ok", "ok"]


def test_a_session_stuck_for_longer_than_the_limit_is_critical(waha: FakeWaha) -> None:
    waha.add("default", "STARTING")
    watch = Watch(settings_for(waha, WAHA_STUCK_AFTER_SEC=1))
    assert watch.look_at("default").status == "warning"
    time.sleep(1.1)
    assert watch.look_at("default").status == "critical"


@pytest.mark.parametrize("name", ['de"fault', "line\nbreak", "x" * 4096, "🙂", "\ud83d", "\x1b[31m", "a/../b?c#d"])
def test_a_hostile_session_name_is_one_printable_row(waha: FakeWaha, name: str) -> None:
    waha.add(name, "FAILED")
    (finding,) = Watch(settings_for(waha)).look()
    assert finding.status == "warning"
    assert finding.object is not None and finding.object.isprintable() and len(finding.object) <= 80


@pytest.mark.parametrize("key", ["line\nbreak", "nicht-ascii-ü-🙂"])
def test_a_key_that_http_cannot_carry_is_not_repeated(waha: FakeWaha, key: str) -> None:
    (finding,) = Watch(settings_for(waha, WAHA_API_KEY=key)).look()
    assert finding.status in ("warning", "unknown")
    assert key not in finding.message + (finding.reason or "")


def test_without_a_waha_the_reason_says_how_to_name_one() -> None:
    with pytest.raises(NotApplicable, match="WAHA_URL"):
        Watch(DEFAULTS).look()


def test_a_waha_on_the_machine_itself_is_known_by_its_answer(waha: FakeWaha, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vpsmon.stack.waha, "LOOPBACK", Site((waha.url,), "port 3000 of this machine"))
    monkeypatch.setattr(check, "LOOPBACK", vpsmon.stack.waha.LOOPBACK)
    waha.add("default")
    assert "it wants a key, and none was found" in (Watch(DEFAULTS).look()[0].reason or "")
    refused = Watch(DEFAULTS._replace(WAHA_API_KEY=KEY)).look()[0]
    assert "gets it only where WAHA_URL says so" in (refused.reason or "")
    assert not any(KEY in str(request.headers) for request in waha.requests)
    waha.key = ""
    watch = Watch(DEFAULTS)
    assert watch.look_at("default").status == "ok"
    waha.stop()
    assert watch.look_at(None).status == "warning"


@pytest.mark.parametrize("answer", [web_page(), reply({"status": "ok"}), reply("pong"), Answer(302, b"")])
def test_another_program_on_that_port_is_no_waha(
    waha: FakeWaha, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    waha.always = answer
    monkeypatch.setattr(vpsmon.stack.waha, "LOOPBACK", Site((waha.url,), "port 3000 of this machine"))
    with pytest.raises(NotApplicable):
        Watch(DEFAULTS).look()


@contextmanager
def waha_container(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, waha: FakeWaha, name: str, **options: Any
) -> Iterator[docker.models.containers.Container]:
    """A container that passes on what comes to its port 3000, which is not published, to the server of the test."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    gateway = engine.client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    relay = ["nc", "-ll", "-p", "3000", "-e", "nc", gateway, str(waha.port)]
    with run_container(engine, name, relay, **options) as container:
        yield container


@pytest.fixture
def reachable_waha() -> Iterator[FakeWaha]:
    with FakeWaha(address="0.0.0.0") as server:  # noqa: S104 - containers have to reach it
        server.add("default")
        yield server


@pytest.mark.parametrize("variable", ["WAHA_API_KEY", "WHATSAPP_API_KEY", "WAHA_API_KEY_PLAIN"])
def test_a_container_without_published_ports_is_found_with_its_key(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, reachable_waha: FakeWaha, variable: str
) -> None:
    options = {"labels": {"com.docker.compose.service": "waha"}, "environment": {variable: KEY}}
    with waha_container(engine, monkeypatch, reachable_waha, "crm-waha-1", **options):
        assert Watch(DEFAULTS).look_at("default").status == "ok"
        text = describe_waha(find_waha(Host(), DEFAULTS))
    assert f"key from {variable} of its container" in text
    assert "address of container crm-waha-1" in text
    assert KEY not in text


def test_a_hashed_key_is_said_to_be_of_no_use(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, reachable_waha: FakeWaha
) -> None:
    environment = {"WAHA_API_KEY": "sha512:" + "ab" * 64}
    with waha_container(engine, monkeypatch, reachable_waha, "waha", environment=environment):
        (finding,) = Watch(DEFAULTS).look()
        assert Watch(DEFAULTS._replace(WAHA_API_KEY=KEY)).look_at("default").status == "ok"
    assert finding.status == "unknown"
    assert "only a hash of the key" in (finding.reason or "")
    assert "put the plain key into monitor.conf as WAHA_API_KEY" in (finding.reason or "")
    assert "abab" not in (finding.reason or "")


def test_a_container_on_the_network_of_the_machine_is_found_at_its_own_port(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, reachable_waha: FakeWaha
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    environment = {"WHATSAPP_API_PORT": str(reachable_waha.port), "WAHA_API_KEY": KEY}
    with run_container(engine, "waha", SLEEP, network_mode="host", environment=environment):
        assert Watch(DEFAULTS).look_at("default").status == "ok"


def test_sessions_that_a_restarted_container_left_stopped_are_not_stopped_by_hand(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, reachable_waha: FakeWaha
) -> None:
    reachable_waha.version = OLD
    reachable_waha.add("sales", "STOPPED")
    environment = {"WAHA_API_KEY": KEY}
    with waha_container(engine, monkeypatch, reachable_waha, "waha", environment=environment) as container:
        watch = Watch(DEFAULTS)
        watch.look()
        container.restart(timeout=0)
        reachable_waha.restart_container()
        findings = {finding.object: finding for finding in watch.look()}
    assert "stopped since WAHA restarted" in findings["default"].message
    assert {name: finding.status for name, finding in findings.items()} == {"default": "warning", "sales": "ok"}


def test_a_stopped_container_is_a_waha_that_does_not_answer(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, reachable_waha: FakeWaha
) -> None:
    environment = {"WAHA_API_KEY": KEY}
    with ExitStack() as stack:
        container = stack.enter_context(
            waha_container(engine, monkeypatch, reachable_waha, "waha", environment=environment)
        )
        watch = Watch(DEFAULTS)
        watch.look()
        container.stop(timeout=0)
        api, session = watch.look()
    assert api.status == "warning"
    assert "its container waha is exited" in api.message
    assert (session.object, session.status) == ("default", "unknown")
