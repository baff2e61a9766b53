"""redis_memory: what the data of Redis takes, and how far from the point where it refuses to take more.

The numbers are those of INFO (https://redis.io/docs/latest/commands/info/). The user needs no more than +info.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, NotApplicable, Previous, ReadError, Starting, Status
from vpsmon.core.strict_json import parse_integer
from vpsmon.core.text import format_bytes
from vpsmon.stack.locate import miss
from vpsmon.stack.redis.server import find_server, read_redis
from vpsmon.system.host import Host

ROWS = {"redis_memory": "bytes"}
METRICS = {
    "redis_memory_bytes": "Memory that the data of Redis takes (used_memory).",
    "redis_total_keys": "Keys in all databases of Redis.",
    "redis_connected_clients": "Clients that are connected to Redis, vpsmon among them.",
}
_WARNING_PERCENT = 90
_CRITICAL_PERCENT = 97


class Reading(NamedTuple):
    """What INFO tells; `run_id` is another one after each start of the server."""

    used_bytes: int
    # 0 means that there is none.
    limit_bytes: int
    policy: str
    evicted_keys: int
    keys: int
    # Keys with a time to live: the only ones that the volatile-… policies may evict.
    expiring_keys: int
    # None where INFO does not tell.
    clients: int | None
    run_id: str
    container_limit_bytes: int | None


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the numbers of INFO. Raises NotApplicable (no Redis on this machine) or ReadError."""
    try:
        info = _parse_info(str(read_redis(host, settings, [("INFO",)])[0]))
    except NotApplicable as absence:
        raise miss(absence, previous) from None
    if info.get("loading", "0") != "0":
        done, left = info.get("loading_loaded_perc", "?"), info.get("loading_eta_seconds", "?")
        raise Starting(
            f"Redis is loading its data from disk, {done} % done, about {left} s left:"
            " wait, everything that needs it waits too"
        )
    try:
        databases = [_parse_database(value) for key, value in info.items() if key[:2] == "db" and key[2:].isdecimal()]
        return Reading(
            parse_integer(info["used_memory"]),
            parse_integer(info.get("maxmemory", "0")),
            info.get("maxmemory_policy", "noeviction"),
            parse_integer(info.get("evicted_keys", "0")),
            sum(parse_integer(database["keys"]) for database in databases),
            sum(parse_integer(database.get("expires", "0")) for database in databases),
            parse_integer(info["connected_clients"]) if "connected_clients" in info else None,
            info.get("run_id", ""),
            find_server(host, settings).memory_limit_bytes,
        )
    except (KeyError, ValueError) as error:
        raise ReadError(f"the INFO of Redis is not as expected ({error}): is this really Redis?") from None


def _parse_info(text: str) -> dict[str, str]:
    """Return the fields of all sections."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key: value for key, colon, value in pairs if colon}


def _parse_database(text: str) -> dict[str, str]:
    """Return the fields of `keys=1,expires=0,avg_ttl=0`."""
    pairs = (part.partition("=") for part in text.split(","))
    return {key: value for key, _, value in pairs}


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding that is worse the nearer Redis is to refusing writes, or to being killed."""
    status: Status = "ok"
    is_clear, advice = True, None
    limit_bytes, limit_name = _find_limit(reading)
    percent = 100 * reading.used_bytes / limit_bytes if limit_bytes else 0.0
    if limit_bytes and not _can_evict(reading):
        judgement = judge_above(percent, _WARNING_PERCENT, _CRITICAL_PERCENT)
        status, is_clear = judgement.status, judgement.is_clear
        advice = "find what grows (redis-cli --bigkeys), delete it, or raise the limit"
    return [
        Finding(
            check="redis_memory",
            status=status,
            message=_compose_message(reading, status, percent, limit_bytes, limit_name, previous),
            value=reading.used_bytes,
            advice=advice,
            is_clear=is_clear,
        )
    ]


def _find_limit(reading: Reading) -> tuple[int, str]:
    if reading.limit_bytes:
        return reading.limit_bytes, "maxmemory"
    return reading.container_limit_bytes or 0, "the container's limit"


def _can_evict(reading: Reading) -> bool:
    """Whether a full Redis makes room for itself: then being full is what it is meant to be."""
    if not reading.limit_bytes or reading.policy == "noeviction":
        return False
    return not reading.policy.startswith("volatile-") or reading.expiring_keys > 0


def _compose_message(
    reading: Reading, status: Status, percent: float, limit_bytes: int, limit_name: str, previous: Previous | None
) -> str:
    clients = "" if reading.clients is None else f" for {reading.clients} client{'' if reading.clients == 1 else 's'}"
    parts = [f"{format_bytes(reading.used_bytes)} in {reading.keys} keys{clients}"]
    if limit_bytes:
        parts.append(f"{percent:.0f} % of {limit_name} ({format_bytes(limit_bytes)})")
    else:
        parts.append("no maxmemory limit")
    if reading.limit_bytes:
        parts.append(reading.policy)
    evicted_keys = _count_evictions(reading, previous)
    if evicted_keys:
        parts.append(f"{evicted_keys} keys evicted since the previous pass")
    if status != "ok":
        parts.append("it refuses writes at 100 %" if reading.limit_bytes else "the kernel kills it at 100 %")
    return ", ".join(parts)


def _count_evictions(reading: Reading, previous: Previous | None) -> int | None:
    """Return the keys evicted since the previous pass; None without one, and across a restart of Redis."""
    before = previous.memory if previous else {}
    evicted_keys = before.get("evicted_keys")
    if before.get("run_id") != reading.run_id or not isinstance(evicted_keys, int):
        return None
    return reading.evicted_keys - evicted_keys if reading.evicted_keys >= evicted_keys else None


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return memory in bytes, keys and clients."""
    return [
        MetricSample("redis_memory_bytes", reading.used_bytes),
        MetricSample("redis_total_keys", reading.keys),
        *([] if reading.clients is None else [MetricSample("redis_connected_clients", reading.clients)]),
    ]


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the counter that the next pass compares with."""
    return {"evicted_keys": reading.evicted_keys, "run_id": reading.run_id}
