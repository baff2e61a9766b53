"""WhatsApp sessions that are stuck, and those that must be left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.kit.docker import DockerEngine, run_container
from tests.kit.local_server import server_error
from tests.kit.recovery import QUICK, SLEEP, Bench, done, list_actions
from tests.kit.telegram import FakeTelegram
from tests.kit.waha import KEY, OLD, FakeWaha

pytestmark = pytest.mark.usefixtures("docker_host")


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        yield server


def waha_bench(
    tmp_path: Path, waha: FakeWaha, container: Container | None = None, telegram: FakeTelegram | None = None
) -> Bench:
    """WAHA on this machine, that starts anew whenever its container does."""
    bench = Bench(tmp_path, telegram=telegram, WAHA_URL=waha.url, WAHA_API_KEY=KEY, WAHA_STUCK_AFTER_SEC=100)
    if container is not None:
        container.reload()
        starts = [container.attrs["State"]["StartedAt"]]

        def follow() -> None:
            container.reload()
            if container.attrs["State"]["StartedAt"] != starts[-1]:
                starts.append(container.attrs["State"]["StartedAt"])
                waha.restart_container()

        bench.on_look = follow
    return bench


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.recovery.rules.waha_stuck._SESSION_SECONDS", 2.0)
    monkeypatch.setattr("vpsmon.recovery.rules.waha_stuck._CONTAINER_SECONDS", 8.0)
    monkeypatch.setattr("vpsmon.recovery.engine.step.POLL_SECONDS", 0.3)


def make_stuck(bench: Bench, waha: FakeWaha) -> None:
    waha.add("default")
    bench.run("waha")
    waha.sessions["default"].status = "FAILED"
    bench.run("waha")
    bench.offset += 300


def test_a_stuck_session_is_restarted_verified_and_told(
    engine: DockerEngine, tmp_path: Path, waha: FakeWaha, telegram: FakeTelegram, short_waits: None
) -> None:
    bench = waha_bench(tmp_path, waha, telegram=telegram)
    make_stuck(bench, waha)
    assert done(bench.run("waha", is_dry=True))[0][0] == "restart the WhatsApp session default"
    assert waha.actions == []
    assert done(bench.run_as_planned(engine, "waha")) == [("restart the WhatsApp session default", "it helped")]
    assert waha.actions == [("restart", "default")]
    message = bench.last_message()
    assert message.startswith("🔵 INFO recovery waha_stuck default\nnot connected (FAILED) for 5 min")
    assert message.endswith(", critical after 1 min 40 s. Restarted the WhatsApp session default: it helped")
    bench.offset += 300
    assert bench.run("waha").decisions == []
    assert waha.actions == [("restart", "default")]


def test_an_api_that_says_500_after_having_done_it_is_believed_by_what_shows(
    tmp_path: Path, waha: FakeWaha, short_waits: None
) -> None:
    bench = waha_bench(tmp_path, waha)
    make_stuck(bench, waha)
    act = waha.judge

    def fail_posts(request: Any) -> Any:
        answer = act(request)
        return server_error() if request.verb == "POST" else answer

    waha.judge = fail_posts  # type: ignore[method-assign]
    assert "it is well again, although this failed" in done(bench.run("waha"))[0][1]
    assert waha.actions == [("restart", "default")]


@pytest.mark.parametrize("version", [OLD, "2026.7.1"])
def test_where_that_does_not_help_the_container_is_restarted_and_what_ran_is_started_again(
    engine: DockerEngine, tmp_path: Path, waha: FakeWaha, short_waits: None, version: str
) -> None:
    with run_container(engine, "waha", SLEEP, **QUICK) as container:
        bench = waha_bench(tmp_path, waha, container)
        waha.version = version
        waha.add("byhand", "STOPPED")
        make_stuck(bench, waha)
        waha.start_leads_to = None  # a session restart is accepted, and nothing happens
        result = bench.run("waha")
        assert "it did not help; next: restart the container waha, in 10 min" in done(result)[0][1]
        assert bench.run("waha").decisions[0].verdict == "wait"
        bench.offset += 601
        waha.start_leads_to = "WORKING"
        assert done(bench.run("waha")) == [("restart the container waha", "it helped")]
        assert bench.read_state()["changes"] == []
        assert [waha.sessions[name].status for name in ("default", "byhand")] == ["WORKING", "STOPPED"]
        assert "logout" not in {action for action, _ in waha.actions}


@pytest.mark.parametrize("names", [["default"], ["default", "sales", "support"]])
def test_after_the_last_attempt_a_person_is_asked_and_nothing_more_is_done(
    engine: DockerEngine,
    tmp_path: Path,
    waha: FakeWaha,
    telegram: FakeTelegram,
    short_waits: None,
    names: list[str],
) -> None:
    with run_container(engine, "waha", SLEEP, **QUICK) as container:
        bench = waha_bench(tmp_path, waha, container, telegram)
        for name in names:
            waha.add(name)
        bench.run("waha")
        for session in waha.sessions.values():
            session.status = "FAILED"
        bench.run("waha")
        bench.offset += 300
        waha.start_leads_to = "FAILED"
        since = time.time()
        for _ in range(12):
            bench.run("waha")
            bench.offset += 601
        verdicts = {each.name: each.verdict for each in bench.run("waha").decisions}
        assert verdicts == dict.fromkeys(names, "given up")
        # All numbers go down with the container: it is restarted twice, however many of them are stuck.
        assert [each for each in list_actions(engine, since) if each.startswith("restart")] == ["restart waha"] * 2
        assert len([each for each in waha.actions if each[0] == "restart"]) == len(names)
        assert {action for action, _ in waha.actions} <= {"restart", "start"}
        for name in names:
            texts = [each.text for each in telegram.messages if f"recovery waha_stuck {name}" in each.text]
            assert any("manual action needed\n→ restart this session in WAHA's" in each for each in texts), name


def test_an_api_that_does_not_answer_is_restarted_with_its_container_and_what_ran_is_started_again(
    engine: DockerEngine, tmp_path: Path, waha: FakeWaha, telegram: FakeTelegram, short_waits: None
) -> None:
    with run_container(engine, "waha", SLEEP, **QUICK) as container:
        bench = waha_bench(tmp_path, waha, container, telegram)
        waha.version = OLD
        waha.add("default")
        waha.add("byhand", "STOPPED")
        bench.run("waha")
        started = container.attrs["State"]["StartedAt"]
        judge = waha.judge

        def hang_until_restarted(request: Any) -> Any:
            container.reload()
            return judge(request) if container.attrs["State"]["StartedAt"] != started else server_error()

        waha.judge = hang_until_restarted  # type: ignore[method-assign]
        bench.run("waha")
        bench.offset += 300
        assert done(bench.run_as_planned(engine, "waha")) == [("restart the container waha", "it helped")]
        assert [waha.sessions[name].status for name in ("default", "byhand")] == ["WORKING", "STOPPED"]
        assert waha.actions == [("start", "default")]
        assert ". Restarted the container waha: it helped" in bench.last_message()


def test_idle_stopped_and_waiting_sessions_are_left_alone(tmp_path: Path, waha: FakeWaha) -> None:
    bench = waha_bench(tmp_path, waha)
    waha.add("night", activity_milliseconds=round((time.time() - 30_000) * 1000))
    waha.add("stopped", "STOPPED")
    waha.add("code", "SCAN_QR_CODE")
    waha.add("passkey", "PASSKEY_REQUIRED")
    for _ in range(5):
        bench.offset += 3600
        assert bench.run("waha").decisions == []
    assert waha.actions == []
