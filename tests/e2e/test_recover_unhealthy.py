"""A container that stays unhealthy is restarted, verified and told; what starts or needs a database is left alone."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.docker import DockerEngine, run_container
from tests.kit.recovery import (
    QUICK,
    SICK,
    SLEEP,
    WELL_AFTER_RESTART,
    Bench,
    done,
    health,
    list_actions,
    sick_container,
)
from tests.kit.telegram import FakeTelegram
from vpsmon.recovery.actions import RealEffectors
from vpsmon.recovery.model import Action

pytestmark = pytest.mark.usefixtures("docker_host")


def test_an_unhealthy_container_is_restarted_once_verified_and_told(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram
) -> None:
    bench = Bench(tmp_path, telegram=telegram)
    with sick_container(engine, "n8n", WELL_AFTER_RESTART) as container:
        assert bench.run().decisions == []  # it has only just been seen
        bench.offset += 301
        since = time.time()
        result = bench.run_as_planned(engine, "unhealthy")
        assert done(result) == [("restart the container n8n", "it helped")]
        assert health(container) == "healthy"
        assert "restart n8n" in list_actions(engine, since)
        assert bench.run().decisions == []
    assert len(telegram.messages) == 1
    assert bench.last_message().startswith(
        "🔵 INFO recovery container_unhealthy n8n\nn8n has failed its health check for 5 min"
    )
    assert bench.last_message().endswith("Restarted the container n8n: it helped")
    assert bench.read_log().count("\n") == 2
    begun, ended = bench.read_events()
    assert (begun["ending"], ended["ending"], ended["severity"]) == ("begun", "repaired", "info")
    for event in (begun, ended):
        subject = {"rule": "container_unhealthy", "target": container.id, "name": "n8n", "cause": "unhealthy"}
        assert event.items() >= {**subject, "verdict": "act", "attempts": 1, "error": ""}.items()
        assert event["action"] == {"verb": "restart_container", "target": container.id, "name": "n8n", "details": {}}
        assert event["facts"]["seconds"] > 300


def test_one_that_stays_unhealthy_is_restarted_three_times_with_growing_pauses_then_a_person_is_asked(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.recovery.rules.container_unhealthy._VERIFY_SECONDS", 4.0)
    bench = Bench(tmp_path, telegram=telegram, UNHEALTHY_AFTER_SEC=1)
    verdicts = []
    with sick_container(engine, "n8n"):
        for _ in range(16):
            bench.offset += 150
            verdicts += [each.verdict for each in bench.run("unhealthy").decisions]
            bench.offset += 2
            verdicts += [each.verdict for each in bench.run("unhealthy").decisions]
            if "given up" in verdicts:
                break
        for _ in range(6):
            bench.offset += 5 * 3600
            verdicts += [each.verdict for each in bench.run("unhealthy").decisions]
        record = next(iter(bench.read_state()["incidents"].values()))
    assert record["attempts"] == 3
    assert verdicts.count("act") == 3, "an incident that lasts for days starts no new round"
    assert verdicts[-1] == "given up"
    assert bench.read_log().count("did not help") == 3
    texts = [message.text for message in telegram.messages]
    assert len(texts) == 3
    assert "Restarted the container n8n: it did not help; next: restart the container n8n, in 5 min" in texts[0]
    assert "in 10 min" in texts[1]
    assert "it did not help; that was the last attempt, manual action needed" in texts[2]
    for text in texts:
        assert "🔴 CRITICAL recovery container_unhealthy n8n" in text
        assert "→ docker inspect --format '{{json .State.Health.Log}}' n8n shows what the health check says" in text


def test_what_is_starting_or_needs_a_database_that_is_down_is_left_alone(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1)
    slow = {**SICK, "start_period": 600_000_000_000, "retries": 100}
    with ExitStack() as stack:
        stack.enter_context(run_container(engine, "slow", SLEEP, healthcheck=slow))
        stack.enter_context(sick_container(engine, "mine", labels={"vpsmon.recover": "false"}))
        stack.enter_context(sick_container(engine, "n8n"))
        redis = stack.enter_context(run_container(engine, "redis", SLEEP, restart_policy={"Name": "always"}, **QUICK))
        redis.stop()  # by a person
        bench.run("unhealthy")
        bench.offset += 10
        since = time.time()
        ((decision, wording),) = bench.run_as_planned(engine, "unhealthy").entries
        assert (decision.name, decision.verdict) == ("n8n", "hold")
        assert "redis, which it needs, is exited" in wording.text
        assert list_actions(engine, since) == []


def test_the_database_comes_first_and_what_needs_it_gets_time_to_recover(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.recovery.rules.container_unhealthy._VERIFY_SECONDS", 10.0)
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1)
    with sick_container(engine, "n8n"), sick_container(engine, "postgres", WELL_AFTER_RESTART):
        bench.run("unhealthy")
        bench.offset += 10
        since = time.time()
        result = bench.run_as_planned(engine, "unhealthy")
        assert [(each.name, each.verdict) for each in result.decisions] == [("postgres", "act"), ("n8n", "hold")]
        assert bench.run("unhealthy").decisions[0].verdict == "hold"
        assert "restart n8n" not in list_actions(engine, since)
        bench.offset += 120
        assert bench.run("unhealthy").decisions[0].verdict == "act"


def test_one_that_somebody_stops_at_the_last_moment_is_not_started_by_a_restart(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    restart = RealEffectors._restart_container
    bench = Bench(tmp_path, telegram=telegram, UNHEALTHY_AFTER_SEC=1)
    with sick_container(engine, "n8n") as container:

        def stop_first(self: RealEffectors, action: Action) -> None:
            container.stop()
            restart(self, action)

        monkeypatch.setattr(RealEffectors, "_restart_container", stop_first)
        bench.run("unhealthy")
        bench.offset += 10
        ((_, outcome),) = done(bench.run("unhealthy"))
        assert outcome == "nothing was done: n8n is exited by now"
        container.reload()
        assert container.status == "exited"
    assert telegram.messages == []


def test_a_dry_run_spends_the_budget_of_an_hour_as_the_run_does(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram
) -> None:
    bench = Bench(tmp_path, telegram=telegram, UNHEALTHY_AFTER_SEC=1, RECOVERY_MAX_ACTIONS_PER_HOUR=1)
    with sick_container(engine, "one", WELL_AFTER_RESTART), sick_container(engine, "two"):
        bench.run("unhealthy")
        bench.offset += 10
        result = bench.run_as_planned(engine, "unhealthy")
        assert [(each.name, each.verdict) for each in result.decisions] == [("one", "act"), ("two", "budget")]
        for _ in range(3):
            bench.offset += 300
            bench.run("unhealthy")
    texts = [message.text for message in telegram.messages]
    assert len(texts) == 1, "told once"
    assert "There were 1 repairs in the last hour (RECOVERY_MAX_ACTIONS_PER_HOUR)" in texts[0]


def test_switched_off_it_says_what_it_would_do(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path, UNHEALTHY_AFTER_SEC=1, ENABLE_AUTO_RECOVERY=False)
    with sick_container(engine, "n8n"):
        bench.run("unhealthy")
        bench.offset += 10
        since = time.time()
        ((decision, wording),) = bench.run_as_planned(engine, "unhealthy").entries
        assert decision.verdict == "disabled"
        assert "it would restart the container n8n" in wording.text
        assert list_actions(engine, since) == []


def test_a_database_has_a_minute_to_end(engine: DockerEngine, tmp_path: Path) -> None:
    """Killed after the engine's 10 s it would have to recover at its next start."""
    ends_late = ["sh", "-c", "trap 'sleep 12; touch /saved; exit 0' TERM; while true; do sleep 0.1; done"]
    bench = Bench(tmp_path)
    with run_container(engine, "redis", ends_late) as redis:
        effectors = RealEffectors(bench.settings, bench.make_host)
        effectors.perform(Action("restart_container", str(redis.id), "redis"))
        assert redis.exec_run(["test", "-e", "/saved"]).exit_code == 0
