"""postgres_cache_hit, postgres_connections, postgres_size: how PostgreSQL lives with the memory it has.

The numbers are those of https://www.postgresql.org/docs/current/monitoring-stats.html, of the whole server. Any role
may read them; one without pg_monitor (pg_read_all_stats) does not see what others do, nor the size of databases that
it may not connect to. PostgreSQL 10 or newer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, NotApplicable, Previous, ReadError, Status, ok
from vpsmon.core.text import format_bytes
from vpsmon.stack.locate import miss
from vpsmon.stack.postgres.refusals import NoFreeSlot
from vpsmon.stack.postgres.server import read_rows
from vpsmon.system.host import Host

ROWS = {"postgres_cache_hit": "percent", "postgres_connections": "connections", "postgres_size": "bytes"}
METRICS = {
    "postgres_cache_hit_ratio": "Blocks found in memory, in percent, since the export before; of the time since the"
    " statistics began where too few were read in between to tell.",
    "postgres_active_connections": "Connections that run a query at this moment.",
    "postgres_database_size_bytes": "Size of all databases that vpsmon may see.",
    "vpsmon_postgres_blocks_total": "Blocks that were found in memory (hit) or had to be read (read).",
}
# Below this a ratio is an accident: a pass of vpsmon alone reads some 450 blocks of the catalogue.
_MIN_BLOCKS = 1000
_CONNECTIONS_WARNING_PERCENT = 80
_CONNECTIONS_CRITICAL_PERCENT = 95
_FEWER_CONNECTIONS = (
    "see who holds them (SELECT * FROM pg_stat_activity); lower the pool sizes (n8n: DB_POSTGRESDB_POOL_SIZE) or raise"
    " max_connections"
)

# Client backends are what max_connections counts. A role without rights sees no backend_type of others, but for clients
# it sees user and database. stats_reset is one for each database: the latest one tells that any was reset. The function
# and not the view pg_stat_activity, which looks up names at the price of 250 blocks of the catalogue.
_STATISTICS = """
select sum(blks_hit)::bigint, sum(blks_read)::bigint, pg_postmaster_start_time()::text, max(stats_reset)::text,
    (select array[
        count(*) filter (where coalesce(backend_type, 'client backend') = 'client backend'),
        count(*) filter (where backend_type = 'client backend' and state = 'active')
    ] from pg_stat_get_activity(null) where datid is not null and usesysid is not null),
    pg_has_role('pg_read_all_stats', 'USAGE'),
    current_setting('max_connections')::int,
    current_setting('superuser_reserved_connections')::int,
    coalesce(current_setting('reserved_connections', true), '0')::int
from pg_stat_database
"""
# Apart from the other numbers: it reads the sizes of all files, which on an overloaded disk takes longer than allowed.
_SIZE = """
select sum(pg_database_size(oid))::bigint, count(*), (select count(*) from pg_database)
from pg_database
where has_database_privilege(oid, 'CONNECT') or pg_has_role('pg_read_all_stats', 'USAGE')
"""


class Statistics(NamedTuple):
    """Counters since `counted_since` (start of the server and reset of its statistics), and connections now."""

    hit_blocks: int
    read_blocks: int
    counted_since: str
    connections: int
    # Running a query at this moment; None where the role may not know.
    active_connections: int | None
    max_connections: int
    reserved_connections: int

    @property
    def lifetime_hit_percent(self) -> float | None:
        """Blocks found in memory, in percent of all since the statistics began; None where there were none."""
        return _compute_hit_percent(self.hit_blocks, self.read_blocks)


class Size(NamedTuple):
    """Size of the databases that the role may see."""

    size_bytes: int
    seen_databases: int
    all_databases: int


class Reading(NamedTuple):
    """What the server told; `statistics` is None when it had no connection slot left for us."""

    statistics: Statistics | None
    size: Size | None
    size_failure: str | None


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the statistics and the size. Raises NotApplicable (no PostgreSQL here) or ReadError."""
    try:
        statistics = _parse_statistics(*read_rows(host, settings, _STATISTICS)[0])
    except NoFreeSlot as error:
        return Reading(None, None, str(error))
    except NotApplicable as absence:
        raise miss(absence, previous) from None
    try:
        return Reading(statistics, Size(*read_rows(host, settings, _SIZE)[0]), None)
    except ReadError as error:
        return Reading(statistics, None, str(error))


