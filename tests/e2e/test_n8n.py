"""n8n's queue in a real Redis, its executions in a real PostgreSQL, its health over real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import vpsmon.stack.n8n.server
from tests.kit.docker import DockerEngine, run_container
from tests.kit.local_server import Answer, never, web_page
from tests.kit.n8n import KEY, FakeN8n
from tests.kit.stack import PostgresServer, RedisServer, free_port, postgres_server, redis_server, silent_server
from vpsmon.checks.stack import n8n as check
from vpsmon.config.settings import DEFAULTS, Settings
from vpsmon.core.findings import Finding, NotApplicable, Previous
from vpsmon.net.http_client import request
from vpsmon.stack.n8n.server import describe_n8n, find_n8n
from vpsmon.stack.web import Site
from vpsmon.system.host import Host

NO_DOCKER = "unix:///nonexistent/docker.sock"
# A pass gives a check 5 s.
LONGEST_SECONDS = 4.8
# The columns of n8n 1.123.81; 2.40.7 adds some that nothing here reads.
TABLE = """
create table {table} (id serial primary key, finished bool not null, mode varchar not null, "retryOf" varchar,
"retrySuccessId" varchar, "startedAt" timestamptz(3), "stoppedAt" timestamptz(3), "waitTill" timestamptz(3),
status varchar not null, "workflowId" varchar(36) not null, "deletedAt" timestamptz(3),
"createdAt" timestamptz(3) not null default current_timestamp(3))
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        server.psql("create database n8n")
        yield server


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, redis: RedisServer, postgres: PostgresServer) -> None:
    monkeypatch.setenv("DOCKER_HOST", NO_DOCKER)
    monkeypatch.setattr(vpsmon.stack.n8n.server, "LOOPBACK", Site((f"http://127.0.0.1:{free_port()}",), "a free port"))
    redis.cli("FLUSHALL")
    postgres.psql("drop table if exists execution_entity; drop schema if exists other cascade", "n8n")


@pytest.fixture(params=[1, 2])
def n8n(request: pytest.FixtureRequest) -> Iterator[FakeN8n]:
    with FakeN8n(request.param) as server:
        yield server


@pytest.fixture
def settings(n8n: FakeN8n, redis: RedisServer, postgres: PostgresServer) -> Settings:
    return DEFAULTS._replace(N8N_URL=n8n.url, REDIS_URL=redis.url, POSTGRES_DSN=postgres.dsn(database="n8n"))


class Bull:
    """Puts jobs into Redis as n8n does: Bull 4.16.4, keys as seen with n8n 1.123.81 and 2.40.7."""

    def __init__(self, redis: RedisServer, prefix: str = "bull", database: int = 0) -> None:
        self._redis = redis
        self._keys = f"{prefix}:jobs"
        self._database = database
        self._number = 0

    def cli(self, *words: str | int) -> str:
        return self._redis.cli("-n", self._database, *words)

    def add(self, age_seconds: float = 0.0) -> int:
        """Queue a job."""
        self._number += 1
        number, then = self._number, round((time.time() - age_seconds) * 1000)
        data = json.dumps({"workflowId": "LEOI1xX8BG6v7uJn", "executionId": str(number), "loadStaticData": True})
        fields: dict[str, str | int] = {
            "name": "job",
            "data": data,
            "opts": "{}",
            "timestamp": then,
            "delay": 0,
            "priority": 100,
        }
        self.cli("HSET", f"{self._keys}:{number}", *(word for pair in fields.items() for word in pair))
        self.cli("SET", f"{self._keys}:id", number)
        self.cli("LPUSH", f"{self._keys}:wait", number)
        self.cli("ZADD", f"{self._keys}:priority", 100, number)
        return number

    def take(self) -> str:
        """Let a worker take a job."""
        number = self.cli("RPOPLPUSH", f"{self._keys}:wait", f"{self._keys}:active")
        self.cli("ZREM", f"{self._keys}:priority", number)
        self.cli("SET", f"{self._keys}:{number}:lock", "token", "PX", 60_000)
        return number

    def lose_lock(self, number: str) -> None:
        """Do what 60 s after the death of a worker do."""
        self.cli("DEL", f"{self._keys}:{number}:lock")

    def finish(self, number: str) -> None:
        """Let the worker end the job."""
        self.cli("LREM", f"{self._keys}:active", 1, number)
        self.cli("DEL", f"{self._keys}:{number}", f"{self._keys}:{number}:lock")


