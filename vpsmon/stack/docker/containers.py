"""The containers of this machine as Docker tells them: one list and one inspect each, read once in a pass.

Format: `GET /containers/json` and `GET /containers/<id>/json` of the Docker Engine API; Podman answers alike. Any key
may be missing: other engines and versions leave some out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.secrets import register_container, register_names
from vpsmon.stack.docker import client as docker_client
from vpsmon.stack.docker.api import ApiError, Engine, NotFound
from vpsmon.stack.docker.images import (
    COMPOSE_ONE_OFF,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    SWARM_SERVICE,
    SWARM_STACK,
    SYSTEMD_UNIT,
    Image,
    find_image,
    forget_unused_images,
    keep_own_labels,
)
from vpsmon.stack.docker.inspect_values import (
    get_map,
    parse_addresses,
    parse_command,
    parse_environment,
    parse_gateways,
    parse_health,
    parse_mount_points,
    parse_networks,
    parse_ports,
    parse_published_ports,
    parse_swap_limit,
    parse_time,
    parse_timeout,
    to_list,
    to_whole,
)
from vpsmon.stack.docker.socket_path import START_EVENT
from vpsmon.system.host import Host

# A paused container runs nothing and still holds its memory.
STATUSES_WITH_MEMORY = ("running", "paused")
# Docker names the endpoint of the network in the error of a start: nobody can use it, and it hides what follows.
_LONG_ID = re.compile(r" \(?[0-9a-f]{64}\)?")
# With less than this left, another answer is not waited for.
_SHORTEST_ANSWER_SECONDS = 0.5
_UNKNOWN_IMAGE = Image()
_ID = re.compile(rb'"(?:id|ID)":"([0-9a-f]{64})"')


class Container(NamedTuple):
    """What an inspect says of a container. `environment` and `command` may hold secrets: never print or store them."""

    id: str
    name: str
    service: str | None
    project: str | None
    image: str
    labels: dict[str, str]
    status: str
    pid: int
    exit_code: int
    is_oom_killed: bool
    health: str | None
    restart_count: int
    restart_policy: str
    started_wall_seconds: float | None
    finished_wall_seconds: float | None
    memory_limit_bytes: int | None
    network_mode: str
    addresses: tuple[str, ...]
    published_ports: dict[int, tuple[str, int]]
    environment: dict[str, str]
    command: tuple[str, ...]
    created_wall_seconds: float | None = None
    # Why the engine could not start it, in the engine's words.
    start_error: str = ""
    # Memory and swap together; -1: as much swap as there is; None: the engine does not tell.
    memory_and_swap_limit_bytes: int | None = None
    # It is made for one task (`--rm`, `docker compose run`): once stopped, nothing may start it again.
    is_for_one_task: bool = False
    # How it wants to be stopped; None and "": as the engine does it.
    stop_timeout_seconds: int | None = None
    stop_signal: str = ""
    # Why the engine could not inspect it: then only what its list tells is known.
    inspect_error: str | None = None
    image_id: str = ""
    # After so many restarts in a row the policy on-failure gives up; 0: never.
    most_restarts: int = 0
    # The networks that it is on, and the names that it has on each of them.
    networks: Mapping[str, tuple[str, ...]] = {}
    gateways: tuple[str, ...] = ()
    # `--link` and `--add-host` as they were given: `/db:/n8n/postgres`, `name:address`.
    links: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    exposed_ports: tuple[int, ...] = ()
    mount_points: tuple[str, ...] = ()
    # What was found out when it was last inspected, of one that is only remembered: see stack/identity/.
    known_role: str = ""
    known_needs: Mapping[str, str] | None = None


def read_containers(host: Host, settings: Settings) -> list[Container]:
    """Return all containers, also stopped ones, by name. Raises NotApplicable (no Docker here) or ReadError."""
    if host.known_containers is not None:
        return host.known_containers
    return host.once("containers", lambda: _read_all(host))


def inspect_named(host: Host, events: bytes) -> list[Container]:
    """Return the containers that the engine's events say were started. Raises NotApplicable, ReadError."""
    ids = sorted(
        {found[1].decode() for line in events.splitlines() if START_EVENT in line and (found := _ID.search(line))}
    )
    with docker_client.open_client(docker_client.TIMEOUT_SECONDS * host.patience) as client:
        inspected = [client.inspect_container(each) for each in ids]
        return [parse_container(each, find_image(host, client, each)) for each in inspected]


def _read_all(host: Host) -> list[Container]:
    deadline = host.monotonic_seconds() + docker_client.TIMEOUT_SECONDS * host.patience
    with docker_client.open_client() as client:
        containers = list(_inspect_all(client, host, deadline))
    forget_unused_images(host, {each.image_id for each in containers})
    return sorted(containers, key=lambda container: container.name)


def _inspect_all(client: Engine, host: Host, deadline: float) -> Iterator[Container]:
    """Yield every container; one that vanishes after it was listed is left out."""
    _limit_time(client, host, deadline)
    for entry in client.containers(all=True):
        if host.monotonic_seconds() > deadline - _SHORTEST_ANSWER_SECONDS:
            # Hundreds on a slow machine: what the list says is better than to know nothing of any.
            yield parse_list_entry(entry)._replace(inspect_error="there was no time left for it; are there too many?")
            continue
        _limit_time(client, host, deadline)
        try:
            inspected = client.inspect_container(entry["Id"])
        except NotFound:
            continue
        except ApiError as error:
            yield parse_list_entry(entry)._replace(inspect_error=error.explanation)
            continue
        try:
            yield parse_container(inspected, find_image(host, client, inspected))
        except ApiError as error:
            # A container with damaged data fails to be inspected for good; it must not hide the others.
            yield parse_list_entry(entry)._replace(inspect_error=error.explanation)


