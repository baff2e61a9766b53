"""Which containers recovery must be careful with: the essential ones, and those whose owner wants no hands on them.

Essential are those that ESSENTIAL_CONTAINERS names, by container name or compose service; the label
`vpsmon.essential=true` or `false` on a container overrides that. `vpsmon.recover=false` keeps recovery away from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.containers import Container
from vpsmon.settings import Settings

ESSENTIAL_LABEL = "vpsmon.essential"
_RECOVER_LABEL = "vpsmon.recover"


def is_essential(container: Container, settings: Settings) -> bool:
    """Return whether a container is never to be stopped."""
    label = container.labels.get(ESSENTIAL_LABEL, "").strip().lower()
    return decide_essential(container.name, container.service or "", label, settings)


def decide_essential(name: str, service: str, label: str, settings: Settings) -> bool:
    """Return whether a container of this name and compose service is essential; the label has the last word."""
    if label in ("true", "false"):
        return label == "true"
    return any(each and each in settings.ESSENTIAL_CONTAINERS for each in (name, service))


def is_left_alone(container: Container) -> bool:
    """Return whether its owner has said that recovery must not touch it."""
    return container.labels.get(_RECOVER_LABEL, "").strip().lower() == "false"


def carries_essential(container: Container, containers: Sequence[Container], settings: Settings) -> bool:
    """Return whether an essential container uses the network of this one, and so goes down with it."""
    return any(
        each.network_mode in (f"container:{container.id}", f"container:{container.name}")
        and is_essential(each, settings)
        for each in containers
    )
