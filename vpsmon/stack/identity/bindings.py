"""Which containers a container needs: what its environment names, `depends_on`, the network that it lives in.

Variables are those of the programs' manuals; any other that ends as an address does and names a container counts as
well. Only host names are taken out of values: they may hold passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.docker.images import COMPOSE_DEPENDS_ON
from vpsmon.stack.identity.names import Neighbours
from vpsmon.stack.identity.roles import Part, find_part, to_known_role

# How a need is known: another container's address in the environment, compose's depends_on, a network that is shared,
# or that it takes the jobs of a queue.
NeedKind = Literal["address", "depends_on", "network", "worker"]

_ENDINGS = (
    "_HOST",
    "_HOSTNAME",
    "_SERVER",
    "_ADDR",
    "_ADDRESS",
    "_ENDPOINT",
    "_URL",
    "_URI",
    "_DSN",
    "_HOSTS",
    "_NODES",
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,252})")
_LONGEST_VALUE_CHARACTERS = 2000
_MOST_VARIABLES = 500
_MOST_HOSTS = 8


class Need(NamedTuple):
    """A container that another one needs, and how that is known."""

    container: Container
    kind: NeedKind


def list_named_hosts(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that look like an address, each with a host name in it."""
    for variable, value in list(environment.items())[:_MOST_VARIABLES]:
        is_url = "://" in value
        if len(value) <= _LONGEST_VALUE_CHARACTERS and (is_url or variable.upper().endswith(_ENDINGS)):
            for host in find_hosts(value):
                yield variable, host


def find_hosts(value: str) -> list[str]:
    """Return the host names in a value: of a URL, or of a list of `host:port`."""
    _, _, rest = value.rpartition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    entries = authority.split(",")[:_MOST_HOSTS]
    hosts = (each.strip()[1:].partition("]")[0] if each.strip().startswith("[") else each.strip() for each in entries)
    names = (host if host.count(":") > 1 else host.partition(":")[0] for host in hosts)
    return [name for name in names if _HOST.fullmatch(name) or ":" in name]


class Bindings:
    """What the containers of a machine need of each other."""

    def __init__(self, neighbours: Neighbours, settings: Settings) -> None:
        self.neighbours = neighbours
        self._settings = settings
        self._parts: dict[str, Part] = {}
        self._needs: dict[str, tuple[Need, ...]] = {}

    def part_of(self, container: Container) -> Part:
        """Return the part that a container plays."""
        key = key_of(container)
        if key not in self._parts:
            self._parts[key] = find_part(container, self._settings)
        return self._parts[key]

    def needs_of(self, container: Container) -> tuple[Need, ...]:
        """Return what a container itself needs, each container once, not what that needs in turn."""
        key = key_of(container)
        if key not in self._needs:
            found: dict[str, Need] = {}
            for need in self._list_needs(container):
                if need.container is not container:
                    found.setdefault(key_of(need.container), need)
            self._needs[key] = tuple(found.values())
        return self._needs[key]

    def _list_needs(self, container: Container) -> Iterator[Need]:
        if container.known_needs is not None:
            yield from self._recall_needs(container.known_needs)
            return
        owner = self.neighbours.find_network_owner(container)
        if owner is not container:
            yield Need(owner, "network")
        for _, host in list_named_hosts(container.environment):
            for each in self.neighbours.resolve(host, container).containers:
                yield Need(each, "address")
        yield from self._list_depended_on(container)
        if self.part_of(container).role == "n8n_main":
            yield from (Need(each, "worker") for each in self.workers_of(container))

    def _recall_needs(self, known: Mapping[str, str]) -> Iterator[Need]:
        kinds: tuple[NeedKind, ...] = ("address", "depends_on", "network", "worker")
        for container in self.neighbours.containers:
            kind = next((each for each in kinds if each == known.get(container.id)), None)
            if kind:
                yield Need(container, kind)

    def _list_depended_on(self, container: Container) -> Iterator[Need]:
        """Compose writes `db:service_healthy:true,cache:service_started:false`."""
        label = container.labels.get(COMPOSE_DEPENDS_ON, "")[:_LONGEST_VALUE_CHARACTERS]
        services = {entry.partition(":")[0].strip() for entry in label.split(",")} - {""}
        if services and container.project:
            for each in self.neighbours.containers:
                if each.project == container.project and each.service in services and not each.is_for_one_task:
                    yield Need(each, "depends_on")

    def workers_of(self, main: Container) -> list[Container]:
        """Return the workers and webhook processors that take jobs from the queue of an n8n."""
        return [
            each
            for each in self.neighbours.containers
            if self.part_of(each).role in ("n8n_worker", "n8n_webhook") and self._shares_queue(main, each)
        ]

    def _shares_queue(self, main: Container, worker: Container) -> bool:
        """Where an environment does not tell, those of one project belong together."""
        queues = (self._find_queue(main), self._find_queue(worker))
        return queues[0] == queues[1] if all(queues) else main.project == worker.project

    def _find_queue(self, container: Container) -> tuple[str, ...]:
        """Return what tells the queue of an n8n from another one: its Redis, database and prefix; () where unknown."""
        environment = container.environment
        host = environment.get("QUEUE_BULL_REDIS_HOST") or ""
        if not host:
            return ()
        found = self.neighbours.resolve(host, container)
        servers = sorted(key_of(each) for each in found.containers)
        place = ",".join(servers) if servers else "this host" if found.is_this_host else host.lower()
        port = "" if servers else environment.get("QUEUE_BULL_REDIS_PORT") or "6379"
        number, prefix = environment.get("QUEUE_BULL_REDIS_DB") or "0", environment.get("QUEUE_BULL_PREFIX") or "bull"
        return (place, port, number, prefix)


def note_parts(containers: Sequence[Container], settings: Settings) -> list[Container]:
    """Return the containers with what was found out of each, for when only that is remembered: its part, its needs."""
    bindings = Bindings(Neighbours(containers), settings)
    return [
        each._replace(
            known_role=to_known_role(each, settings),
            known_needs={need.container.id: need.kind for need in bindings.needs_of(each)},
        )
        for each in containers
    ]


def key_of(container: Container) -> str:
    """Return what tells containers of one machine apart."""
    return container.id or container.name