class Watch:
    """Real passes that believe to be some seconds apart."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.memory: dict[str, Any] | None = None

    def look(self, after_seconds: float = 30.0) -> dict[str, Finding]:
        previous = None if self.memory is None else Previous(self.memory, after_seconds)
        reading = check.read(Host(), self.settings, previous)
        findings = check.judge(reading, self.settings, previous)
        self.memory = json.loads(json.dumps(check.remember(reading, previous)))
        return {finding.check: finding for finding in findings}

    def queue(self, after_seconds: float = 30.0) -> Finding:
        return self.look(after_seconds)["n8n_queue"]

    def executions(self) -> Finding:
        return self.look()["n8n_executions"]


def create_table(postgres: PostgresServer, table: str = "execution_entity") -> None:
    postgres.psql(TABLE.format(table=table), "n8n")


def insert(
    postgres: PostgresServer, status: str, count: int, stopped: str = "null", table: str = "execution_entity"
) -> None:
    columns = '(finished, mode, status, "workflowId", "stoppedAt", "createdAt")'
    values = f"false, 'webhook', '{status}', 'x', {stopped}, now() - interval '90 seconds'"
    postgres.psql(f"insert into {table} {columns} select {values} from generate_series(1, {count})", "n8n")  # noqa: S608


def test_the_queue_is_what_waits_and_not_what_is_listed_twice(settings: Settings, redis: RedisServer) -> None:
    bull = Bull(redis)
    for _ in range(5):
        bull.add(age_seconds=120)
    bull.take()
    finding = Watch(settings).queue()
    assert (finding.status, finding.value) == ("ok", 4)
    assert finding.message.startswith("4 jobs wait, the oldest for 2 min")
    assert finding.message.endswith(", 1 running")


def test_a_long_queue_is_read_right_and_seen_to_drain(settings: Settings, redis: RedisServer) -> None:
    Bull(redis).add()
    redis.cli("LPUSH", "bull:jobs:wait", *range(2, 1257))
    watch = Watch(settings)
    finding = watch.queue()
    assert (finding.status, finding.value) == ("critical", 1256)
    redis.cli("LTRIM", "bull:jobs:wait", 0, 1155)
    assert "draining: empty in about 5 min 47 s" in watch.queue().message


def test_paused_and_delayed_jobs_count_and_completed_ones_do_not(settings: Settings, redis: RedisServer) -> None:
    Bull(redis).add()
    redis.cli("RENAME", "bull:jobs:wait", "bull:jobs:paused")
    redis.cli("ZADD", "bull:jobs:delayed", 1, "a", 2, "b")
    redis.cli("ZADD", "bull:jobs:completed", 1, "c")
    assert Watch(settings).queue().value == 3


def test_an_emptied_queue_is_empty_and_not_missing(settings: Settings, redis: RedisServer) -> None:
    redis.cli("SET", "bull:jobs:id", 1294)  # all that is left of it
    finding = Watch(settings).queue()
    assert (finding.status, finding.value, finding.message) == ("ok", 0, "no job waits, 0 running")


def test_a_dead_worker_is_critical_although_n8n_is_healthy(settings: Settings, redis: RedisServer) -> None:
    bull = Bull(redis)
    bull.add()
    watch = Watch(settings)
    assert watch.queue().status == "ok"
    bull.add()
    findings = watch.look(after_seconds=180)
    assert findings["n8n_queue"].status == "critical"
    assert "the worker is dead" in findings["n8n_queue"].message
    assert "n8n is healthy" in findings["n8n_executions"].message


def test_a_killed_worker_leaves_active_jobs_without_a_lock_and_is_dead_as_well(
    settings: Settings, redis: RedisServer
) -> None:
    bull = Bull(redis)
    for _ in range(3):
        bull.add()
    taken = bull.take()
    watch = Watch(settings)
    watch.queue()
    assert watch.queue(after_seconds=180).status == "ok"  # it works at a long one
    bull.lose_lock(taken)
    assert redis.cli("LLEN", "bull:jobs:active") == "1"
    assert watch.queue(after_seconds=30).status == "critical"


def test_a_worker_that_works_is_not_dead(settings: Settings, redis: RedisServer) -> None:
    bull = Bull(redis)
    watch = Watch(settings)
    for _ in range(4):
        bull.add()
        bull.add()
        bull.finish(bull.take())
        assert watch.queue(after_seconds=120).status == "ok"


def test_keys_of_another_type_give_one_clear_line(settings: Settings, redis: RedisServer) -> None:
    redis.cli("SET", "bull:jobs:id", 1)
    redis.cli("SET", "bull:jobs:wait", "text")
    finding = Watch(settings).queue()
    assert (finding.status, finding.value) == ("unknown", None)
    assert finding.reason == "the keys bull:jobs:… in Redis are not those of n8n: set N8N_QUEUE_PREFIX"


def test_a_job_without_its_hash_has_no_age(settings: Settings, redis: RedisServer) -> None:
    redis.cli("SET", "bull:jobs:id", 1)
    redis.cli("LPUSH", "bull:jobs:wait", "🙂\n", 'a"b')
    assert Watch(settings).queue().message == "2 jobs wait, 0 running"


def test_executions_are_counted_by_status_over_the_last_hour(settings: Settings, postgres: PostgresServer) -> None:
    create_table(postgres)
    now, old = "now()", "now() - interval '61 minutes'"
    for status, count, stopped in [
        *[("new", 2, "null"), ("running", 3, "null"), ("waiting", 4, old), ("success", 50, now), ("success", 9, old)],
        *[("error", 5, now), ("crashed", 1, now), ("error", 9, old), ("canceled", 7, now), ("unknown", 1, now)],
    ]:
        insert(postgres, status, count, stopped)
    postgres.psql(
        """insert into execution_entity (finished, mode, status, "workflowId", "stoppedAt", "deletedAt")
        values (true, 'webhook', 'success', 'x', now(), now())""",
        "n8n",
    )
    finding = Watch(settings).executions()
    assert (finding.status, finding.value) == ("ok", 56)
    text = "n8n is healthy; 5 active, 4 waiting; in the last hour 50 completed, 6 failed"
    assert finding.message == text


def test_in_regular_mode_the_queue_is_the_new_executions(settings: Settings, postgres: PostgresServer) -> None:
    create_table(postgres)
    insert(postgres, "new", 3)
    insert(postgres, "running", 2)
    finding = Watch(settings).queue()
    assert finding.value == 3
    assert finding.message.startswith("3 jobs wait, the oldest for 1 min 3")
    assert finding.message.endswith(", 2 running")


def test_a_database_without_n8n_is_not_applicable(settings: Settings) -> None:
    findings = Watch(settings).look()
    assert {finding.status for finding in findings.values()} == {"skipped"}
    assert "execution_entity" in (findings["n8n_executions"].reason or "")


def test_a_role_that_may_not_read_is_told_the_grant(settings: Settings, postgres: PostgresServer) -> None:
    create_table(postgres)
    postgres.psql("drop role if exists watcher")
    postgres.psql("create role watcher login password 'pw' in role pg_monitor")
    dsn = postgres.dsn("watcher", "pw", "n8n")
    finding = Watch(settings._replace(POSTGRES_DSN=dsn)).executions()
    assert finding.status == "unknown"
    assert (finding.reason or "").startswith('GRANT SELECT ON "public"."execution_entity"')


def test_an_n8n_that_is_down_is_unknown_and_the_queue_is_still_read(
    n8n: FakeN8n, settings: Settings, redis: RedisServer
) -> None:
    Bull(redis).add()
    n8n.stop()
    findings = Watch(settings).look()
    assert findings["n8n_queue"].value == 1
    assert findings["n8n_executions"].status == "unknown"
    assert "Connection refused" in (findings["n8n_executions"].reason or "")


def test_an_n8n_whose_database_is_down_is_a_warning(n8n: FakeN8n, settings: Settings) -> None:
    n8n.is_database_down = True
    finding = Watch(settings).executions()
    assert (finding.status, finding.message.split(";")[0]) == (
        "warning",
        "n8n runs but is not ready: its database does not answer",
    )


@pytest.mark.parametrize("answer", [web_page(), web_page(404), Answer(200, b'{"status":"o'), Answer(lost=True)])
def test_another_answer_than_that_of_n8n_is_unknown(n8n: FakeN8n, settings: Settings, answer: Answer) -> None:
    n8n.always = answer
    finding = Watch(settings).executions()
    assert finding.status == "unknown"
    assert finding.reason is not None


def test_everything_hung_at_once_costs_one_deadline(n8n: FakeN8n, settings: Settings) -> None:
    n8n.always = never()
    with silent_server() as port:
        hung = settings._replace(
            REDIS_URL=f"redis://127.0.0.1:{port}/0", POSTGRES_DSN=f"host=127.0.0.1 port={port} user=x dbname=x"
        )
        started = time.monotonic()
        findings = Watch(hung).look()
    assert time.monotonic() - started < LONGEST_SECONDS
    assert {finding.status for finding in findings.values()} == {"unknown"}


def test_an_answer_that_comes_byte_by_byte_does_not_hide_the_queue(
    n8n: FakeN8n, settings: Settings, redis: RedisServer
) -> None:
    Bull(redis).add()
    n8n.always = Answer(200, b'{"status":"ok"}', seconds_per_byte=1.0)
    started = time.monotonic()
    findings = Watch(settings).look()
    assert time.monotonic() - started < LONGEST_SECONDS
    assert findings["n8n_queue"].value == 1
    assert findings["n8n_executions"].status == "unknown"
    assert (findings["n8n_executions"].reason or "").endswith(": no answer in time")


def test_without_an_n8n_the_reason_says_how_to_name_one() -> None:
    with pytest.raises(NotApplicable, match="N8N_URL"):
        Watch(DEFAULTS).look()


def test_an_n8n_on_the_machine_itself_is_known_by_its_answer(
    n8n: FakeN8n, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vpsmon.stack.n8n.server, "LOOPBACK", Site((n8n.url,), "port 5678 of this machine"))
    monkeypatch.setattr(check, "LOOPBACK", vpsmon.stack.n8n.server.LOOPBACK)
    watch = Watch(settings._replace(N8N_URL=""))
    assert "n8n is healthy" in watch.executions().message
    n8n.stop()
    assert watch.executions().status == "unknown"


@contextmanager
def n8n_container(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, n8n: FakeN8n, **environment: str
) -> Iterator[Any]:
    """A container on the network of the machine whose N8N_PORT is that of the server of the test."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    variables = {"N8N_PORT": str(n8n.port), **environment}
    labels = {"com.docker.compose.service": "n8n"}
    command = ["sleep", "1000"]
    with run_container(
        engine, "crm-n8n-1", command, network_mode="host", environment=variables, labels=labels
    ) as container:
        yield container


