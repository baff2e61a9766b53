"""Where a service of the stack is: in its container, or on this host."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, Previous, ReadError
from vpsmon.core.text import clean, format_duration
from vpsmon.stack.docker.addresses import Address, find_addresses
from vpsmon.stack.docker.containers import Container, find_container, read_containers
from vpsmon.system.host import Host

# A service on this host that is gone looks like one that never was; for this long it is missed.
_MISSED_SECONDS = 86_400


class Place(NamedTuple):
    """The container of a service and its addresses; without a container, why there is none (for when this host has
    none either)."""

    container: Container | None
    addresses: tuple[Address, ...]
    absence: NotApplicable | ReadError | None


def find_container_of(host: Host, settings: Settings, container_key: str) -> Container | None:
    """Return the container, running or not, that is called as a setting says; None where that cannot be known."""
    try:
        return find_container(read_containers(host, settings), getattr(settings, container_key))
    except (NotApplicable, ReadError):
        return None


def locate(
    host: Host, settings: Settings, container_key: str, address_key: str, find_port: Callable[[Container], int]
) -> Place:
    """Return where the service is whose container is called as the setting `container_key` says.

    Raises ReadError when the container is there but cannot be reached; the remedy names the setting `address_key`.
    """
    name = getattr(settings, container_key)
    try:
        containers = read_containers(host, settings)
    except (NotApplicable, ReadError) as error:
        return Place(None, (), type(error)(str(error), f"set {address_key}"))
    container = find_container(containers, name)
    if container is None:
        text = f"no container or compose service is called {clean(name)}{_suggest(containers, name)}"
        return Place(None, (), NotApplicable(f"{text}: set {container_key} or {address_key}"))
    shown = clean(container.name)
    if container.status != "running":
        raise ReadError(f"its container {shown} is {container.status}: docker logs {shown} says why")
    addresses = find_addresses(containers, container, find_port(container))
    if not addresses:
        raise ReadError(f"its container {shown} has no address that this machine can reach: set {address_key}")
    return Place(container, tuple(addresses), None)


def miss(absence: NotApplicable, previous: Previous | None) -> NotApplicable | ReadError:
    """Return the absence as it is, or as an error where the service answered within the last day."""
    if previous is None or not previous.memory or previous.elapsed_seconds > _MISSED_SECONDS:
        return absence
    return ReadError(f"it answered {format_duration(previous.elapsed_seconds)} ago and is gone: {absence}")


def _suggest(containers: list[Container], name: str) -> str:
    """Name a container whose image sounds right: compose stacks like to call PostgreSQL `db`."""
    alike = [each.name for each in containers if name and name in each.image.rsplit("/", 1)[-1]]
    return f" (is it {clean(alike[0])}?)" if alike else ""
