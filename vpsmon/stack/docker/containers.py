"""The containers of this machine as Docker tells them: one list and one inspect each, read once in a pass.

Format: `GET /containers/json` and `GET /containers/<id>/json` of the Docker Engine API; Podman answers alike. Any key
may be missing: other engines and versions leave some out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.stack.docker import client as docker_client
from vpsmon.stack.docker.api import ApiError, Engine, NotFound
from vpsmon.stack.docker.socket_path import START_EVENT
from vpsmon.system.host import Host

# A paused container runs nothing and still holds its memory.
STATUSES_WITH_MEMORY = ("running", "paused")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")
# Docker names the endpoint of the network in the error of a start: nobody can use it, and it hides what follows.
_LONG_ID = re.compile(r" \(?[0-9a-f]{64}\)?")
_ONE_OFF_LABEL = "com.docker.compose.oneoff"
_PORT = re.compile(r"[0-9]{1,5}")
# With less than this left, another answer is not waited for.
_SHORTEST_ANSWER_SECONDS = 0.5
_READ_ONCE = "containers"
_ID = re.compile(rb'"(?:id|ID)":"([0-9a-f]{64})"')
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 compared with, not bound to


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
    # Why the engine could not inspect it: then only id, name, labels, image and status are known.
    inspect_error: str | None = None


def read_containers(host: Host, settings: Settings) -> list[Container]:
    """Return all containers, also stopped ones, by name. Raises NotApplicable (no Docker here) or ReadError."""
    return host.once(_READ_ONCE, lambda: _read_all(host))


def inspect_named(host: Host, events: bytes) -> list[Container]:
    """Return the containers that the engine's events say were started. Raises NotApplicable, ReadError."""
    ids = sorted(
        {found[1].decode() for line in events.splitlines() if START_EVENT in line and (found := _ID.search(line))}
    )
    with docker_client.open_client(docker_client.TIMEOUT_SECONDS * host.patience) as client:
        return [parse_container(client.inspect_container(each)) for each in ids]


def prepare_containers(host: Host, containers: list[Container]) -> None:
    """Have these taken for the containers of this pass, so that the engine is not asked."""
    host.once(_READ_ONCE, lambda: containers)


def _read_all(host: Host) -> list[Container]:
    deadline = host.monotonic_seconds() + docker_client.TIMEOUT_SECONDS * host.patience
    with docker_client.open_client() as client:
        containers = list(_inspect_all(client, host, deadline))
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
            yield parse_container(client.inspect_container(entry["Id"]))
        except NotFound:
            continue
        except ApiError as error:
            # A container with damaged data fails to be inspected for good; it must not hide the others.
            yield parse_list_entry(entry)._replace(inspect_error=error.explanation)


def _limit_time(client: Engine, host: Host, deadline: float) -> None:
    """Give the next request what is left of the time for all of them."""
    client.timeout = max(0.1, deadline - host.monotonic_seconds())


def parse_container(inspected: Mapping[str, Any]) -> Container:
    """Return a container from the answer to an inspect."""
    state, settings = _map(inspected, "State"), _map(inspected, "Config")
    host_settings, network = _map(inspected, "HostConfig"), _map(inspected, "NetworkSettings")
    labels = {str(key): str(value) for key, value in _map(settings, "Labels").items()}
    return Container(
        id=str(inspected.get("Id") or ""),
        name=str(inspected.get("Name") or inspected.get("Id") or "").lstrip("/"),
        service=labels.get("com.docker.compose.service"),
        project=labels.get("com.docker.compose.project"),
        image=str(settings.get("Image") or ""),
        labels=labels,
        status=str(state.get("Status") or "unknown"),
        pid=_whole(state.get("Pid")),
        exit_code=_whole(state.get("ExitCode")),
        is_oom_killed=state.get("OOMKilled") is True,
        health=_parse_health(state),
        restart_count=_whole(inspected.get("RestartCount")),
        restart_policy=str(_map(host_settings, "RestartPolicy").get("Name") or "no"),
        started_wall_seconds=parse_time(state.get("StartedAt")),
        finished_wall_seconds=parse_time(state.get("FinishedAt")),
        memory_limit_bytes=_whole(host_settings.get("Memory")) or None,
        network_mode=str(host_settings.get("NetworkMode") or "default"),
        addresses=_parse_addresses(network),
        published_ports=_parse_published_ports(network),
        environment=_parse_environment(settings.get("Env")),
        command=_parse_command(inspected, settings),
        created_wall_seconds=parse_time(inspected.get("Created")),
        start_error=_LONG_ID.sub("", str(state.get("Error") or "")),
        memory_and_swap_limit_bytes=_parse_swap_limit(host_settings.get("MemorySwap")),
        is_for_one_task=host_settings.get("AutoRemove") is True or labels.get(_ONE_OFF_LABEL, "").lower() == "true",
        stop_timeout_seconds=_parse_timeout(settings.get("StopTimeout")),
        stop_signal=str(settings.get("StopSignal") or ""),
    )


