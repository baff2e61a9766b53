"""Who is who: images, parts, names on networks, what is bound to what, and what is essential because of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.kit.written_stacks import BLOG, COMPOSE, COOLIFY, SWARM, Service, compose, to_container, to_containers
from vpsmon.config.load import ConfigError, load_config
from vpsmon.config.settings import DEFAULTS
from vpsmon.recovery.rules.swap_thrashing import list_spare
from vpsmon.stack.docker.containers import Container, parse_container, parse_list_entry
from vpsmon.stack.docker.images import Image
from vpsmon.stack.docker.remembered import from_memory, to_memory
from vpsmon.stack.identity.bindings import find_hosts, note_parts
from vpsmon.stack.identity.choice import choose
from vpsmon.stack.identity.essential import Essentials, list_essential
from vpsmon.stack.identity.images import find_program, parse_repository
from vpsmon.stack.identity.known import recall_known
from vpsmon.stack.identity.names import Neighbours
from vpsmon.stack.identity.roles import find_part
from vpsmon.system.host import Host


@pytest.mark.parametrize(
    ("image", "repository", "program"),
    [
        ("postgres", "postgres", "postgres"),
        ("docker.io/library/postgres:16-alpine@sha256:" + "a" * 64, "postgres", "postgres"),
        ("localhost:5000/n8n:1", "n8n", "n8n"),
        ("docker.n8n.io/n8nio/n8n", "n8nio/n8n", "n8n"),
        ("n8nio/runners:2", "n8nio/runners", "helper"),
        ("bitnamilegacy/postgresql:17", "bitnamilegacy/postgresql", "postgres"),
        ("supabase/postgres:15.8", "supabase/postgres", "postgres"),
        ("prometheuscommunity/postgres-exporter", "prometheuscommunity/postgres-exporter", "helper"),
        ("edoburu/pgbouncer", "edoburu/pgbouncer", "helper"),
        ("devlikeapro/waha-plus:gows", "devlikeapro/waha-plus", "waha"),
        ("valkey/valkey:8", "valkey/valkey", "redis"),
        ("ghcr.io/me/server:1", "me/server", ""),
        ("mcr.microsoft.com/mssql/server:2022", "mssql/server", "mssql"),
        ("sha256:" + "b" * 64, "", ""),
        ("", "", ""),
        (":", "", ""),
    ],
)
def test_an_image_tells_its_program_whatever_registry_and_tag_it_has(image: str, repository: str, program: str) -> None:
    assert parse_repository(image) == repository
    assert find_program(image) == program


def part(image: str = "busybox", name: str = "x", **more: Any) -> tuple[str, ...]:
    service = Service(name, "", image, tuple(more.pop("command", ())), labels=more.pop("labels", {}))
    settings = DEFAULTS._replace(**more.pop("keys", {}))
    return tuple(find_part(to_container(service, **more), settings))


def test_the_sign_that_says_most_decides_on_the_part() -> None:
    assert part("redis:7", "postgres") == ("cache", "redis", "image")
    assert part("busybox", "postgres") == ("database", "postgres", "name")
    assert part("busybox", "db", exposed_ports=(5432,)) == ("database", "postgres", "what its image declares")
    assert part("redis:7", "x", keys={"POSTGRES_CONTAINER": "x"}) == ("database", "postgres", "key")
    # A default is no word of the owner.
    assert part("redis:7", "postgres", keys={}) == ("cache", "redis", "image")
    assert part("redis:7", "x", labels={"vpsmon.role": "Proxy"}) == ("proxy", "redis", "label")
    assert part("busybox", "x", labels={"vpsmon.role": "postgres"}) == ("database", "postgres", "label")
    assert part("busybox", "x", labels={"vpsmon.role": "?" * 65536}) == ("application", "", "")
    assert part("edoburu/pgbouncer", "x", exposed_ports=(5432,))[0] == "helper"


def test_main_worker_and_webhook_processor_are_told_apart_by_their_command() -> None:
    assert part("n8nio/n8n")[0] == "n8n_main"
    assert part("n8nio/n8n", command=["worker", "--concurrency=5"])[0] == "n8n_worker"
    assert part("n8nio/n8n", command=["n8n", "webhook"])[0] == "n8n_webhook"
    assert part("n8nio/n8n", command=["export:workflow", "--all"])[0] == "helper"


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("db", ["db"]),
        ("db:5432", ["db"]),
        ("postgresql://u:p%40ss@db:5432/n8n?sslmode=off", ["db"]),
        ("postgresql://u:p@ss@db/n8n", ["db"]),
        ("mongodb://u:p@a:1,b:2/x", ["a", "b"]),
        ("http://[fd00::1]:80/x", ["fd00::1"]),
        ("", []),
        ("://", []),
        ("/run/secrets/x", []),
    ],
)
def test_only_host_names_are_taken_out_of_a_value(value: str, hosts: list[str]) -> None:
    assert find_hosts(value) == hosts


@pytest.mark.parametrize("services", [COMPOSE, COOLIFY, SWARM])
@pytest.mark.parametrize("is_remembered", [False, True])
def test_in_stacks_as_people_write_them_nothing_essential_is_a_candidate_for_stopping(
    services: tuple[Service, ...], is_remembered: bool
) -> None:
    containers = to_containers(*services, BLOG)
    if is_remembered:
        containers = from_memory(to_memory(note_parts(containers, DEFAULTS)))
    assert [each.name for each in list_spare(containers, DEFAULTS)] == [BLOG.name]


@pytest.mark.parametrize("is_remembered", [False, True])
def test_where_an_essential_one_was_not_inspected_nobody_is_a_candidate_for_stopping(is_remembered: bool) -> None:
    """Its environment is not known then, and with it neither is what it needs."""
    containers = to_containers(*COMPOSE, BLOG)
    blind = [
        each._replace(environment={}, inspect_error="there was no time left") if each.name == "crm-n8n-1" else each
        for each in containers
    ]
    if is_remembered:
        blind = from_memory(to_memory(note_parts(blind, DEFAULTS)))
        assert len(blind) == len(containers)
    assert list_spare(blind, DEFAULTS) == []


def test_nothing_is_sent_to_or_remembered_of_a_container_that_was_not_inspected() -> None:
    """Its labels may be those of its image."""
    labels = {"vpsmon.role": "waha"}
    entry = {"Id": "f" * 64, "Names": ["/stranger"], "Image": "evil", "Labels": labels, "State": "running"}
    host, stranger = Host(), parse_list_entry(entry)._replace(inspect_error="HTTP 500")
    choice = choose(host, [stranger], DEFAULTS, "waha")
    assert choice.doubt
    assert recall_known(host, "chosen") == {}


def test_of_remembered_containers_all_or_none_are_known() -> None:
    records = to_memory(note_parts(to_containers(*COMPOSE), DEFAULTS))
    del records[0]["known_needs"]
    assert from_memory(records) == []


def test_why_each_is_essential_is_said() -> None:
    assert dict(list_essential(to_containers(*COMPOSE, BLOG), DEFAULTS)) == {
        "crm-cache-1": "cache of crm-n8n-1",
        "crm-db-1": "database of crm-n8n-1",
        "crm-gateway-1": "proxy (traefik), which is in ESSENTIAL_CONTAINERS",
        "crm-n8n-1": "n8n is in ESSENTIAL_CONTAINERS",
        "crm-n8n-worker-1": "n8n worker, which is in ESSENTIAL_CONTAINERS",
        "crm-whatsapp-1": "waha, which is in ESSENTIAL_CONTAINERS",
    }


def essential_names(*containers: Container, **keys: Any) -> set[str]:
    settings = DEFAULTS._replace(**{"ESSENTIAL_CONTAINERS": ("app",), **keys})
    essentials = Essentials(containers, settings)
    return {each.name for each in containers if essentials.is_essential(each)}


def test_what_an_essential_container_needs_is_essential_however_many_steps_away() -> None:
    depends = {"com.docker.compose.depends_on": "engine:service_started:false,gone:service_healthy:true"}
    services = [
        compose("crm", "app", "app", labels=depends),
        compose("crm", "engine", "own", environment={"STORE_URL": "http://files:9000"}),
        # A circle.
        compose("crm", "files", "own", environment={"APP_HOST": "app", "NOWHERE_HOST": "nobody"}),
        compose("crm", "spare", "own", environment={"APP_HOST": "app"}),
        compose("other", "files", "own"),
    ]
    assert essential_names(*to_containers(*services)) == {"crm-app-1", "crm-engine-1", "crm-files-1"}


def test_the_owner_of_a_network_is_needed_also_where_only_the_list_tells_of_it() -> None:
    vpn = to_container(Service("vpn", "", "gluetun"), 1)
    entry = {
        "Id": "2" * 64,
        "Names": ["/app"],
        "State": "running",
        "HostConfig": {"NetworkMode": f"container:{vpn.id}"},
    }
    app = parse_list_entry(entry)._replace(inspect_error="damaged")
    assert essential_names(vpn, app) == {"vpn", "app"}
    database = parse_list_entry({"Id": "3" * 64, "Names": ["/d"], "Image": "postgres:16"})
    assert essential_names(database._replace(inspect_error="damaged")) == {"d"}


def test_the_label_has_the_last_word_where_the_container_has_it_and_none_where_its_image_has_it() -> None:
    inspected = {"Id": "1", "Name": "/d", "Config": {"Image": "redis", "Labels": {"vpsmon.essential": "false"}}}
    assert essential_names(parse_container(inspected)) == set()
    assert essential_names(parse_container(inspected, Image({"vpsmon.essential": "false"}))) == {"d"}
    assert essential_names(parse_container(inspected, Image({"vpsmon.essential": "true"}))) == set()


def test_what_compose_has_built_keeps_its_service_and_what_was_run_from_it_by_hand_does_not() -> None:
    built = {"com.docker.compose.service": "n8n", "com.docker.compose.project": "crm"}

    def service_of(**own: str) -> str | None:
        labels = {**built, **{f"com.docker.compose.{key}": value for key, value in own.items()}}
        return parse_container({"Config": {"Labels": labels}}, Image(built)).service

    assert service_of(**{"config-hash": "5f"}) == "n8n"
    assert service_of() is None
    assert service_of(service="mine") == "mine"


def resolve(name: str, seeker: Container, *others: Container) -> list[str] | str:
    found = Neighbours([seeker, *others]).resolve(name, seeker)
    return "this host" if found.is_this_host else [each.name for each in found.containers]


def test_a_name_leads_to_whoever_has_it_on_a_network_that_both_share() -> None:
    chatwoot, zflow, n8n = to_containers(
        compose("chatwoot", "redis", "redis"), compose("zflow", "redis", "redis"), compose("zflow", "n8n", "n8n")
    )
    assert resolve("redis", n8n, chatwoot, zflow) == ["zflow-redis-1"]
    assert resolve("REDIS.", n8n, chatwoot, zflow) == ["zflow-redis-1"]
    assert resolve("zflow-redis-1", n8n, chatwoot, zflow) == ["zflow-redis-1"]
    assert resolve("10.9.8.2", n8n, chatwoot, zflow) == ["zflow-redis-1"]
    assert resolve("chatwoot-redis-1", n8n, chatwoot, zflow) == []
    assert resolve("redis.example.org", n8n, chatwoot, zflow) == []
    assert resolve("host.docker.internal", n8n, chatwoot, zflow) == "this host"
    assert resolve("localhost", n8n, chatwoot, zflow) == "this host"
    assert resolve("localhost", n8n._replace(network_mode="host"), chatwoot, zflow) == "this host"
    assert resolve("10.9.8.254", n8n._replace(gateways=("10.9.8.254",))) == "this host"
    sidecar = zflow._replace(network_mode=f"container:{n8n.id}")
    assert resolve("127.0.0.1", n8n, sidecar) == ["zflow-redis-1"]


def test_links_and_added_hosts_are_names_too() -> None:
    app, store = to_containers(
        Service("app", "", "app", network="bridge"), Service("db-1", "", "own", network="bridge")
    )
    assert resolve("db-1", app, store) == []
    assert resolve("db", app._replace(links=("/db-1:/app/db",)), store) == ["db-1"]
    assert resolve("db", app._replace(extra_hosts=("db:10.9.8.2",)), store) == ["db-1"]
    assert resolve("db", app._replace(extra_hosts=("db:host-gateway",)), store) == "this host"


def test_a_thousand_containers_that_name_each_other_are_judged_in_a_moment() -> None:
    services = [compose("big", f"s{number}", "own", environment={"N_HOST": f"s{number + 1}"}) for number in range(1200)]
    labels = {"com.docker.compose.depends_on": "s0:x:x," * 10_000, "vpsmon.role": "x" * 65536}
    containers = to_containers(compose("big", "app", "app", environment={"S_HOST": "s0"}, labels=labels), *services)
    started = time.process_time()
    assert len(essential_names(*containers)) == 1201
    assert time.process_time() - started < 5


@pytest.mark.parametrize("written", ["n8n postgres redis", "n8n; postgres;redis", "n8n,postgres redis"])
def test_a_list_that_is_not_separated_by_commas_is_refused(written: str, tmp_path: Any) -> None:
    path = tmp_path / "monitor.conf"
    path.write_text(f'ESSENTIAL_CONTAINERS="{written}"\n')
    with pytest.raises(ConfigError, match="commas separate the items of a list"):
        load_config(str(path), {})
