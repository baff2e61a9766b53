"""Which containers recovery must be careful with: the essential ones, and those whose owner wants no hands on them.

Essential are those that ESSENTIAL_CONTAINERS names, by container name or compose service; where it names `postgres`,
that is also the container which POSTGRES_CONTAINER names, and so for the other services. The label
`vpsmon.essential=true` or `false` on a container overrides that. `vpsmon.recover=false` keeps recovery away from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.config.settings import Settings
from vpsmon.stack.docker.containers import Container

ESSENTIAL_LABEL = "vpsmon.essential"
_RECOVER_LABEL = "vpsmon.recover"
# Who calls the database `db` and leaves the list of essential containers as it is does not mean to lose it.
_ROLES = {
    "postgres": "POSTGRES_CONTAINER",
    "redis": "REDIS_CONTAINER",
    "n8n": "N8N_CONTAINER",
    "waha": "WAHA_CONTAINER",
}


def is_essential(container: Container, settings: Settings) -> bool:
    """Return whether a container is never to be stopped."""
    label = container.labels.get(ESSENTIAL_LABEL, "").strip().lower()
    return decide_essential(container.name, container.service or "", label, settings)


def decide_essential(name: str, service: str, label: str, settings: Settings) -> bool:
    """Return whether a container of this name and compose service is essential; the label has the last word."""
    if label in ("true", "false"):
        return label == "true"
    return any(each and each in list_essential_names(settings) for each in (name, service))


def list_essential_names(settings: Settings) -> list[str]:
    """Return the names of containers and compose services that are essential."""
    called = [getattr(settings, key) for role, key in _ROLES.items() if role in settings.ESSENTIAL_CONTAINERS]
    return list(dict.fromkeys([*settings.ESSENTIAL_CONTAINERS, *called]))


def is_left_alone(container: Container) -> bool:
    """Return whether its owner has said that recovery must not touch it."""
    return container.labels.get(_RECOVER_LABEL, "").strip().lower() == "false"


def carries_essential(container: Container, containers: Sequence[Container], settings: Settings) -> bool:
    """Return whether an essential container uses the network of this one, and so goes down with it."""
    return any(is_essential(each, settings) for each in list_network_users(container, containers))


def list_network_users(container: Container, containers: Sequence[Container]) -> list[Container]:
    """Return the containers that use the network of this one: they lose it when it ends."""
    modes = (f"container:{container.id}", f"container:{container.name}")
    return [each for each in containers if each.network_mode in modes]
