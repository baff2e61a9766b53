"""Where a service of the stack is: in its container, or on this host."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, Previous, ReadError
from vpsmon.core.text import clean, format_duration
from vpsmon.stack.docker.addresses import Address, find_addresses
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.identity.choice import Choice, choose
from vpsmon.stack.identity.roles import PROGRAM_OF_KEY, is_named
from vpsmon.stack.identity.used import list_used
from vpsmon.system.host import Host

# A service on this host that is gone looks like one that never was; for this long it is missed.
_MISSED_SECONDS = 86_400


class Ambiguous(ReadError):
    """More than one container could be meant; the text names them and the key to set."""


class Place(NamedTuple):
    """The container of a service and its addresses; without a container, why there is none (for when this host has
    none either)."""

    container: Container | None
    addresses: tuple[Address, ...]
    absence: NotApplicable | ReadError | None


def find_choice(host: Host, settings: Settings, container_key: str) -> Choice:
    """Return the container that plays the part of a setting, running or not. Raises NotApplicable, ReadError."""
    return choose(host, read_containers(host, settings), settings, PROGRAM_OF_KEY[container_key])


def locate(
    host: Host, settings: Settings, container_key: str, address_key: str, find_port: Callable[[Container], int]
) -> Place:
    """Return where the service is whose container the setting `container_key` names, or that is the only one.

    Raises ReadError when the container is there but cannot be reached; the remedy names the setting `address_key`.
    """
    try:
        choice = find_choice(host, settings, container_key)
    except (NotApplicable, ReadError) as error:
        return Place(None, (), type(error)(str(error), f"set {address_key}"))
    container = choice.container
    if choice.others and choice.doubt:
        container = _pick_usual(host, settings, choice, container_key)
        if container is None:
            raise Ambiguous(f"it could be {choice.doubt}")
    if container is None:
        name = getattr(settings, container_key)
        text = f"no container or compose service is called {clean(name)}, or has its image"
        return Place(None, (), NotApplicable(f"{text}: set {container_key} or {address_key}"))
    return Place(container, reach(host, settings, container, find_port(container), address_key), None)


def reach(host: Host, settings: Settings, container: Container, port: int, address_key: str) -> tuple[Address, ...]:
    """Return where a port of a container can be reached. Raises ReadError where it cannot."""
    shown = clean(container.name)
    if container.status != "running":
        raise ReadError(f"its container {shown} is {container.status}: docker logs {shown} says why")
    addresses = find_addresses(read_containers(host, settings), container, port)
    if not addresses:
        raise ReadError(f"its container {shown} has no address that this machine can reach: set {address_key}")
    return tuple(addresses)


def _pick_usual(host: Host, settings: Settings, choice: Choice, container_key: str) -> Container | None:
    """Return which of several servers is meant: the one that n8n uses, else the one of the usual name.

    No key of monitor.conf goes to a server, only what its own container says: a wrong guess costs a wrong row.
    """
    program = PROGRAM_OF_KEY[container_key]
    if program not in ("postgres", "redis"):
        return None
    candidates = [each for each in (choice.container, *choice.others) if each is not None]
    ids = {each.id for each in list_used(read_containers(host, settings), settings, program)}
    bound = [each for each in candidates if each.id in ids]
    usual = [each for each in candidates if is_named(each, getattr(settings, container_key))]
    return next((found[0] for found in (bound, usual) if len(found) == 1), None)


def miss(absence: NotApplicable, previous: Previous | None) -> NotApplicable | ReadError:
    """Return the absence as it is, or as an error where the service answered within the last day."""
    if previous is None or not previous.memory or previous.elapsed_seconds > _MISSED_SECONDS:
        return absence
    return ReadError(f"it answered {format_duration(previous.elapsed_seconds)} ago and is gone: {absence}")