def _limit_time(client: Engine, host: Host, deadline: float) -> None:
    """Give the next request what is left of the time for all of them."""
    client.timeout = max(0.1, deadline - host.monotonic_seconds())


def parse_container(inspected: Mapping[str, Any], image: Image = _UNKNOWN_IMAGE) -> Container:
    """Return a container from the answer to an inspect; of its labels those that it does not have from its image.

    What it keeps secret is blanked from now on, in whatever leaves this process.
    """
    state, settings = get_map(inspected, "State"), get_map(inspected, "Config")
    host_settings, network = get_map(inspected, "HostConfig"), get_map(inspected, "NetworkSettings")
    labels = keep_own_labels({str(key): str(value) for key, value in get_map(settings, "Labels").items()}, image)
    project, service = _find_service(labels)
    image_name = str(settings.get("Image") or "")
    environment, command = parse_environment(settings.get("Env")), parse_command(inspected, settings)
    register_container(environment, command)
    register_names((str(inspected.get("Name") or "").lstrip("/"), service))
    return Container(
        id=str(inspected.get("Id") or ""),
        name=str(inspected.get("Name") or inspected.get("Id") or "").lstrip("/"),
        service=service,
        project=project,
        # A digest instead of a name: the tag has been given to another image since.
        image=(image.name or image_name) if image_name.startswith("sha256:") else image_name,
        labels=labels,
        status=str(state.get("Status") or "unknown"),
        pid=to_whole(state.get("Pid")),
        exit_code=to_whole(state.get("ExitCode")),
        is_oom_killed=state.get("OOMKilled") is True,
        health=parse_health(state),
        restart_count=to_whole(inspected.get("RestartCount")),
        restart_policy=str(get_map(host_settings, "RestartPolicy").get("Name") or "no"),
        started_wall_seconds=parse_time(state.get("StartedAt")),
        finished_wall_seconds=parse_time(state.get("FinishedAt")),
        memory_limit_bytes=to_whole(host_settings.get("Memory")) or None,
        network_mode=str(host_settings.get("NetworkMode") or "default"),
        addresses=parse_addresses(network),
        published_ports=parse_published_ports(network),
        environment=environment,
        command=command,
        created_wall_seconds=parse_time(inspected.get("Created")),
        start_error=_LONG_ID.sub("", str(state.get("Error") or "")),
        memory_and_swap_limit_bytes=parse_swap_limit(host_settings.get("MemorySwap")),
        is_for_one_task=host_settings.get("AutoRemove") is True or labels.get(COMPOSE_ONE_OFF, "").lower() == "true",
        stop_timeout_seconds=parse_timeout(settings.get("StopTimeout")),
        stop_signal=str(settings.get("StopSignal") or ""),
        image_id=str(inspected.get("Image") or ""),
        most_restarts=to_whole(get_map(host_settings, "RestartPolicy").get("MaximumRetryCount")),
        networks=parse_networks(network),
        gateways=parse_gateways(network),
        links=tuple(map(str, to_list(host_settings.get("Links")))),
        extra_hosts=tuple(map(str, to_list(host_settings.get("ExtraHosts")))),
        exposed_ports=parse_ports(get_map(settings, "ExposedPorts")),
        mount_points=parse_mount_points(inspected.get("Mounts")),
    )


def parse_list_entry(entry: Mapping[str, Any]) -> Container:
    """Return what the list alone says of a container."""
    names = to_list(entry.get("Names")) or [entry.get("Id")]
    return parse_container(
        {
            "Id": entry.get("Id"),
            "Name": names[0],
            "Config": {"Labels": entry.get("Labels"), "Image": entry.get("Image")},
            "State": {"Status": entry.get("State")},
            "HostConfig": entry.get("HostConfig"),
            "NetworkSettings": entry.get("NetworkSettings"),
            "Mounts": entry.get("Mounts"),
        }
    )


def _find_service(labels: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return project and service of compose, stack and service of a swarm, or the unit of a quadlet."""
    if COMPOSE_SERVICE in labels:
        return labels.get(COMPOSE_PROJECT), labels[COMPOSE_SERVICE]
    if SWARM_SERVICE in labels:
        stack = labels.get(SWARM_STACK)
        return stack, labels[SWARM_SERVICE].removeprefix(f"{stack}_")
    unit = labels.get(SYSTEMD_UNIT, "").removesuffix(".service")
    return None, unit or None


def list_names(container: Container) -> tuple[str, ...]:
    """Return what people call a container: its name, its service, and that of a swarm with the stack in front."""
    names = (container.name, container.service, container.labels.get(SWARM_SERVICE))
    return tuple(dict.fromkeys(each for each in names if each))


def find_container(containers: Sequence[Container], name: str) -> Container | None:
    """Return the container of that name, else of that service; of several, a running one."""
    found = [each for each in containers if name and name in list_names(each)]
    return min(found, key=lambda each: (each.name != name, each.status != "running", each.name), default=None)
