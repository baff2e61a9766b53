"""Stacks as people write them, with nothing that is called as vpsmon's defaults are: for a real engine, or as inspects.

`COMPOSE` is compose's own example of n8n in queue mode with services `db` and `cache`; `COOLIFY` has the names and
labels that Coolify 4 gives to its template of n8n with PostgreSQL; `SWARM` is `docker stack deploy` of the same. Images
are busybox with the original's tag; environment, labels, aliases and commands are the original's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from docker.types import EndpointConfig

from tests.kit.docker import DockerEngine, import_busybox_image
from vpsmon.stack.docker.containers import Container, parse_container

_SLEEP = "trap exit TERM; while :; do sleep 0.2; done"


@dataclass(frozen=True)
class Service:
    """A container of a stack; the network is that of its project."""

    name: str
    service: str
    image: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    network: str = "default"
    # Its command is run; else it only stands on the command line of a shell that waits.
    is_real: bool = False


def compose(project: str, service: str, image: str, *command: str, **more: Any) -> Service:
    """A service as compose starts it."""
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.config-hash": "5f2c",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": "False",
        **more.pop("labels", {}),
    }
    name = more.pop("name", f"{project}-{service}-1")
    aliases = (service, *more.pop("aliases", ()))
    return Service(name, service, image, command, labels=labels, aliases=aliases, network=f"{project}_default", **more)


def _coolify(identity: str, service: str, image: str, kind: str, **environment: str) -> Service:
    labels = {
        "coolify.managed": "true",
        "coolify.type": "service",
        "coolify.name": f"{service}-{identity}",
        "coolify.service.subName": service,
        "coolify.service.subType": kind,
    }
    name = f"{service}-{identity}"
    return compose(identity, service, image, name=name, labels=labels, environment=environment)


def _task(stack: str, service: str, image: str, *command: str, task: str, **environment: str) -> Service:
    labels = {
        "com.docker.stack.namespace": stack,
        "com.docker.swarm.service.name": f"{stack}_{service}",
        "com.docker.swarm.service.id": f"id{service}",
        "com.docker.swarm.task.id": task,
        "com.docker.swarm.task.name": f"{stack}_{service}.1.{task}",
        "com.docker.swarm.node.id": "node",
    }
    name = f"{stack}_{service}.1.{task}"
    return Service(name, service, image, command, environment, labels, (service,), f"{stack}_default")


_QUEUE = {"EXECUTIONS_MODE": "queue", "DB_TYPE": "postgresdb", "DB_POSTGRESDB_PASSWORD": "n8n-secret"}
_TO_DB_AND_CACHE = {**_QUEUE, "DB_POSTGRESDB_HOST": "db", "QUEUE_BULL_REDIS_HOST": "cache"}
COMPOSE = (
    compose("crm", "db", "postgres:16", environment={"POSTGRES_USER": "crm", "POSTGRES_PASSWORD": "n8n-secret"}),
    compose("crm", "cache", "redis:7"),
    compose("crm", "n8n", "n8nio/n8n:latest", environment=_TO_DB_AND_CACHE),
    compose("crm", "n8n-worker", "n8nio/n8n:latest", "worker", environment=_TO_DB_AND_CACHE),
    compose("crm", "whatsapp", "devlikeapro/waha:latest", environment={"WAHA_API_KEY": "waha-secret"}),
    compose("crm", "gateway", "traefik:v3"),
)
_COOLIFY_ID = "k8wg4sc0o8k0wskwc8co04gw"
COOLIFY = (
    _coolify(_COOLIFY_ID, "postgresql", "postgres:16-alpine", "database", POSTGRES_PASSWORD="n8n-secret"),
    _coolify(
        _COOLIFY_ID, "n8n", "docker.n8n.io/n8nio/n8n", "application", DB_TYPE="postgresdb",
        DB_POSTGRESDB_HOST="postgresql",
    ),
    Service("coolify-proxy", "traefik", "traefik:v3.1", labels={"coolify.managed": "true", "coolify.proxy": "true"}),
)  # fmt: skip
_SWARM_QUEUE = {**_QUEUE, "DB_POSTGRESDB_HOST": "flow_db", "QUEUE_BULL_REDIS_HOST": "cache"}
SWARM = (
    _task("flow", "db", "postgres:16@sha256:" + "1" * 64, task="aaaa"),
    _task("flow", "cache", "valkey/valkey:8", task="bbbb"),
    _task("flow", "n8n", "n8nio/n8n:1.123", task="cccc", **_SWARM_QUEUE),
    _task("flow", "worker", "n8nio/n8n:1.123", "worker", task="dddd", **_SWARM_QUEUE),
)
# What each of them has beside that may be stopped.
BLOG = compose("blog", "wordpress", "wordpress:6")


def to_container(service: Service, number: int = 1, **changes: Any) -> Container:
    """The service as a running container, read from an inspect."""
    inspected = {
        "Id": f"{number:064x}",
        "Name": f"/{service.name}",
        "State": {"Status": "running"},
        "Path": "docker-entrypoint.sh",
        "Args": list(service.command),
        "Config": {
            "Image": service.image,
            "Labels": dict(service.labels),
            "Env": [f"{name}={value}" for name, value in service.environment.items()],
        },
        "HostConfig": {"NetworkMode": service.network, "RestartPolicy": {"Name": "unless-stopped"}},
        "NetworkSettings": {
            "Networks": {service.network: {"Aliases": list(service.aliases), "IPAddress": f"10.9.8.{number % 250}"}}
        },
    }
    return parse_container(inspected)._replace(**changes)


def to_containers(*services: Service) -> list[Container]:
    """The services as running containers."""
    return [to_container(each, number) for number, each in enumerate(services, 1)]


def tag_images(engine: DockerEngine, images: Sequence[str]) -> None:
    """Have busybox under these names, where there is nothing of that name yet."""
    image = engine.client.images.get(import_busybox_image(engine))
    for name in {each.partition("@")[0] for each in images}:
        if not engine.client.images.list(name=name):
            repository, _, tag = name.rpartition(":")
            image.tag(repository or tag, tag if repository else "latest")


@contextmanager
def running(engine: DockerEngine, *services: Service) -> Iterator[dict[str, Any]]:
    """Have the services run on an engine, each on the network of its project; yield them by name."""
    tag_images(engine, [each.image for each in services])
    containers: dict[str, Any] = {}
    with ExitStack() as stack:
        networks = {}
        for name in {each.network for each in services} - {"default"}:
            networks[name] = engine.client.networks.create(name)
            stack.callback(networks[name].remove)
        for each in services:
            containers[each.name] = _start(engine, each)
            stack.callback(containers[each.name].remove, force=True, v=True)
        yield containers


def _start(engine: DockerEngine, service: Service) -> Any:
    api = engine.client.api
    endpoints = None
    if service.network != "default":
        endpoints = api.create_networking_config(
            {service.network: EndpointConfig(api.api_version, aliases=list(service.aliases))}  # type: ignore[arg-type]
        )
    host = api.create_host_config(network_mode=service.network if endpoints else "bridge")
    created = api.create_container(
        service.image.partition("@")[0],
        list(service.command) if service.is_real else ["sh", "-c", _SLEEP, *(service.command or ("main",))],
        name=service.name,
        environment=dict(service.environment),
        labels=dict(service.labels),
        networking_config=endpoints,
        host_config=host,
    )
    container = engine.client.containers.get(created["Id"])
    container.start()
    return container
