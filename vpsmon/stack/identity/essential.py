"""Which containers are essential, and why: what is named, every database, cache and proxy, and all that those need.

The label `vpsmon.essential=false` takes one out, `true` puts one in. A word of ESSENTIAL_CONTAINERS is the name of a
container or service, or that of a program: `n8n` is every container that plays a part of n8n, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.text import clean
from vpsmon.stack.docker.containers import Container, list_names
from vpsmon.stack.docker.images import ESSENTIAL_LABEL, RECOVER_LABEL
from vpsmon.stack.identity.bindings import Bindings, Need, NeedKind, key_of
from vpsmon.stack.identity.images import find_program_of_name
from vpsmon.stack.identity.names import Neighbours
from vpsmon.stack.identity.roles import KEY_OF_PROGRAM, Part

_ALWAYS = ("database", "cache", "proxy")
# Where one goes by what is needed of it, and not by what it is.
_TEXT_OF_KIND: dict[NeedKind, str] = {
    "address": "used by {}",
    "depends_on": "{} depends on it",
    "network": "{} lives in its network",
    "worker": "works for {}",
}


class Essentials:
    """The essential containers of a machine, with the reason of each in words."""

    def __init__(self, containers: Sequence[Container], settings: Settings) -> None:
        self.bindings = Bindings(Neighbours(containers), settings)
        self._containers = containers
        self._settings = settings
        self._reasons: dict[str, str] = {}
        for each in containers:
            reason = self._find_own_reason(each)
            if reason:
                self._reasons[key_of(each)] = reason
        self._follow_needs()
        # One that was not inspected: what it needs is not known then, so anything may be it.
        unread = (each for each in containers if each.inspect_error and each.known_needs is None)
        self._is_blind = any(map(self.is_essential, unread))

    def is_essential(self, container: Container) -> bool:
        """Return whether a container is never to be stopped."""
        return key_of(container) in self._reasons

    def is_spare(self, container: Container) -> bool:
        """Return whether a container may be stopped: it is not essential, and all that are could be read."""
        return not self._is_blind and not self.is_essential(container)

    def reason_of(self, container: Container) -> str:
        """Return why a container is essential, "" where it is not."""
        return self._reasons.get(key_of(container), "")

    def _find_own_reason(self, container: Container) -> str:
        """Return why one is essential by itself."""
        label = _label_of(container)
        if label:
            return f"label {ESSENTIAL_LABEL}=true" if label == "true" else ""
        name = find_essential_name(container, self._settings)
        if name:
            return f"{name} is in ESSENTIAL_CONTAINERS"
        part = self.bindings.part_of(container)
        if part.program in _list_programs(self._settings):
            return f"{_describe_part(part)}, which is in ESSENTIAL_CONTAINERS"
        return _describe_part(part) if part.role in _ALWAYS else ""

    def _follow_needs(self) -> None:
        """Give a reason to all that an essential container needs, however many steps away."""
        waiting = [each for each in self._containers if self.is_essential(each)]
        for user in waiting:
            for need in self.bindings.needs_of(user):
                if _label_of(need.container) == "false":
                    continue
                if not self.is_essential(need.container):
                    waiting.append(need.container)
                    self._reasons[key_of(need.container)] = self._describe_need(need, user)
                elif self.bindings.part_of(need.container).role in ("database", "cache") and need.kind == "address":
                    # Whose database it is says more than that it is one.
                    self._improve(need, user)

    def _improve(self, need: Need, user: Container) -> None:
        reason = self._reasons[key_of(need.container)]
        if " of " not in reason:
            self._reasons[key_of(need.container)] = self._describe_need(need, user)

    def _describe_need(self, need: Need, user: Container) -> str:
        role = self.bindings.part_of(need.container).role
        name = clean(user.name)
        if role in ("database", "cache") and need.kind == "address":
            return f"{role} of {name}"
        return _TEXT_OF_KIND[need.kind].format(name)


def _label_of(container: Container) -> str:
    label = container.labels.get(ESSENTIAL_LABEL, "").strip().lower()
    return label if label in ("true", "false") else ""


def _describe_part(part: Part) -> str:
    role = part.role.replace("_", " ")
    return role if not part.program or part.program in role else f"{role} ({part.program})"


def list_essential_names(settings: Settings) -> list[str]:
    """Return the names of containers and services that are essential: where `postgres` is, also what a key calls so."""
    programs = _list_programs(settings)
    called = [getattr(settings, key) for program, key in KEY_OF_PROGRAM.items() if program in programs]
    return list(dict.fromkeys([*settings.ESSENTIAL_CONTAINERS, *called]))


def _list_programs(settings: Settings) -> list[str]:
    """Return the programs that ESSENTIAL_CONTAINERS names."""
    return [program for name in settings.ESSENTIAL_CONTAINERS if (program := find_program_of_name(name)) == name]


def find_essential_name(container: Container, settings: Settings) -> str:
    """Return the name by which a container is essential, "" for none."""
    names = list_names(container)
    return next((each for each in list_essential_names(settings) if each in names), "")


def is_left_alone(container: Container) -> bool:
    """Return whether its owner has said that recovery must not touch it."""
    return container.labels.get(RECOVER_LABEL, "").strip().lower() == "false"


def list_network_users(container: Container, containers: Sequence[Container]) -> list[Container]:
    """Return the containers that use the network of this one: they lose it when it ends."""
    modes = (f"container:{container.id}", f"container:{container.name}")
    return [each for each in containers if each.network_mode in modes]


class Because(NamedTuple):
    """An essential container and why it is."""

    name: str
    reason: str


def list_essential(containers: Sequence[Container], settings: Settings) -> list[Because]:
    """Return the essential containers with their reasons, by name, for people."""
    found = Essentials(containers, settings)
    named = ((clean(each.name), found.reason_of(each)) for each in containers)
    return [Because(name, reason) for name, reason in sorted(named) if reason]
