"""A queue of n8n that overflows, whose worker is dead, or that is merely long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.docker import DockerEngine, run_container
from tests.kit.local_server import server_error
from tests.kit.n8n import KEY as N8N_KEY
from tests.kit.n8n import FakeN8n
from tests.kit.recovery import QUICK, SLEEP, Bench, done, list_actions
from tests.kit.stack import RedisServer, redis_server
from tests.kit.telegram import FakeTelegram
from vpsmon.config.settings import Config
from vpsmon.jobs.status import look
from vpsmon.jobs.status_json import format_status
from vpsmon.jobs.status_text import format_screen
from vpsmon.recovery.actions import RealEffectors
from vpsmon.recovery.model import Action
from vpsmon.recovery.run import Result
from vpsmon.report.facts import Unread
from vpsmon.report.gather import gather
from vpsmon.state.directory import StateDirectory

pytestmark = pytest.mark.usefixtures("docker_host")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=[1, 2])
def n8n(request: pytest.FixtureRequest) -> Iterator[FakeN8n]:
    with FakeN8n(request.param) as server:
        yield server


def fill_queue(redis: RedisServer, jobs: int, active: int = 1) -> None:
    """Jobs waiting, and some that a worker holds; the next job changes with the length, so the queue moves."""
    redis.cli("FLUSHALL")
    redis.cli("SET", "bull:jobs:id", 9999)
    if jobs:
        redis.cli("RPUSH", "bull:jobs:wait", *range(1, jobs + 1))
    for number in range(active):
        redis.cli("LPUSH", "bull:jobs:active", 5000 + number)
        redis.cli("SET", f"bull:jobs:{5000 + number}:lock", "x")


def queue_bench(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n | None, telegram: FakeTelegram | None = None, **settings: Any
) -> Bench:
    fixed = {"N8N_URL": n8n.url if n8n else "http://127.0.0.1:9", "REDIS_URL": redis.url, "N8N_QUEUE_MAX": 10}
    return Bench(
        tmp_path,
        telegram=telegram,
        **{**fixed, "N8N_API_KEY": N8N_KEY, "POSTGRES_DSN": "host=127.0.0.1 port=9", **settings},
    )


def prepare_overflow(bench: Bench, redis: RedisServer) -> None:
    """Have the queue be too long for two minutes, so that the next run acts."""
    fill_queue(redis, 20)
    bench.run("queue")
    bench.offset += 130
    fill_queue(redis, 30)


def overflow(bench: Bench, redis: RedisServer) -> Result:
    prepare_overflow(bench, redis)
    return bench.run("queue")


def active_names(n8n: FakeN8n) -> set[str]:
    return {each["name"] for each in n8n.workflows.values() if each["active"]}


def test_an_overflowing_queue_pauses_what_can_wait_and_activates_exactly_that_again(
    engine: DockerEngine, tmp_path: Path, redis: RedisServer, n8n: FakeN8n, telegram: FakeTelegram
) -> None:
    bench = queue_bench(tmp_path, redis, n8n, telegram)
    before = active_names(n8n)
    versions = {each["id"]: each["activeVersionId"] for each in n8n.workflows.values()}
    prepare_overflow(bench, redis)
    bench.run("queue", is_dry=True)
    assert n8n.actions == []
    ((action, outcome),) = done(bench.run_as_planned(engine, "queue"))
    assert action == "pause the n8n workflows LP newsletter webhook, LP report schedule"
    assert outcome.startswith("done; callers of their webhooks get 404 meanwhile")
    assert bench.last_message() == (
        "🔵 INFO recovery n8n_queue_overflow queue\n30 jobs wait for n8n, more than 10, and they do not get fewer. "
        "Paused the n8n workflows LP newsletter webhook, LP report schedule: callers of their webhooks get 404 "
        "meanwhile, and jobs that are queued already still run; they are activated again when the queue has been "
        "below half for 10 min"
    )
    assert active_names(n8n) == before - {"LP newsletter webhook", "LP report schedule"}
    bench.offset += 300
    assert bench.run("queue").decisions == []  # once is enough
    fill_queue(redis, 2)
    for _ in range(3):
        assert active_names(n8n) != before
        bench.offset += 301
        bench.run_as_planned(engine, "queue")
    assert active_names(n8n) == before
    assert {each["id"]: each["activeVersionId"] for each in n8n.workflows.values()} == versions
    assert bench.read_state()["changes"] == []
    assert bench.last_message() == (
        "🔵 INFO recovery n8n_queue_overflow n8n\n"
        "Paused the n8n workflows LP newsletter webhook, LP report schedule 20 min ago. Activated the n8n workflows "
        "LP newsletter webhook, LP report schedule again: the queue has been below half for 10 min"
    )


def test_report_and_status_name_paused_workflows_as_their_owner_does(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n
) -> None:
    n8n.find("LP newsletter webhook")["name"] = "CRM: nightly sync"
    n8n.find("LP report schedule")["name"] = "LP: newsletter"
    bench = queue_bench(tmp_path, redis, n8n)
    overflow(bench, redis)
    state = StateDirectory(str(bench.folder))
    facts = gather(bench.make_host(), Config(bench.settings, None, state.path), state)
    assert not isinstance(facts.repairs, Unread)
    ((done_text, outcome),) = [(each.done, each.outcome) for each in facts.repairs]
    assert {"CRM: nightly sync", "LP: newsletter"} == set(
        done_text.removeprefix("pause the n8n workflows ").split(", ")
    )
    assert outcome.startswith("done; callers of their webhooks get 404 meanwhile")
    overview = look(bench.make_host(), Config(bench.settings, None, state.path), state, services={})
    assert f"{done_text}: done; callers" in " ".join(format_screen(overview).split())
    (repair,) = json.loads(format_status(overview))["repairs"]
    assert (repair["rule"], repair["done"]) == ("n8n_queue_overflow", done_text)


def test_a_workflow_that_somebody_edited_meanwhile_is_asked_about(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n, telegram: FakeTelegram
) -> None:
    bench = queue_bench(tmp_path, redis, n8n, telegram)
    overflow(bench, redis)
    n8n.edit(n8n.find("LP newsletter webhook")["id"])
    result = bench.run("restore")
    assert result.is_complete
    assert "LP newsletter webhook was edited while it was paused" in done(result)[0][1]
    assert "LP report schedule" in active_names(n8n)
    assert "LP newsletter webhook" not in active_names(n8n)
    assert "🟠 WARNING recovery n8n_queue_overflow n8n\nPaused the n8n workflows" in bench.last_message()
    assert bench.last_message().endswith(
        "Undone as far as possible: LP newsletter webhook was edited while it was paused: "
        "publish it in n8n if it is ready"
    )


def test_what_a_person_switched_on_or_deleted_meanwhile_stays_as_it_is(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n
) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    overflow(bench, redis)
    mine = n8n.find("LP newsletter webhook")
    mine |= {"active": True, "activeVersionId": n8n.edit(mine["id"])}
    del n8n.workflows[n8n.find("LP report schedule")["id"]]
    n8n.actions.clear()
    assert bench.run("restore").is_complete
    assert n8n.actions == []


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_a_pause_that_was_cut_off_is_undone_and_then_done_again(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n, monkeypatch: pytest.MonkeyPatch, reach: int
) -> None:
    class Killed(BaseException):
        pass

    def die_on_the_way(self: RealEffectors, action: Action) -> None:
        for item in action.details["items"][:reach]:
            n8n.workflows[item["id"]] |= {"active": False, "activeVersionId": None}
        raise Killed

    bench = queue_bench(tmp_path, redis, n8n)
    before = active_names(n8n)
    prepare_overflow(bench, redis)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RealEffectors, "_pause_workflows", die_on_the_way)
        bench.run("queue")
    bench.offset += 60
    bench.run("queue")
    assert active_names(n8n) == before
    assert bench.read_state()["changes"] == []
    for _ in range(16):
        bench.offset += 60
        redis.cli("RPUSH", "bull:jobs:wait", round(bench.offset))
        bench.run("queue")
    assert "LP report schedule" not in active_names(n8n)


def test_a_draft_that_was_never_published_is_not_published_by_recovery(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n
) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    workflow = n8n.find("LP newsletter webhook")
    version = workflow["activeVersionId"]
    draft = n8n.edit(workflow["id"])
    overflow(bench, redis)
    bench.run("restore")
    assert workflow["activeVersionId"] == (version if n8n.major == 2 else None)
    assert workflow["versionId"] == draft


def test_n8n_says_500_after_having_paused_or_lies_about_it(tmp_path: Path, redis: RedisServer, n8n: FakeN8n) -> None:
    act = n8n.judge

    def fail_posts(request: Any) -> Any:
        answer = act(request)
        return server_error() if request.verb == "POST" and answer.status == 200 else answer

    n8n.judge = fail_posts  # type: ignore[method-assign]
    bench = queue_bench(tmp_path, redis, n8n)
    assert done(overflow(bench, redis))[0][1].startswith("done; callers")
    bench.run("restore")
    assert "LP report schedule" in active_names(n8n)
    # One that answers with 500 and is off is not to blame for the other, which only says that it is.
    first, second = (n8n.find(name)["id"] for name in ("LP newsletter webhook", "LP report schedule"))
    n8n.judge = lambda request: (fail_posts if first in request.path else act)(request)  # type: ignore[method-assign]
    n8n.deaf = {second}
    bench.offset += 7 * 3600
    assert "it is still active" in done(overflow(bench, redis))[0][1]


@pytest.mark.parametrize(("tag", "pauses"), [("low-priority", True), ("night", False)])
def test_a_workflow_without_the_tag_is_never_paused_whatever_the_query_returns(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n, tag: str, pauses: bool
) -> None:
    bench = queue_bench(tmp_path, redis, n8n, N8N_LOW_PRIORITY_TAG=tag)
    n8n.ignores_tags = True
    tagged = {
        each["name"] for each in n8n.workflows.values() if "low-priority" in [tag["name"] for tag in each["tags"]]
    }
    before = active_names(n8n)
    assert before - tagged
    overflow(bench, redis)
    assert active_names(n8n) == (before - tagged if pauses else before)


@pytest.mark.parametrize("fault", ["no key", "wrong key", "no scope"])
def test_without_a_key_that_may_do_it_the_alert_says_how_to_make_one(
    tmp_path: Path, redis: RedisServer, n8n: FakeN8n, telegram: FakeTelegram, fault: str
) -> None:
    if fault == "no scope":
        n8n.scopes = frozenset()
    key = {"no key": "", "wrong key": "x", "no scope": N8N_KEY}[fault]
    bench = queue_bench(tmp_path, redis, n8n, telegram, N8N_API_KEY=key)
    ((decision, wording),) = overflow(bench, redis).entries
    assert decision.verdict == "person"
    assert "workflow:deactivate" in wording.advice
    assert "🟠 WARNING recovery n8n_queue_overflow queue\n30 jobs wait for n8n" in bench.last_message()
    assert "Manual action needed\n→ " in bench.last_message()
    assert "workflow:list, workflow:read, workflow:activate, workflow:deactivate" in bench.last_message()
    bench.offset += 600
    bench.run("queue")
    assert len(telegram.messages) == 1, "told once"
    assert n8n.actions == []


def test_a_long_queue_that_drains_is_left_alone(tmp_path: Path, redis: RedisServer, n8n: FakeN8n) -> None:
    bench = queue_bench(tmp_path, redis, n8n)
    for jobs in (900, 700, 500, 300, 100):
        fill_queue(redis, jobs)
        assert bench.run("queue").decisions == []
        bench.offset += 300
    assert n8n.actions == []


def test_a_dead_worker_is_restarted_and_not_n8n_itself(
    engine: DockerEngine, tmp_path: Path, redis: RedisServer, telegram: FakeTelegram
) -> None:
    bench = queue_bench(tmp_path, redis, None, telegram)
    with ExitStack() as stack:
        stack.enter_context(run_container(engine, "n8n", SLEEP, environment={"EXECUTIONS_MODE": "queue"}, **QUICK))
        command = ["sh", "-c", "sleep 600", "worker"]
        worker = stack.enter_context(run_container(engine, "n8n-worker", command, **QUICK))
        fill_queue(redis, 5, active=0)
        bench.run("queue")
        bench.offset += 200
        started = worker.attrs["State"]["StartedAt"]

        def take_jobs() -> None:
            worker.reload()
            if worker.attrs["State"]["StartedAt"] != started:
                fill_queue(redis, 4, active=1)

        worker.reload()
        started = worker.attrs["State"]["StartedAt"]
        bench.on_look = take_jobs
        since = time.time()
        assert done(bench.run_as_planned(engine, "queue")) == [("restart the container n8n-worker", "it helped")]
        assert bench.last_message().startswith("🔵 INFO recovery n8n_queue_overflow n8n-worker\n5 jobs wait for n8n")
        assert bench.last_message().endswith("the worker is dead. Restarted the container n8n-worker: it helped")
        assert [each for each in list_actions(engine, since) if "restart" in each] == ["restart n8n-worker"]
