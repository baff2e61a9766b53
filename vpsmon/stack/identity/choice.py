"""Which container is meant: the one that a key of monitor.conf names, the only one there is, or the one of before.

A container is known by its project, its service and the repository of its image; where it stands in no project, by its
name. Several of one service are one. What was chosen is remembered, so that a stranger that comes later changes
nothing, and another one behind the same name is noticed before a secret goes to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vpsmon.config.settings import Preset, Settings
from vpsmon.core.text import clean
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.docker.images import SWARM_SERVICE
from vpsmon.stack.identity.images import parse_repository
from vpsmon.stack.identity.known import recall_known
from vpsmon.stack.identity.roles import KEY_OF_PROGRAM, find_part, is_named
from vpsmon.system.host import Host

# Who hears that another container plays a part has this long to object before it gets a key.
NOTICE_SECONDS = 600.0
_CHOSEN = "chosen"
_UP = ("running", "restarting", "paused")
_ROLES = ("n8n_main", "waha", "database", "cache")


class Identity(NamedTuple):
    """What tells a container from others over its lives; the name counts only where there is no service."""

    project: str
    service: str
    repository: str
    name: str


class Choice(NamedTuple):
    """The container that plays a part, and the others that could; `doubt` says why no key may go to it, "" for none."""

    container: Container | None = None
    others: tuple[Container, ...] = ()
    doubt: str = ""
    # The container is another one than before, and this was not known long enough.
    is_new: bool = False


def identify(container: Container) -> Identity:
    """Return the identity of a container."""
    service = container.service or ""
    name = "" if service else container.name
    return Identity(container.project or "", service, parse_repository(container.image), name)


_NOT_INSPECTED = "Docker could not inspect it in this pass"


def find_replaced_tasks(containers: Sequence[Container]) -> set[str]:
    """Return the ids of the tasks of a swarm that do not run, and whose service has made another one since."""
    latest: dict[str, float] = {}
    for each in containers:
        service = each.labels.get(SWARM_SERVICE, "")
        latest[service] = max(latest.get(service, 0.0), each.created_wall_seconds or 0.0)
    return {
        each.id
        for each in containers
        if each.status not in _UP
        and SWARM_SERVICE in each.labels
        and (each.created_wall_seconds or 0.0) < latest[each.labels[SWARM_SERVICE]]
    }


def list_candidates(containers: Sequence[Container], settings: Settings, program: str) -> list[list[Container]]:
    """Return the containers that play the part of a program, those of one identity together, running ones first."""
    groups: dict[Identity, list[Container]] = {}
    replaced = find_replaced_tasks(containers)
    for each in containers:
        part = find_part(each, settings)
        if part.program == program and part.role in _ROLES and not each.is_for_one_task and each.id not in replaced:
            groups.setdefault(identify(each), []).append(each)
    ordered = [sorted(group, key=lambda each: (each.status not in _UP, each.name)) for group in groups.values()]
    return sorted(ordered, key=lambda group: (group[0].status not in _UP, group[0].name))


def choose(host: Host, containers: Sequence[Container], settings: Settings, program: str) -> Choice:
    """Return the container that is meant where one of a program is wanted, and whether a key may go to it."""
    groups = list_candidates(containers, settings, program)
    record = recall_known(host, _CHOSEN).get(program)
    known = _parse_identity(record)
    key = KEY_OF_PROGRAM[program]
    name = getattr(settings, key)
    if not isinstance(name, Preset):
        groups = _find_named(containers, groups, name)
    elif known is not None and any(identify(group[0]) == known for group in groups):
        groups.sort(key=lambda group: identify(group[0]) != known)
        if groups[0][0].inspect_error:
            return Choice(groups[0][0], tuple(group[0] for group in groups[1:]), _NOT_INSPECTED)
        return Choice(groups[0][0], tuple(group[0] for group in groups[1:]))
    if not groups:
        return Choice()
    if len(groups) > 1:
        return Choice(groups[0][0], tuple(group[0] for group in groups[1:]), _describe_doubt(groups, key))
    if groups[0][0].inspect_error:
        # Its labels may be those of its image, which anybody can write: nothing is sent to it, or remembered of it.
        return Choice(groups[0][0], doubt=_NOT_INSPECTED)
    return _confirm(host, groups[0][0], program, known, record)


def find_only(containers: Sequence[Container], settings: Settings, program: str) -> Container | None:
    """Return the container that is meant where nothing is remembered: the named or the only one, else None."""
    groups = list_candidates(containers, settings, program)
    name = getattr(settings, KEY_OF_PROGRAM[program])
    if not isinstance(name, Preset):
        groups = _find_named(containers, groups, name)
    return groups[0][0] if len(groups) == 1 else None


def _find_named(containers: Sequence[Container], groups: list[list[Container]], name: str) -> list[list[Container]]:
    """Return those of a name; the name of a container itself is that of one only."""
    exact = [each for each in containers if each.name == name]
    if exact:
        return [exact]
    return [group for group in groups if any(is_named(each, name) for each in group)]


def _describe_doubt(groups: list[list[Container]], key: str) -> str:
    names = [clean(group[0].name) for group in groups[:5]]
    more = f" and {len(groups) - len(names)} more" if len(groups) > len(names) else ""
    return f"{', '.join(names[:-1])} or {names[-1]}{more}: set {key} to the name of the one that is meant"


def _confirm(host: Host, container: Container, program: str, known: Identity | None, record: Any) -> Choice:
    """Return the only candidate, and remember it; one that has replaced another is not trusted before its time."""
    identity = identify(container)
    choices = recall_known(host, _CHOSEN)
    if known is None or known == identity:
        choices[program] = {"identity": list(identity)}
        return Choice(container)
    now = host.wall_seconds()
    since = _find_notice(record, identity, now)
    if now - since >= NOTICE_SECONDS:
        choices[program] = {"identity": list(identity)}
        return Choice(container)
    choices[program] = {"identity": list(known), "next": list(identity), "since": since}
    return Choice(container, doubt=_describe_change(known, identity), is_new=True)


def _find_notice(record: Any, identity: Identity, now: float) -> float:
    """Return since when the new one is known; a time in the future counts as now."""
    if isinstance(record, Mapping) and record.get("next") == list(identity):
        since = record.get("since")
        return min(float(since), now) if isinstance(since, (int, float)) else now
    return now


def _describe_change(before: Identity, now: Identity) -> str:
    return f"it is now {_describe(now)}, and was {_describe(before)} before"


def _describe(identity: Identity) -> str:
    where = f"{identity.project}/{identity.service}" if identity.project else identity.service or identity.name
    return clean(f"{where} ({identity.repository or 'image without a name'})", 120)


def _parse_identity(record: Any) -> Identity | None:
    values = record.get("identity") if isinstance(record, Mapping) else None
    is_whole = isinstance(values, list) and len(values) == 4 and all(isinstance(each, str) for each in values)
    return Identity(*values) if is_whole and isinstance(values, list) else None
