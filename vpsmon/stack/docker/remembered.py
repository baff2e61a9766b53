"""The containers as the last pass saw them, for a machine that thrashes: the engine takes a minute there, or is silent.

What an id stands for stays as it is: its labels, its network, how it wants to be stopped. Whether it still runs, the
kernel tells. Nothing that may hold a secret is kept: of the labels only those that vpsmon goes by, of the environment
nothing but what it was found to say: the part that the container plays, and the containers that it needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from vpsmon.core.findings import ReadError
from vpsmon.stack.docker.cgroups import read_groups
from vpsmon.stack.docker.containers import STATUSES_WITH_MEMORY, Container, parse_container
from vpsmon.stack.docker.images import (
    COMPOSE_DEPENDS_ON,
    ESSENTIAL_LABEL,
    RECOVER_LABEL,
    ROLE_LABEL,
    SWARM_SERVICE,
)
from vpsmon.system.host import Host

_KEPT: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "name": (str,),
    "service": (str, type(None)),
    "project": (str, type(None)),
    "image": (str,),
    "labels": (dict,),
    "status": (str,),
    "pid": (int,),
    "network_mode": (str,),
    "is_for_one_task": (bool,),
    "stop_timeout_seconds": (int, type(None)),
    "stop_signal": (str,),
    "networks": (dict,),
    "gateways": (list, tuple),
    "links": (list, tuple),
    "extra_hosts": (list, tuple),
    "inspect_error": (str, type(None)),
}
_KEPT_LABELS = (ESSENTIAL_LABEL, RECOVER_LABEL, ROLE_LABEL, SWARM_SERVICE, COMPOSE_DEPENDS_ON)
_LONGEST_LABEL_CHARACTERS = 1000


def to_memory(containers: Iterable[Container]) -> list[dict[str, Any]]:
    """Return what is to be remembered of containers."""
    return [
        {name: getattr(each, name) for name in _KEPT}
        | {"labels": {key: each.labels[key][:_LONGEST_LABEL_CHARACTERS] for key in _KEPT_LABELS if key in each.labels}}
        | {"known_role": each.known_role, "known_needs": None if each.inspect_error else dict(each.known_needs or {})}
        for each in containers
    ]


def from_memory(records: Any) -> list[Container]:
    """Return the containers that were remembered, all or none.

    Where one is of another form, as an earlier version wrote it, what it needed is not known: the engine is asked.
    """
    nothing = parse_container({})
    if not isinstance(records, list) or not all(map(_is_whole, records)):
        return []
    kept = (*_KEPT, "known_role", "known_needs")
    return [nothing._replace(**{name: record[name] for name in kept}) for record in records]


def _is_whole(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    if not all(name in record and isinstance(record[name], kinds) for name, kinds in _KEPT.items()):
        return False
    has_needs = record["inspect_error"] or isinstance(record.get("known_needs"), dict)
    has_part = isinstance(record.get("known_role"), str) and "known_needs" in record
    return bool(has_needs) and has_part and all(isinstance(each, str) for each in record["labels"].values())


def update(host: Host, known: Sequence[Container]) -> list[Container]:
    """Return the containers as the kernel has them now: one that ran and has no process any more is exited."""
    return [_update(host, each) if each.status in STATUSES_WITH_MEMORY else each for each in known]


def _update(host: Host, container: Container) -> Container:
    if is_in_container(host, container.pid, container.id):
        return container
    pid = _find_first_process(host, container.id)
    return container._replace(pid=pid) if pid else container._replace(status="exited", pid=0)


def is_in_container(host: Host, pid: int, container_id: str) -> bool:
    """Return whether a process is there, and one of a container."""
    try:
        return bool(read_groups(host, container_id, pid))
    except ReadError:
        return False


def _find_first_process(host: Host, container_id: str) -> int | None:
    """Return the process that has number 1 in the container: it was restarted since. None where nothing runs in it."""
    try:
        return next(
            (
                pid
                for pid in sorted(host.list_process_ids())
                if is_in_container(host, pid, container_id) and _is_first(host, pid)
            ),
            None,
        )
    except OSError:
        return None


def _is_first(host: Host, pid: int) -> bool:
    """Return whether a process is the first of its namespace: the last number of NSpid (proc_pid_status(5))."""
    try:
        status = host.read_file(os.path.join(host.proc, str(pid), "status"))
    except OSError:
        return False
    numbers = next((line.split() for line in status.splitlines() if line.startswith("NSpid:")), [])
    return numbers[-1:] == ["1"]
