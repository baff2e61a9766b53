"""Asking the web services of the stack: which URLs lead to a container, and an answer from the first that has one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vpsmon.net.http_client import request
from vpsmon.net.http_reply import LARGEST_REPLY_BYTES, HttpReply, RequestFailed
from vpsmon.stack.docker.addresses import Address
from vpsmon.system.host import Host
from vpsmon.system.proc import is_listening

# Less than the deadline of a check, so that its own words reach the owner instead of "took too long".
_TOTAL_SECONDS = 3.5
_SHORTEST_TRY_SECONDS = 0.3
# For a connection to an address of this machine, even on one that is busy.
_REACH_SECONDS = 1.0


class Site(NamedTuple):
    """The base URLs of a service without a slash at the end, the likeliest first, and how they were found out."""

    urls: tuple[str, ...]
    source: str


def site_of_setting(url: str, key: str) -> Site:
    """Return the site that a key of monitor.conf names."""
    return Site((url.rstrip("/"),), f"{key} in monitor.conf")


def site_of_addresses(addresses: Sequence[Address], scheme: str = "http") -> Site:
    """Return the site of a container; there is at least one address."""
    urls = tuple(f"{scheme}://{_bracket(address.host)}:{address.port}" for address in addresses)
    return Site(urls, addresses[0].source)


def _bracket(host_name: str) -> str:
    return f"[{host_name}]" if ":" in host_name else host_name


def has_listener(host: Host, loopback: Site) -> bool:
    """Return whether anything listens on the port of a site on this machine."""
    return is_listening(host, int(loopback.urls[0].rpartition(":")[2]))


def make_key_header(name: str, key: str, source: str) -> dict[str, str]:
    """Return the header that carries a key; none without a key.

    Raises RequestFailed, which names the source, for a key that no header can carry: the service never sees it.
    """
    if not key:
        return {}
    if key != key.strip() or not key.isprintable():
        fault = "has a blank or a line break at its end or inside: has the file Windows line ends?"
    elif any(character > "\xff" for character in key):
        fault = "holds a character that no key has: is it copied right?"
    else:
        return {name: key}
    raise RequestFailed(f"the key from {source} {fault}", "unusable")


def ask(
    host: Host,
    site: Site,
    path: str,
    headers: Mapping[str, str],
    timeout_seconds: float = _TOTAL_SECONDS,
    largest_bytes: int = LARGEST_REPLY_BYTES,
) -> HttpReply:
    """Return the answer to a GET from the first URL that gives one. Raises RequestFailed when none does in time."""
    deadline = host.monotonic_seconds() + timeout_seconds
    failure = RequestFailed("no answer in time", "not_sent")
    for url in order_urls(host, site):
        left_seconds = deadline - host.monotonic_seconds()
        if left_seconds < _SHORTEST_TRY_SECONDS:
            break
        try:
            return request("GET", url + path, None, headers, left_seconds, largest_bytes=largest_bytes)
        except RequestFailed as error:
            failure = RequestFailed(f"{url}: {error}", error.cause)
            if error.is_on_this_side:
                break
    raise failure


def order_urls(host: Host, site: Site) -> tuple[str, ...]:
    """Return the URLs of a site, those first whose address takes a connection; the others stay as they are.

    The own address of a container may swallow every packet (a rootless engine, macvlan) while its published port
    works: without this, it would take all the time there is.
    """
    if len(site.urls) == 1:
        return site.urls
    return host.once(f"order of {site.urls}", lambda: _order_urls(site.urls))


def _order_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    from vpsmon.net.connection import find_first

    places = [_find_place(url) for url in urls]
    try:
        reached = places[find_first(places, time.monotonic() + _REACH_SECONDS)]
    except (OSError, ValueError):
        return urls
    return tuple(sorted(urls, key=lambda url: _find_place(url) != reached))


def _find_place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def parse_json(body: bytes) -> Any:
    """Return the content of a JSON body. Raises ValueError for anything else, however it is broken."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
