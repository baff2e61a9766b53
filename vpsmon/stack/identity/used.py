"""Which PostgreSQL and Redis an n8n uses: what its own environment names, seen from inside its container."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.choice import list_candidates
from vpsmon.stack.identity.names import Neighbours
from vpsmon.stack.identity.roles import find_part

# Program -> the variable of n8n that names it, what people call it, the key of monitor.conf that says where it is.
_USES = {
    "postgres": ("DB_POSTGRESDB_HOST", "PostgreSQL", "POSTGRES_DSN"),
    "redis": ("QUEUE_BULL_REDIS_HOST", "Redis", "REDIS_URL"),
}


def get_host_name(n8n: Container, program: str) -> str:
    """Return the host that an n8n names for a program, "" where it names none."""
    return n8n.environment.get(_USES[program][0], "")


def find_used(containers: Sequence[Container], settings: Settings, n8n: Container, program: str) -> Container | None:
    """Return the container that the name leads to; None for this machine. Raises ReadError where it leads elsewhere."""
    name = get_host_name(n8n, program)
    _, title, key = _USES[program]
    found = Neighbours(containers).resolve(name, n8n)
    if found.is_this_host:
        return None
    alike = [each for each in found.containers if find_part(each, settings).program == program]
    candidates = alike or list(found.containers)
    running = [each for each in candidates if each.status == "running"] or candidates
    if not running:
        raise ReadError(f"n8n's {title} is at {clean(name)}, not on this machine: set {key}")
    if len(running) > 1:
        names = ", ".join(sorted(clean(each.name) for each in running)[:5])
        raise ReadError(f"n8n's {title} is at {clean(name)}, the name of several containers ({names}): set {key}")
    return running[0]


def list_used(containers: Sequence[Container], settings: Settings, program: str) -> list[Container]:
    """Return the containers of a program that the n8n of this machine name, each once."""
    return list({found.id: found for _, found in _list_pairs(containers, settings, program)}.values())


def list_users(
    containers: Sequence[Container], settings: Settings, container: Container, program: str
) -> list[Container]:
    """Return the n8n that use a container as their PostgreSQL or Redis."""
    return [n8n for n8n, found in _list_pairs(containers, settings, program) if found.id == container.id]


def _list_pairs(
    containers: Sequence[Container], settings: Settings, program: str
) -> Iterator[tuple[Container, Container]]:
    for n8n, *_ in list_candidates(containers, settings, "n8n"):
        with suppress(ReadError):
            found = find_used(containers, settings, n8n, program) if get_host_name(n8n, program) else None
            if found is not None:
                yield n8n, found