def _parse_statistics(
    hit_blocks: int,
    read_blocks: int,
    started: str,
    last_reset: str | None,
    connections: list[int],
    sees_all: bool,
    max_connections: int,
    *reserved: int,
) -> Statistics:
    used, active = connections
    since = f"{started}, {last_reset}"
    active_or_none = active if sees_all else None
    return Statistics(hit_blocks, read_blocks, since, used, active_or_none, max_connections, sum(reserved))


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return the hit ratio since the previous pass, the share of connections in use, and the size."""
    statistics = reading.statistics
    if statistics is None:
        return [
            _without_value("postgres_cache_hit", "unknown", "cannot be read", "all connection slots are taken"),
            _judge_no_free_slot(),
            _judge_size(reading),
        ]
    return [_judge_cache_hit(statistics, settings, previous), _judge_connections(statistics), _judge_size(reading)]


def _without_value(check: str, status: Status, message: str, reason: str | None) -> Finding:
    return Finding(check=check, status=status, message=message, reason=reason)


def _judge_cache_hit(statistics: Statistics, settings: Settings, previous: Previous | None) -> Finding:
    hit_and_read = _compute_blocks(statistics, previous)
    if isinstance(hit_and_read, str):
        return _without_value("postgres_cache_hit", "skipped", "no ratio in this pass", hit_and_read)
    percent = _compute_hit_percent(*hit_and_read) or 0.0
    warning, critical = settings.POSTGRES_CACHE_THRESHOLD, settings.POSTGRES_CACHE_CRITICAL
    # Judged as misses: a tenth more than a limit of 95 % hits would be a margin that nobody can reach.
    judgement = judge_above(100 - percent, 100 - warning, 100 - critical)
    message = f"{percent:.1f} % of {sum(hit_and_read)} blocks came from memory since the previous pass"
    if judgement.status != "ok":
        message += f", {judgement.status} below {100 - judgement.limit:g} %"
    return Finding(
        check="postgres_cache_hit",
        status=judgement.status,
        message=message,
        value=round(percent, 2),
        advice="a large query reads from the disk, or shared_buffers is too small: pg_stat_activity shows what runs",
        is_clear=judgement.is_clear,
    )


def _compute_blocks(statistics: Statistics, previous: Previous | None) -> tuple[int, int] | str:
    """Return the blocks hit and read since the previous pass, or why there is no telling."""
    before = previous.memory if previous else {}
    old_hit, old_read = before.get("hit_blocks"), before.get("read_blocks")
    if not isinstance(old_hit, int) or not isinstance(old_read, int):
        return "the ratio compares with the pass before, and there is none"
    hit, read = statistics.hit_blocks - old_hit, statistics.read_blocks - old_read
    if before.get("counted_since") != statistics.counted_since or hit < 0 or read < 0:
        return "the server was restarted or its statistics were reset since the previous pass"
    if hit + read < _MIN_BLOCKS:
        return f"only {hit + read} blocks were read since the previous pass; a ratio needs {_MIN_BLOCKS}"
    return hit, read


def _compute_hit_percent(hit_blocks: int, read_blocks: int) -> float | None:
    total = hit_blocks + read_blocks
    return 100 * hit_blocks / total if total else None


def _judge_connections(statistics: Statistics) -> Finding:
    used, most = statistics.connections, statistics.max_connections
    judgement = judge_above(100 * used / most, _CONNECTIONS_WARNING_PERCENT, _CONNECTIONS_CRITICAL_PERCENT)
    status: Status = judgement.status
    message = f"{used} of {most} connections in use"
    if statistics.active_connections is not None:
        message += f", {statistics.active_connections} of them running a query"
    # Ours is among them, perhaps on a slot that only superusers get.
    if used - 1 >= most - statistics.reserved_connections:
        status = "critical"
        message += "; the rest is reserved for superusers, applications are refused now"
    return Finding(
        check="postgres_connections",
        status=status,
        message=message,
        value=used,
        advice=_FEWER_CONNECTIONS,
        is_clear=judgement.is_clear and status == "ok",
    )


def _judge_no_free_slot() -> Finding:
    return Finding(
        check="postgres_connections",
        status="critical",
        message="all connection slots are taken: applications are refused now",
        advice=_FEWER_CONNECTIONS,
        is_clear=False,
    )


def _judge_size(reading: Reading) -> Finding:
    size = reading.size
    if size is None:
        return _without_value("postgres_size", "unknown", "cannot be read", reading.size_failure)
    message = f"{format_bytes(size.size_bytes)} in {size.seen_databases} databases"
    if size.seen_databases < size.all_databases:
        message += f" of {size.all_databases}; GRANT pg_monitor lets vpsmon see the others"
    return ok("postgres_size", message, value=size.size_bytes)


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the hit ratio in percent, the active connections, the size in bytes, and the counters behind the ratio."""
    statistics, size = reading.statistics, reading.size
    samples = [] if size is None else [MetricSample("postgres_database_size_bytes", size.size_bytes)]
    if statistics is None:
        return samples
    blocks = _compute_blocks(statistics, previous)
    percent = statistics.lifetime_hit_percent if isinstance(blocks, str) else _compute_hit_percent(*blocks)
    optional = {
        "postgres_cache_hit_ratio": percent,
        "postgres_active_connections": statistics.active_connections,
    }
    samples += [MetricSample(name, value) for name, value in optional.items() if value is not None]
    return [
        *samples,
        MetricSample("vpsmon_postgres_blocks_total", statistics.hit_blocks, (("source", "hit"),)),
        MetricSample("vpsmon_postgres_blocks_total", statistics.read_blocks, (("source", "read"),)),
    ]


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the counters that the next pass compares with."""
    statistics = reading.statistics
    if statistics is None:
        return previous.memory if previous else {}
    return {
        "hit_blocks": statistics.hit_blocks,
        "read_blocks": statistics.read_blocks,
        "counted_since": statistics.counted_since,
    }
