"""Who is who on a real engine: stacks as people write them, neighbours that look alike, names on networks, keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.kit.command import QUIET_LIMITS, Workdir
from tests.kit.container_exec import run_in
from tests.kit.docker import DockerEngine, docker_engine
from tests.kit.kernel import wait_until
from tests.kit.stack import import_stack_image
from tests.kit.written_stacks import BLOG, COMPOSE, COOLIFY, SWARM, Service, compose, running, tag_images
from vpsmon.config.settings import DEFAULTS, Settings
from vpsmon.core.findings import ReadError
from vpsmon.recovery.rules.swap_thrashing import list_spare
from vpsmon.stack.docker.containers import find_container, read_containers
from vpsmon.stack.identity.essential import list_essential
from vpsmon.stack.n8n.server import find_n8n, list_n8n, read_queue
from vpsmon.stack.waha import find_waha
from vpsmon.system.host import Host

pytestmark = pytest.mark.usefixtures("docker_host")

REDIS_IMAGE = "redis:7.0"
_QUEUE = {"EXECUTIONS_MODE": "queue", "DB_TYPE": "postgresdb"}
# Notes whatever comes to WAHA's port, and never answers.
LISTEN = ("sh", "-c", "while :; do nc -l -p 3000 >> /tmp/heard; done")


@pytest.mark.parametrize("services", [COMPOSE, COOLIFY, SWARM])
def test_nothing_essential_may_be_stopped_in_stacks_as_people_write_them(
    engine: DockerEngine, services: tuple[Service, ...]
) -> None:
    with running(engine, *services, BLOG):
        containers = read_containers(Host(), DEFAULTS)
        assert [each.name for each in list_spare(containers, DEFAULTS)] == [BLOG.name]
        reasons = dict(list_essential(containers, DEFAULTS))
    databases = {name: reason for name, reason in reasons.items() if reason.startswith(("database", "cache"))}
    main = next(each.name for each in services if "n8n" in each.image and not each.command)
    assert databases
    assert all(reason in (f"database of {main}", f"cache of {main}") for reason in databases.values()), reasons


@contextmanager
def redis_of(engine: DockerEngine, *services: Service) -> Iterator[dict[str, Any]]:
    """Real Redis servers in the containers whose image is called so."""
    import_stack_image(engine)
    engine.client.images.get("vpsmon-test/stack:latest").tag(*REDIS_IMAGE.split(":"))
    with running(engine, *services) as containers:
        servers = [containers[each.name] for each in services if each.image == REDIS_IMAGE]
        wait_until(lambda: all(map(answers, servers)), 20, "Redis answers")
        yield containers


def answers(server: Any) -> bool:
    return run_in(server, ["redis-cli", "PING"]).status == 0


def redis(project: str, service: str = "redis") -> Service:
    command = ("redis-server", "--save", "", "--protected-mode", "no")
    return compose(project, service, REDIS_IMAGE, *command, is_real=True)


def queue_of(host: Host, settings: Settings = DEFAULTS, number: int = 0) -> Any:
    return read_queue(host, settings, list_n8n(host, settings)[number])


def test_the_queue_is_read_where_n8n_has_it_and_not_where_a_neighbour_has_one(engine: DockerEngine) -> None:
    n8n = compose("zflow", "n8n", "n8nio/n8n:1", environment={**_QUEUE, "QUEUE_BULL_REDIS_HOST": "redis"})
    with redis_of(engine, redis("chatwoot"), redis("zflow"), n8n) as containers:
        for number in range(7):
            run_in(containers["zflow-redis-1"], ["redis-cli", "LPUSH", "bull:jobs:wait", str(number)])
        assert queue_of(Host()).waiting == 7


def test_a_redis_that_is_not_here_is_said_and_a_neighbours_is_not_read(engine: DockerEngine) -> None:
    n8n = compose("zflow", "n8n", "n8nio/n8n:1", environment={**_QUEUE, "QUEUE_BULL_REDIS_HOST": "redis.example.net"})
    with redis_of(engine, redis("chatwoot"), n8n):
        with pytest.raises(ReadError) as error:
            queue_of(Host())
        assert str(error.value) == "n8n's Redis is at redis.example.net, not on this machine: set REDIS_URL"


def test_two_n8n_have_a_row_each_with_their_own_queue(engine: DockerEngine, workdir: Workdir) -> None:
    services = []
    for project in ("crm", "shop"):
        environment = {**_QUEUE, "QUEUE_BULL_REDIS_HOST": "redis", "DB_POSTGRESDB_HOST": "db.example.net"}
        services += [redis(project), compose(project, "n8n", "n8nio/n8n:1", environment=environment)]
    with redis_of(engine, *services) as containers:
        run_in(containers["shop-redis-1"], ["redis-cli", "LPUSH", "bull:jobs:wait", "1", "2", "3"])
        rows = look(workdir, engine)
    waiting = {row["object"]: row["value"] for row in rows if row["check"] == "n8n_queue"}
    assert waiting == {"crm-n8n-1": 0, "shop-n8n-1": 3}


def look(workdir: Workdir, engine: DockerEngine, **keys: Any) -> list[dict[str, Any]]:
    workdir.write_config(**QUIET_LIMITS, **keys)
    done = workdir.run("monitor", "--once", "--json", env={"DOCKER_HOST": engine.url})
    rows: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return rows


def test_no_key_leaves_while_two_containers_could_be_waha(engine: DockerEngine, workdir: Workdir) -> None:
    stranger = compose("aaa", "waha", "waha", *LISTEN, is_real=True)
    own = compose("crm", "waha", "devlikeapro/waha:latest", *LISTEN, is_real=True)
    with running(engine, stranger, own) as containers:
        rows = look(workdir, engine, WAHA_API_KEY="key-of-the-owner")
        (row,) = [each for each in rows if each["check"] == "waha_session"]
        assert row["status"] == "unknown"
        assert "aaa-waha-1 or crm-waha-1: set WAHA_CONTAINER" in row["reason"]
        look(workdir, engine, WAHA_API_KEY="key-of-the-owner", WAHA_CONTAINER="crm-waha-1")
        assert "key-of-the-owner" not in run_in(containers["aaa-waha-1"], ["cat", "/tmp/heard"]).output
        assert "key-of-the-owner" in run_in(containers["crm-waha-1"], ["cat", "/tmp/heard"]).output


def test_another_container_behind_the_same_name_is_reported_before_it_gets_the_key(
    engine: DockerEngine, workdir: Workdir
) -> None:
    keys = {"WAHA_API_KEY": "key-of-the-owner"}
    with running(engine, compose("crm", "waha", "devlikeapro/waha:latest", *LISTEN, is_real=True)) as containers:
        look(workdir, engine, **keys)
        assert "key-of-the-owner" in run_in(containers["crm-waha-1"], ["cat", "/tmp/heard"]).output
    with running(engine, compose("zoo", "waha", "somebody/waha:latest", *LISTEN, is_real=True)) as containers:
        (row,) = [each for each in look(workdir, engine, **keys) if each["check"] == "waha_session"]
        assert (row["status"], run_in(containers["zoo-waha-1"], ["cat", "/tmp/heard"]).output) == ("warning", "")
        assert "it is now zoo/waha (somebody/waha), and was crm/waha (devlikeapro/waha) before" in row["message"]


def test_labels_that_the_image_has_prove_nothing(engine: DockerEngine) -> None:
    client = engine.client
    labels = ["LABEL com.docker.compose.service=n8n", "LABEL vpsmon.essential=true", "LABEL vpsmon.recover=false"]
    with running(engine, BLOG):
        data = client.images.get("wordpress:6").save(named=True)
        assert data
        base = client.containers.create("wordpress:6", "true")
        client.api.commit(str(base.id), "stranger", "latest", changes="\n".join(labels))
        base.remove()
        with running_stranger(engine):
            host = Host()
            containers = read_containers(host, DEFAULTS)
            stranger = find_container(containers, "stranger")
            assert stranger is not None
            assert (stranger.service, stranger.labels) == (None, {})
            assert stranger in list_spare(containers, DEFAULTS)
            with pytest.raises(Exception, match="no container or compose service"):
                find_n8n(host, DEFAULTS)
            with pytest.raises(Exception, match="no container or compose service"):
                find_waha(host, DEFAULTS)


@contextmanager
def running_stranger(engine: DockerEngine) -> Iterator[None]:
    container = engine.client.containers.run("stranger", ["sleep", "600"], name="stranger", detach=True)
    try:
        yield
    finally:
        container.remove(force=True)


def list_statuses() -> list[str]:
    return sorted(each.status for each in read_containers(Host(), DEFAULTS))


def test_in_a_real_swarm_services_are_found_by_their_names_and_a_replaced_task_is_no_news(
    monkeypatch: pytest.MonkeyPatch, workdir: Workdir
) -> None:
    with docker_engine() as own:
        monkeypatch.setenv("DOCKER_HOST", own.url)
        tag_images(own, ["n8nio/n8n:1", "postgres:16"])
        own.client.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:0")
        stack = {"com.docker.stack.namespace": "n8n"}
        for name, image in (("n8n_n8n", "n8nio/n8n:1"), ("n8n_db", "postgres:16")):
            own.client.services.create(  # type: ignore[no-untyped-call]
                image, command=["sleep", "600"], name=name, labels=stack, container_labels=stack,
                endpoint_spec={"Mode": "dnsrr"}, stop_grace_period=1_000_000_000,
            )  # fmt: skip
        wait_until(lambda: list_statuses() == ["running"] * 2, 60, "both tasks run")
        look(workdir, own)
        service = own.client.services.list(filters={"name": "n8n_n8n"})[0]
        service.force_update()  # type: ignore[no-untyped-call]
        wait_until(lambda: list_statuses() == ["exited", "running", "running"], 60, "the task is replaced")
        rows = look(workdir, own)
        containers = read_containers(Host(), DEFAULTS)
        settings = DEFAULTS._replace(N8N_CONTAINER="n8n_n8n")
        found = find_n8n(Host(), settings).container
    states = [(row["status"], row["message"]) for row in rows if row["check"] == "container_state"]
    assert sorted(states) == [
        ("ok", "exited: its service has another task in its place"),
        ("ok", "running"),
        ("ok", "running"),
    ]
    assert found is not None
    assert (found.status, found.project, found.service) == ("running", "n8n", "n8n")
    assert list_spare(containers, DEFAULTS) == []


def test_status_and_selftest_say_who_uses_what_and_who_is_essential_and_why(
    engine: DockerEngine, workdir: Workdir
) -> None:
    workdir.write_config(**QUIET_LIMITS)
    with running(engine, *COMPOSE, BLOG):
        done = workdir.run("selftest", env={"DOCKER_HOST": engine.url})
        shown = workdir.run("status", env={"DOCKER_HOST": engine.url})
    for text in (done.stdout, shown.stdout):
        flat = " ".join(text.split())
        assert "crm-db-1: database of crm-n8n-1" in flat
        assert "crm-cache-1: cache of crm-n8n-1" in flat
        assert f"{BLOG.name}:" not in flat