def parse_list_entry(entry: Mapping[str, Any]) -> Container:
    """Return what the list alone says of a container."""
    names = _words(entry.get("Names")) or [entry.get("Id")]
    return parse_container(
        {
            "Id": entry.get("Id"),
            "Name": names[0],
            "Config": {"Labels": entry.get("Labels"), "Image": entry.get("Image")},
            "State": {"Status": entry.get("State")},
        }
    )


def _map(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object below a key; an empty one where it is missing or null."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _parse_swap_limit(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and (value > 0 or value == -1) else None


def _parse_timeout(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _parse_health(state: Mapping[str, Any]) -> str | None:
    # Podman before 4.3 calls it Healthcheck; where there is no check, engines say null, "none" or "".
    status = (_map(state, "Health") or _map(state, "Healthcheck")).get("Status")
    return str(status) if status and status != "none" else None


def parse_time(text: Any) -> float | None:
    """Return a time of the API in seconds since 1970; None for `0001-01-01T00:00:00Z`, which says never."""
    from datetime import datetime

    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if not match or text.startswith("0001-"):
        return None
    seconds, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(seconds + zone.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.timestamp() + float(fraction or 0)


def _parse_addresses(network: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses on all networks, IPv4 first; NetworkSettings.IPAddress is empty on user networks."""
    networks = [each for each in _map(network, "Networks").values() if isinstance(each, dict)]
    found = [each.get(key) for key in ("IPAddress", "GlobalIPv6Address") for each in networks]
    return tuple(dict.fromkeys(str(address) for address in [*found, network.get("IPAddress")] if address))


def _parse_published_ports(network: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Return for each published TCP port of the container the address and port of this machine that lead there."""
    published = {}
    for name, bindings in _map(network, "Ports").items():
        port, _, protocol = name.partition("/")
        first = bindings[0] if isinstance(bindings, list) and bindings else {}
        binding = first if isinstance(first, dict) else {}
        host_port = str(binding.get("HostPort") or "")
        if protocol == "tcp" and _PORT.fullmatch(port) and _PORT.fullmatch(host_port):
            address = str(binding.get("HostIp") or "")
            published[int(port)] = ("127.0.0.1" if address in _EVERY_ADDRESS else address, int(host_port))
    return published


def _parse_environment(entries: Any) -> dict[str, str]:
    """Return the environment; an entry without `=` unsets a variable of the image."""
    pairs = (str(entry).partition("=") for entry in _words(entries))
    return {key: value for key, separator, value in pairs if separator}


def _parse_command(inspected: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the program and its arguments as they are run."""
    if inspected.get("Path"):
        words = [inspected["Path"], *_words(inspected.get("Args"))]
    else:
        words = [*_words(settings.get("Entrypoint")), *_words(settings.get("Cmd"))]
    return tuple(str(word) for word in words)


def _words(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def find_container(containers: Sequence[Container], name: str) -> Container | None:
    """Return the container of that name, else of that compose service; of several, a running one."""
    found = [each for each in containers if name and name in (each.name, each.service)]
    return min(found, key=lambda each: (each.name != name, each.status != "running", each.name), default=None)
