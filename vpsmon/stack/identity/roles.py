"""Which part a container plays: database, cache, n8n, WAHA, proxy, application, or a helper beside one.

In this order: its label `vpsmon.role`, a key of monitor.conf that names it, its image, what an image of a database
declares wherever it is built upon, the name of its service, its own name.
"""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.config.settings import Preset, Settings
from vpsmon.stack.command_line import read_options
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.docker.images import ROLE_LABEL, SWARM_SERVICE
from vpsmon.stack.identity.images import (
    PROGRAM_OF_MOUNT,
    PROGRAM_OF_PORT,
    Role,
    find_program,
    find_program_of_name,
    role_of_program,
)

# The programs that a key of monitor.conf can name.
KEY_OF_PROGRAM = {
    "postgres": "POSTGRES_CONTAINER",
    "redis": "REDIS_CONTAINER",
    "n8n": "N8N_CONTAINER",
    "waha": "WAHA_CONTAINER",
}
PROGRAM_OF_KEY = {key: program for program, key in KEY_OF_PROGRAM.items()}
# What may stand in the label beside the names of programs.
_LABEL_ROLES: dict[str, Role] = {
    "database": "database",
    "cache": "cache",
    "proxy": "proxy",
    "application": "application",
    "helper": "helper",
    "n8n-main": "n8n_main",
    "n8n-worker": "n8n_worker",
    "n8n-webhook": "n8n_webhook",
}
_N8N_ROLES: dict[str, Role] = {"worker": "n8n_worker", "webhook": "n8n_webhook"}

# Commands of n8n that do one thing and end.
_N8N_TASKS = ("import:", "export:", "update:", "user-management:", "list:")


class Part(NamedTuple):
    """The part that a container plays, the program that it runs ("" where that is not known), and how that is known."""

    role: Role
    program: str
    source: str


def find_part(container: Container, settings: Settings) -> Part:
    """Return the part that a container plays."""
    if container.known_role:
        program, _, role = container.known_role.partition("/")
        return Part(_parse_role(role), program, "memory")
    labelled = _find_labelled(container)
    if labelled is not None:
        return labelled
    for source, program in _list_signs(container, settings):
        if program:
            return Part(_find_role(container, program), program, source)
    return Part("application", "", "")


def is_named(container: Container, name: str) -> bool:
    """Return whether a container is called so: its name, its service, or its swarm service with its stack in front."""
    return bool(name) and name in (container.name, container.service, container.labels.get(SWARM_SERVICE))


def to_known_role(container: Container, settings: Settings) -> str:
    """Return the part of a container as it is remembered."""
    part = find_part(container, settings)
    return f"{part.program}/{part.role}"


def _parse_role(text: str) -> Role:
    roles: tuple[Role, ...] = (*_LABEL_ROLES.values(), "waha")
    return next((role for role in roles if role == text), "application")


def _find_labelled(container: Container) -> Part | None:
    label = container.labels.get(ROLE_LABEL, "").strip().lower()
    if label in _LABEL_ROLES:
        program = "n8n" if label.startswith("n8n") else _guess_program(container)
        return Part(_LABEL_ROLES[label], program, "label")
    program = find_program_of_name(label)
    return Part(_find_role(container, program), program, "label") if program else None


def _guess_program(container: Container) -> str:
    return find_program(container.image) or _find_declared(container)


def _list_signs(container: Container, settings: Settings) -> tuple[tuple[str, str], ...]:
    return (
        ("key", _find_key(container, settings)),
        ("image", find_program(container.image)),
        ("what its image declares", _find_declared(container)),
        ("service", find_program_of_name(container.service or "")),
        ("name", find_program_of_name(container.name)),
        ("command", _find_worker_of_n8n(container)),
    )


def _find_key(container: Container, settings: Settings) -> str:
    """Return the program that a key of monitor.conf names; a default was written by nobody."""
    for program, key in KEY_OF_PROGRAM.items():
        name = getattr(settings, key)
        if not isinstance(name, Preset) and is_named(container, name):
            return program
    return ""


def _find_declared(container: Container) -> str:
    ports = (PROGRAM_OF_PORT.get(port, "") for port in container.exposed_ports)
    mounts = (PROGRAM_OF_MOUNT.get(place, "") for place in container.mount_points)
    return next((program for program in (*ports, *mounts) if program), "")


def _find_worker_of_n8n(container: Container) -> str:
    """A worker of an image of one's own is called after n8n in some way, and has the command of one."""
    is_called = "n8n" in container.name or "n8n" in (container.service or "") or "n8n" in container.image
    return "n8n" if is_called and not _N8N_ROLES.keys().isdisjoint(read_options(container)) else ""


def _find_role(container: Container, program: str) -> Role:
    if program != "n8n":
        return role_of_program(program)
    words = read_options(container)
    if any(word.startswith(_N8N_TASKS) for word in words):
        return "helper"
    return next((role for word, role in _N8N_ROLES.items() if word in words), "n8n_main")