def test_mode_prefix_and_database_come_from_the_container(
    engine: DockerEngine,
    monkeypatch: pytest.MonkeyPatch,
    n8n: FakeN8n,
    settings: Settings,
    redis: RedisServer,
    postgres: PostgresServer,
) -> None:
    bull = Bull(redis, "crm", database=3)
    Bull(redis, "mine", database=3).add()
    bull.add()
    bull.add()
    postgres.psql("create schema other", "n8n")
    create_table(postgres, 'other."we""ird_execution_entity"')
    insert(postgres, "success", 7, "now()", 'other."we""ird_execution_entity"')
    queue = {"EXECUTIONS_MODE": "queue", "QUEUE_BULL_PREFIX": "crm", "QUEUE_BULL_REDIS_DB": "3"}
    login = {"DB_TYPE": "postgresdb", "DB_POSTGRESDB_DATABASE": "n8n", "DB_POSTGRESDB_PASSWORD": "secret"}
    table = {"DB_POSTGRESDB_SCHEMA": "other", "DB_TABLE_PREFIX": 'we"ird_'}
    found = settings._replace(N8N_URL="", POSTGRES_DSN=postgres.dsn())
    with n8n_container(engine, monkeypatch, n8n, **queue, **login, **table):
        findings = Watch(found).look()
        explicit = Watch(found._replace(N8N_QUEUE_PREFIX="mine")).queue()
        text = describe_n8n(find_n8n(Host(), found))
    assert findings["n8n_queue"].value == 2
    assert explicit.value == 1
    assert findings["n8n_executions"].value == 7
    assert "queue mode, database postgresdb" in text
    assert "secret" not in text


