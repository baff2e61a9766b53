"""n8n's queue and executions: how they are judged from pass to pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.n8n import FakeN8n
from vpsmon.checks.stack import n8n as check
from vpsmon.checks.stack.n8n import Missing, Reading
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Finding, Previous, ReadError
from vpsmon.stack.docker.containers import Container, parse_container
from vpsmon.stack.n8n.health import is_ready
from vpsmon.stack.n8n.server import N8n, Queue, describe_n8n, find_scheme, is_queue_mode
from vpsmon.stack.web import Site
from vpsmon.system.host import Host

EXECUTIONS = {"active": 3, "waiting": 2, "completed": 40, "failed": 5}
SITE = Site(("http://10.0.0.3:5678",), "address of container n8n")


class Story:
    """A series of passes over one queue."""

    def __init__(self, is_redis: bool = True) -> None:
        self.is_redis = is_redis
        self.memory: dict[str, Any] | None = None

    def pass_with(self, after_seconds: float, waiting: int, running: int, oldest: str = "") -> Finding:
        queue = Queue(self.is_redis, waiting, running, oldest or ("1" if waiting else ""), 90.0 if waiting else None)
        reading = Reading(queue, EXECUTIONS, True, False)
        previous = None if self.memory is None else Previous(self.memory, after_seconds)
        finding = check.judge(reading, DEFAULTS, previous)[0]
        self.memory = json.loads(json.dumps(check.remember(reading, previous)))
        return finding


@pytest.mark.parametrize(
    ("waiting", "status", "is_clear"),
    [
        *[(0, "ok", True), (1, "ok", True), (450, "ok", True), (451, "ok", False), (500, "ok", False)],
        *[(501, "warning", False), (1000, "warning", False), (1001, "critical", False), (10**9, "critical", False)],
    ],
)
def test_the_queue_is_judged_by_its_length(waiting: int, status: str, is_clear: bool) -> None:
    finding = Story().pass_with(0, waiting, 5)
    assert (finding.status, finding.value, finding.is_clear) == (status, waiting, is_clear)


def test_an_empty_queue_says_that_nothing_waits() -> None:
    assert Story().pass_with(0, 0, 2).message == "no job waits, 2 running"


def test_the_message_names_length_age_and_limit() -> None:
    message = Story().pass_with(0, 1257, 5).message
    assert message == "1257 jobs wait, the oldest for 1 min 30 s, 5 running, critical above 1000"


def test_a_queue_that_drains_is_said_to() -> None:
    story = Story()
    story.pass_with(0, 1257, 5, oldest="10")
    finding = story.pass_with(30, 1200, 5, oldest="67")
    assert finding.status == "critical"
    assert "draining: empty in about 10 min" in finding.message
    assert "draining" not in story.pass_with(30, 1300, 5, oldest="80").message


def test_a_job_that_stays_next_while_nothing_runs_means_a_dead_worker() -> None:
    story = Story()
    assert story.pass_with(0, 3, 0).status == "ok"
    assert story.pass_with(179, 4, 0).status == "ok"
    finding = story.pass_with(1, 5, 0)
    assert finding.status == "critical"
    assert "no progress for 3 min and nothing running: the worker is dead" in finding.message
    assert "restart n8n's worker" in (finding.advice or "")


def test_a_queue_that_moves_is_no_dead_worker() -> None:
    story = Story()
    for position in range(20):
        assert story.pass_with(60, 3, 0, oldest=str(position + 1)).status == "ok"


def test_all_slots_taken_by_long_executions_is_a_warning_after_ten_minutes() -> None:
    story = Story()
    story.pass_with(0, 3, 10)
    assert story.pass_with(599, 3, 10).status == "ok"
    finding = story.pass_with(1, 3, 10)
    assert finding.status == "warning"
    assert "the running jobs take long" in finding.message


def test_a_long_queue_that_does_not_move_stays_critical() -> None:
    story = Story()
    story.pass_with(0, 1500, 10)
    assert story.pass_with(700, 1500, 10).status == "critical"


def test_regular_mode_has_no_worker_that_could_be_dead() -> None:
    story = Story(is_redis=False)
    story.pass_with(0, 3, 0)
    assert story.pass_with(599, 3, 0).status == "ok"
    assert story.pass_with(1, 3, 0).status == "warning"


def test_a_pass_in_which_redis_does_not_answer_keeps_what_was_known() -> None:
    story = Story()
    story.pass_with(0, 3, 0)
    story.pass_with(150, 3, 0)
    missing = Reading(Missing("unknown", "Redis does not answer"), EXECUTIONS, True, False)
    finding = check.judge(missing, DEFAULTS, Previous(story.memory or {}, 30))[0]
    assert (finding.status, finding.value, finding.reason) == ("unknown", None, "Redis does not answer")
    story.memory = check.remember(missing, Previous(story.memory or {}, 30))
    assert story.pass_with(30, 3, 0).status == "critical"


def judge_executions(executions: Any, is_ready: Any) -> Finding:
    return check.judge(Reading(Missing("skipped", "x"), executions, is_ready, False), DEFAULTS, None)[1]


def test_executions_are_counted_by_status_and_never_judged() -> None:
    finding = judge_executions(EXECUTIONS | {"failed": 10_000}, True)
    assert (finding.status, finding.value) == ("ok", 10_040)
    text = "n8n is healthy; 3 active, 2 waiting; in the last hour 40 completed, 10000 failed"
    assert finding.message == text


def test_an_n8n_that_does_not_answer_is_unknown_with_the_reason_and_the_counts() -> None:
    finding = judge_executions(EXECUTIONS, Missing("unknown", "http://10.0.0.3:5678: Connection refused"))
    assert (finding.status, finding.reason) == ("unknown", "n8n: http://10.0.0.3:5678: Connection refused")
    assert finding.value == 45


def test_an_n8n_without_its_database_is_a_warning() -> None:
    finding = judge_executions(Missing("unknown", "PostgreSQL is down"), False)
    assert finding.status == "warning"
    assert "its database does not answer" in finding.message


def test_executions_that_cannot_be_counted_say_why() -> None:
    finding = judge_executions(Missing("skipped", "in SQLite"), True)
    assert (finding.status, finding.value, finding.reason) == ("skipped", None, "in SQLite")


def test_what_was_found_is_said_without_a_secret() -> None:
    environment = ["EXECUTIONS_MODE=queue", "DB_TYPE=postgresdb", "DB_POSTGRESDB_PASSWORD=secret", "N8N_PORT="]
    container = parse_container({"Id": "b" * 64, "Name": "/n8n", "Config": {"Env": environment}})
    n8n = N8n(SITE, "", container)
    text = "http://10.0.0.3:5678 (address of container n8n), queue mode, database postgresdb"
    assert describe_n8n(n8n) == text
    assert "secret" not in repr(n8n)
    assert is_queue_mode(n8n)
    assert describe_n8n(N8n(SITE, "", None)).endswith("mode not known")


def make_container(environment: dict[str, str]) -> Container:
    words = [f"{name}={value}" for name, value in environment.items()]
    return parse_container({"Id": "1" * 64, "Name": "/n8n", "Config": {"Env": words}})


@pytest.mark.parametrize(
    ("environment", "health_path"),
    [
        ({}, ["healthz"]),
        ({"N8N_ENDPOINT_HEALTH": "health"}, ["health"]),
        ({"N8N_PATH": "/n8n/"}, ["healthz"]),
        ({"N8N_PATH": "/n8n/"}, ["n8n", "healthz"]),
        ({"N8N_PATH": "/n8n/", "N8N_ENDPOINT_HEALTH": "/up"}, ["n8n", "up"]),
    ],
)
def test_health_is_asked_for_where_the_environment_has_put_it(
    environment: dict[str, str], health_path: list[str]
) -> None:
    with FakeN8n() as n8n:
        n8n.health_path = health_path
        found = N8n(Site((n8n.url,), "a test"), "", make_container(environment))
        assert is_ready(Host(), found)
        n8n.is_database_down = True
        assert not is_ready(Host(), found)
        n8n.health_path = ["elsewhere"]
        with pytest.raises(ReadError, match=r"answers with HTTP 404.* and not as n8n does: is N8N_URL right\?"):
            is_ready(Host(), found)


def test_tls_is_spoken_to_where_n8n_has_a_certificate_itself() -> None:
    certificate = {"N8N_SSL_KEY": "/key.pem", "N8N_SSL_CERT": "/cert.pem"}
    assert find_scheme(make_container({"N8N_PROTOCOL": "https"})) == "http"
    assert find_scheme(make_container({"N8N_PROTOCOL": "https", **certificate})) == "https"
