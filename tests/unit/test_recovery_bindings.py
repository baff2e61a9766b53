"""Rules go by what depends on what: the workers of one queue, and what a container really needs."""

from __future__ import annotations

from typing import Any

from tests.kit.written_stacks import compose, to_containers
from vpsmon.checks.stack import n8n, waha
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Finding
from vpsmon.recovery.model import Dependency, Snapshot
from vpsmon.recovery.rules import container_unhealthy, n8n_queue_overflow, waha_stuck
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.n8n.server import Queue

NOW = 1_800_000_000.0
_QUEUE = {"EXECUTIONS_MODE": "queue", "QUEUE_BULL_REDIS_HOST": "redis"}


def look(containers: list[Container], findings: tuple[Finding, ...] = (), **more: Any) -> Snapshot:
    by_row: dict[str, list[Finding]] = {}
    for each in findings:
        by_row.setdefault(each.check, []).append(each)
    return Snapshot(5000.0, NOW, by_row, more.get("readings", {}), more.get("memories", {}), containers)


def two_projects() -> list[Container]:
    services = []
    for project in ("crm", "shop"):
        services += [
            compose(project, "redis", "redis:7"),
            compose(project, "n8n", "n8nio/n8n", environment=_QUEUE),
            compose(project, "worker", "n8nio/n8n", "worker", environment=_QUEUE),
        ]
    return to_containers(*services)


def read_queues(containers: list[Container], **stuck_seconds: float) -> Snapshot:
    """Both queues hold three jobs that nobody takes, for so many seconds."""
    missing = n8n.Missing("skipped", "")
    readings = [
        n8n.Reading(Queue(True, 3, 0, "7", None), missing, True, False, each.name, each.id)
        for each in containers
        if each.service == "n8n"
    ]
    by_name = {each.name: {"stuck_seconds": stuck_seconds[each.name.split("-")[0]]} for each in readings}
    reading = readings[0]._replace(others=tuple(readings[1:]))
    return look(containers, readings={"n8n": reading}, memories={"n8n": {"by_name": by_name}})


def test_only_the_workers_of_the_queue_that_is_stuck_are_restarted() -> None:
    containers = two_projects()
    found = n8n_queue_overflow.detect(read_queues(containers, crm=0, shop=400), DEFAULTS, {})
    assert [each.name for each in found] == ["shop-worker-1"]
    target = found[0].target
    assert n8n_queue_overflow.verify(read_queues(containers, crm=400, shop=0), target, DEFAULTS) == "repaired"
    assert n8n_queue_overflow.verify(read_queues(containers, crm=0, shop=400), target, DEFAULTS) == "failing"
    both = n8n_queue_overflow.detect(read_queues(containers, crm=400, shop=400), DEFAULTS, {})
    assert [each.name for each in both] == ["crm-worker-1", "shop-worker-1"]


def test_a_queue_that_both_share_is_that_of_both_workers() -> None:
    environment = {"EXECUTIONS_MODE": "queue", "QUEUE_BULL_REDIS_HOST": "redis.example.net"}
    services = [
        compose("crm", "n8n", "n8nio/n8n", environment=environment),
        compose("far", "worker", "n8nio/n8n", "worker", environment=environment),
        compose("far", "other", "n8nio/n8n", "worker", environment={**environment, "QUEUE_BULL_PREFIX": "other"}),
    ]
    containers = to_containers(*services)
    missing = n8n.Missing("skipped", "")
    reading = n8n.Reading(Queue(True, 3, 0, "7", None), missing, True, False, "", containers[0].id)
    snapshot = look(containers, readings={"n8n": reading}, memories={"n8n": {"stuck_seconds": 400}})
    assert [each.name for each in n8n_queue_overflow.detect(snapshot, DEFAULTS, {})] == ["far-worker-1"]


def sick(containers: list[Container], name: str) -> Dependency | None:
    memory = {each.id: [0, each.started_wall_seconds] for each in containers if each.health == "unhealthy"}
    incidents = container_unhealthy.detect(look(containers), DEFAULTS, memory)
    return next(each.waits_for for each in incidents if each.name == name)


def test_only_what_a_container_really_needs_holds_its_repair_back() -> None:
    stranger, database, main = to_containers(
        compose("other", "postgres", "postgres:16"),
        compose("crm", "db", "postgres:16"),
        compose("crm", "n8n", "n8nio/n8n", environment={"DB_POSTGRESDB_HOST": "db"}),
    )
    ill = main._replace(health="unhealthy")
    assert sick([stranger._replace(health="unhealthy"), database, ill], "crm-n8n-1") is None
    assert sick([stranger, database._replace(status="exited"), ill], "crm-n8n-1") == Dependency("crm-db-1", "exited")


def test_two_that_need_each_other_do_not_wait_for_ever() -> None:
    labels = {"com.docker.compose.depends_on": "b:service_started:false"}
    back = {"com.docker.compose.depends_on": "a:service_started:false"}
    containers = to_containers(compose("x", "a", "own", labels=labels), compose("x", "b", "own", labels=back))
    ill = [each._replace(health="unhealthy") for each in containers]
    assert (sick(ill, "x-a-1"), sick(ill, "x-b-1")) == (None, None)


def test_the_container_of_waha_is_the_one_that_was_read() -> None:
    containers = to_containers(compose("aaa", "waha", "somebody/waha"), compose("crm", "waha", "devlikeapro/waha"))
    silent = Finding(check="waha_session", status="critical", message="silent")
    own = waha.Reading(NOW, None, waha.Trouble("silent", ""), None, False, containers[1].id)
    (incident,) = waha_stuck.detect(look(containers, (silent,), readings={"waha": own}), DEFAULTS, {})
    assert incident.touches == containers[1].id
    # Nobody knows which it is: nothing is restarted.
    (incident,) = waha_stuck.detect(look(containers, (silent,), readings={}), DEFAULTS, {})
    assert (incident.touches, incident.steps) == ("", ())