def test_executions_in_sqlite_are_not_applicable(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, n8n: FakeN8n, settings: Settings
) -> None:
    with n8n_container(engine, monkeypatch, n8n):
        findings = Watch(settings._replace(N8N_URL="")).look()
    assert {finding.status for finding in findings.values()} == {"skipped"}
    assert all("SQLite" in (finding.reason or "") for finding in findings.values())


def test_an_n8n_whose_container_is_stopped_says_so_and_its_queue_is_still_read(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, n8n: FakeN8n, settings: Settings, redis: RedisServer
) -> None:
    Bull(redis).add()
    with n8n_container(engine, monkeypatch, n8n, EXECUTIONS_MODE="queue") as container:
        container.stop(timeout=0)
        findings = Watch(settings._replace(N8N_URL="")).look()
    assert findings["n8n_queue"].value == 1
    assert findings["n8n_executions"].status == "unknown"
    assert "its container crm-n8n-1 is exited" in (findings["n8n_executions"].reason or "")


def test_a_redis_that_no_network_leads_to_is_not_read(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, n8n: FakeN8n, settings: Settings
) -> None:
    with (
        run_container(engine, "queue-redis", ["sleep", "1000"]),
        n8n_container(engine, monkeypatch, n8n, EXECUTIONS_MODE="queue", QUEUE_BULL_REDIS_HOST="queue-redis"),
    ):
        finding = Watch(settings._replace(N8N_URL="", REDIS_URL="")).queue()
    # On Docker's default network no name of a container is resolved.
    assert finding.reason == "n8n's Redis is at queue-redis, not on this machine: set REDIS_URL"


