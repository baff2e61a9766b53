"""Where a port of a container can be reached from this machine: at its own address, or where it is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.stack.docker.containers import Container

# Containers that share the network of another that shares the network of another: nobody nests deeper than this.
_MOST_SHARED_NETWORKS = 5


class Address(NamedTuple):
    """Where a port of a container can be reached from this machine, and how that was found out, in words."""

    host: str
    port: int
    source: str


def find_addresses(containers: Sequence[Container], container: Container, port: int) -> list[Address]:
    """Return where a port of a container can be reached, the likeliest first; [] when it is not running."""
    if container.status != "running":
        return []
    owner = _find_network_owner(containers, container)
    if owner is None:
        return []
    if owner.network_mode == "host":
        return [Address("127.0.0.1", port, f"container {container.name}, on the network of this machine")]
    whose = container.name if owner is container else f"{container.name}, on the network of {owner.name}"
    found = [Address(address, port, f"address of container {whose}") for address in owner.addresses]
    if port in owner.published_ports:
        published = Address(*owner.published_ports[port], f"published port of container {whose}")
        found.append(published)
    return found


def _find_network_owner(containers: Sequence[Container], container: Container) -> Container | None:
    """Return the container whose network this one uses (`network_mode: service:…`), most often itself."""
    for _ in range(_MOST_SHARED_NETWORKS):
        kind, _, target = container.network_mode.partition(":")
        if kind != "container":
            return container
        owner = next((each for each in containers if target and (each.id == target or each.name == target)), None)
        if owner is None or owner.status != "running":
            return None
        container = owner
    return None
