"""Asking the web services of the stack: which URLs lead to a container, and an answer from the first that has one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vpsmon.core.findings import ReadError
from vpsmon.net.http_reply import HttpReply
from vpsmon.stack.docker.addresses import Address
from vpsmon.system.host import Host
from vpsmon.system.proc import is_listening

# Less than the deadline of a check, so that its own words reach the owner instead of "took too long".
_TOTAL_SECONDS = 3.5
_SHORTEST_TRY_SECONDS = 0.3


class Site(NamedTuple):
    """The base URLs of a service without a slash at the end, the likeliest first, and how they were found out."""

    urls: tuple[str, ...]
    source: str


def site_of_setting(url: str, key: str) -> Site:
    """Return the site that a key of monitor.conf names."""
    return Site((url.rstrip("/"),), f"{key} in monitor.conf")


def site_of_addresses(addresses: Sequence[Address]) -> Site:
    """Return the site of a container; there is at least one address."""
    urls = tuple(f"http://{_bracket(address.host)}:{address.port}" for address in addresses)
    return Site(urls, addresses[0].source)


def _bracket(host_name: str) -> str:
    return f"[{host_name}]" if ":" in host_name else host_name


def has_listener(host: Host, loopback: Site) -> bool:
    """Return whether anything listens on the port of a site on this machine."""
    return is_listening(host, int(loopback.urls[0].rpartition(":")[2]))


def ask(
    host: Host, site: Site, path: str, headers: Mapping[str, str], timeout_seconds: float = _TOTAL_SECONDS
) -> HttpReply:
    """Return the answer to a GET from the first URL that gives one. Raises ReadError when none does in time."""
    deadline = host.monotonic_seconds() + timeout_seconds
    error = ReadError("no answer in time")
    for url in site.urls:
        left_seconds = deadline - host.monotonic_seconds()
        if left_seconds < _SHORTEST_TRY_SECONDS:
            break
        try:
            return host.request("GET", url + path, None, headers, left_seconds)
        except ReadError as failure:
            error = ReadError(f"{url}: {failure}")
    raise error


def parse_json(body: bytes) -> Any:
    """Return the content of a JSON body. Raises ValueError for anything else, however it is broken."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
