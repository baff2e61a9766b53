"""Whom a host name leads to, seen from inside a container: the aliases of the networks that both are on.

Docker resolves names on networks that users made: a container's own name and its aliases there, of which compose makes
one of its service; a swarm resolves its services. On the default network only `--link` gives names. `--add-host` goes
before all of it. Addresses count like names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.stack.docker.containers import Container, list_names
from vpsmon.stack.docker.images import SWARM_SERVICE

_NAMES_OF_THIS_HOST = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal", "host-gateway")
_NO_NAMES_ON = ("bridge", "host", "none", "podman")
# Containers that share the network of another that shares the network of another: nobody nests deeper than this.
_MOST_SHARED_NETWORKS = 5


class Found(NamedTuple):
    """The containers that a name leads to, most often one; or this machine; neither where it leads elsewhere."""

    containers: tuple[Container, ...] = ()
    is_this_host: bool = False


class Neighbours:
    """The containers of a machine by the networks that they are on and the names that they have there."""

    def __init__(self, containers: Sequence[Container]) -> None:
        self.containers = containers
        self._by_id = {each.id: each for each in containers if each.id}
        self._by_name = {each.name: each for each in containers if each.name}
        self._by_alias: dict[tuple[str, str], list[Container]] = {}
        for each in containers:
            for network in each.networks:
                for name in _list_names_on(each, network):
                    self._by_alias.setdefault((network, name), []).append(each)

    def find_network_owner(self, container: Container) -> Container:
        """Return the container whose network this one uses (`network_mode: service:…`), most often itself."""
        for _ in range(_MOST_SHARED_NETWORKS):
            kind, _, target = container.network_mode.partition(":")
            owner = (self._by_id.get(target) or self._by_name.get(target)) if kind == "container" else None
            if owner is None:
                return container
            container = owner
        return container

    def find_named(self, name: str) -> Container | None:
        """Return the container of this very name."""
        return self._by_name.get(name)

    def resolve(self, name: str, seeker: Container) -> Found:
        """Return whom a host name or address leads to from inside a container; never to itself."""
        owner = self.find_network_owner(seeker)
        name = _find_extra_host(owner, name.rstrip(".").lower())
        if name in _NAMES_OF_THIS_HOST or name in owner.gateways:
            return Found(is_this_host=True)
        if _is_loopback(name):
            return self._resolve_loopback(owner, seeker)
        names = _list_linked(owner, name)
        found = [self._by_name[each] for each in names if each in self._by_name]
        for network in owner.networks:
            found += self._by_alias.get((network, name), [])
        others = {each.id or each.name: each for each in found if each is not seeker}
        return Found(tuple(others.values()))

    def _resolve_loopback(self, owner: Container, seeker: Container) -> Found:
        if owner.network_mode == "host":
            return Found(is_this_host=True)
        sharing = [each for each in self.containers if each is not seeker and self._shares(each, owner)]
        return Found(tuple(sharing), is_this_host=not sharing)

    def _shares(self, container: Container, owner: Container) -> bool:
        is_sharing = container.network_mode.startswith("container:")
        return container is owner or (is_sharing and self.find_network_owner(container) is owner)


def _list_names_on(container: Container, network: str) -> list[str]:
    """Return the names and addresses of a container on a network."""
    names = list(container.networks[network])
    if network in _NO_NAMES_ON:
        return [each for each in names if _is_address(each)]
    names.append(container.name.lower())
    if SWARM_SERVICE in container.labels or container.inspect_error:
        # The services of a swarm are resolved without aliases; the list of containers has no aliases.
        names += [each.lower() for each in list_names(container)]
    names += [f"tasks.{each.lower()}" for each in list_names(container) if SWARM_SERVICE in container.labels]
    return list(dict.fromkeys(names))


def _find_extra_host(container: Container, name: str) -> str:
    """Return the address that `--add-host` gives a name, else the name."""
    for entry in container.extra_hosts:
        host, _, address = entry.replace("=", ":", 1).partition(":")
        if host.lower() == name:
            return address.strip("[]").lower()
    return name


def _list_linked(container: Container, name: str) -> list[str]:
    """Return the names of the containers that `--link` calls so: `/crm-db:/crm-n8n/db`."""
    pairs = (entry.partition(":") for entry in container.links)
    return [target.lstrip("/") for target, _, alias in pairs if alias.rpartition("/")[2].lower() == name]


def _is_loopback(name: str) -> bool:
    return name in ("localhost", "ip6-localhost", "::1") or (name.startswith("127.") and _is_address(name))


def _is_address(name: str) -> bool:
    return ":" in name or (name.count(".") == 3 and name.replace(".", "").isdecimal())
