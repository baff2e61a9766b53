"""The values of an inspect, each read from the form in which engines give it, whatever they leave out.

Format: `GET /containers/<id>/json` of the Docker Engine API. Podman before 4.3 differs in its health checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")
_PORT = re.compile(r"[0-9]{1,5}")
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 compared with, not bound to


def get_map(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object below a key; an empty one where it is missing or null."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def to_whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def parse_swap_limit(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and (value > 0 or value == -1) else None


def parse_timeout(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def parse_health(state: Mapping[str, Any]) -> str | None:
    # Podman before 4.3 calls it Healthcheck; where there is no check, engines say null, "none" or "".
    status = (get_map(state, "Health") or get_map(state, "Healthcheck")).get("Status")
    return str(status) if status and status != "none" else None


def parse_time(text: Any) -> float | None:
    """Return a time of the API in seconds since 1970; None for `0001-01-01T00:00:00Z`, which says never."""
    from datetime import datetime

    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if not match or text.startswith("0001-"):
        return None
    seconds, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(seconds + zone.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.timestamp() + float(fraction or 0)


def parse_addresses(network: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses on all networks, IPv4 first; NetworkSettings.IPAddress is empty on user networks."""
    networks = [each for each in get_map(network, "Networks").values() if isinstance(each, dict)]
    found = [each.get(key) for key in ("IPAddress", "GlobalIPv6Address") for each in networks]
    return tuple(dict.fromkeys(str(address) for address in [*found, network.get("IPAddress")] if address))


def parse_published_ports(network: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Return for each published TCP port of the container the address and port of this machine that lead there."""
    published = {}
    for name, bindings in get_map(network, "Ports").items():
        port, _, protocol = name.partition("/")
        first = bindings[0] if isinstance(bindings, list) and bindings else {}
        binding = first if isinstance(first, dict) else {}
        host_port = str(binding.get("HostPort") or "")
        if protocol == "tcp" and _PORT.fullmatch(port) and _PORT.fullmatch(host_port):
            address = str(binding.get("HostIp") or "")
            published[int(port)] = ("127.0.0.1" if address in _EVERY_ADDRESS else address, int(host_port))
    return published


def parse_environment(entries: Any) -> dict[str, str]:
    """Return the environment; an entry without `=` unsets a variable of the image."""
    pairs = (str(entry).partition("=") for entry in to_list(entries))
    return {key: value for key, separator, value in pairs if separator}


def parse_command(inspected: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the program and its arguments as they are run."""
    if inspected.get("Path"):
        words = [inspected["Path"], *to_list(inspected.get("Args"))]
    else:
        words = [*to_list(settings.get("Entrypoint")), *to_list(settings.get("Cmd"))]
    return tuple(str(word) for word in words)


def to_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def parse_networks(network: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the networks of a container, and the names and addresses by which others reach it on each.

    `DNSNames` (Docker 25 and newer) has all of them, `Aliases` before that, and in Podman, all but the name itself.
    """
    found = {}
    for name, endpoint in get_map(network, "Networks").items():
        values = endpoint if isinstance(endpoint, dict) else {}
        keys = ("Aliases", "DNSNames")
        aliases = [str(each).lower() for key in keys for each in to_list(values.get(key))]
        addresses = [str(values[key]) for key in ("IPAddress", "GlobalIPv6Address") if values.get(key)]
        found[str(name)] = tuple(dict.fromkeys([*aliases, *addresses]))
    return found


def parse_gateways(network: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses of this machine on the networks of a container."""
    endpoints = [each for each in get_map(network, "Networks").values() if isinstance(each, dict)]
    return tuple(str(each[key]) for each in endpoints for key in ("Gateway", "IPv6Gateway") if each.get(key))


def parse_ports(exposed: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the TCP ports that an image or a container declares."""
    pairs = (str(name).partition("/") for name in exposed)
    return tuple(int(port) for port, _, kind in pairs if kind in ("", "tcp") and _PORT.fullmatch(port))


def parse_mount_points(mounts: Any) -> tuple[str, ...]:
    """Return where in a container something is mounted."""
    return tuple(str(each.get("Destination") or "").rstrip("/") for each in to_list(mounts) if isinstance(each, dict))