def test_the_public_api_of_the_kit_answers_as_the_samples_do(n8n: FakeN8n) -> None:

    def call(verb: str, path: str, key: str = KEY) -> tuple[int, Any]:
        headers = {"X-N8N-API-KEY": key} if key else {}
        answer = request(verb, f"{n8n.url}/api/v1{path}", b"" if verb == "POST" else None, headers, 5)
        return answer.status, json.loads(answer.body)

    refused = "unauthorized" if n8n.major == 1 else "Unauthorized"
    assert call("GET", "/workflows", key="wrong") == (401, {"message": refused})
    low = call("GET", "/workflows?active=true&tags=low-priority&limit=1")[1]
    assert low["nextCursor"] == "eyJsaW1pdCI6MSwib2Zmc2V0IjoxfQ=="
    assert call("GET", f"/workflows?tags=low-priority&cursor={low['nextCursor']}")[1]["nextCursor"] is None
    workflow = low["data"][0]
    webhook = f"{n8n.url}/webhook/lp"
    assert request("POST", webhook, b"", {}, 5).status == 200
    assert call("POST", f"/workflows/{workflow['id']}/deactivate")[1]["activeVersionId"] is None
    assert request("POST", webhook, b"", {}, 5).status == 404
    assert call("POST", f"/workflows/{workflow['id']}/publish")[0] == (404 if n8n.major == 1 else 200)
    assert call("GET", "/executions?status=new")[0] == (400 if n8n.major == 1 else 200)
    n8n.scopes = frozenset()
    assert call("GET", "/workflows") == (403, {"message": "Forbidden"})
