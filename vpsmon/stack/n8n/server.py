"""n8n: where it is, whether it is healthy, how long its queue is and how its executions end.

Facts are those of n8n 1.123 and 2.40. Queue mode keeps its jobs in Redis with Bull 4 (not BullMQ), in keys named
`<prefix>:jobs:…`: the lists wait, paused and active, the sorted set delayed, a hash for each job, and for each job that
a worker holds a lock that lives 60 s. `priority` holds the jobs of wait once more; completed and failed stay empty, so
how executions end is told by PostgreSQL alone. A queue of regular mode is executions of status `new` in PostgreSQL.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.config.settings import DEFAULTS, Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.stack.command_line import to_port
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.choice import Choice
from vpsmon.stack.locate import find_choice, locate, reach
from vpsmon.stack.n8n.bound import find_database, find_redis
from vpsmon.stack.postgres.server import read_tables
from vpsmon.stack.postgres.session import QueryError
from vpsmon.stack.presence import N8N_PORT
from vpsmon.stack.redis.server import read_redis
from vpsmon.stack.web import Site, ask, has_listener, parse_json, site_of_addresses, site_of_setting
from vpsmon.system.host import Host

_PORT = N8N_PORT
_ANOTHER_IS_MEANT = "N8N_CONTAINER names another n8n"
LOOPBACK = Site((f"http://127.0.0.1:{_PORT}",), f"port {_PORT} of this machine")
# A worker takes the next job at once, and after its start within seconds.
_DEAD_AFTER_SECONDS = 180.0
_PROBE_SECONDS = 1.0
# More than any number of workers on a small server runs at once (10 each by default).
_MOST_ACTIVE_LOOKED_AT = 200
_IN_SQLITE = (
    "n8n keeps its executions in SQLite inside its container, where they cannot be counted from outside: "
    "they can with PostgreSQL (DB_TYPE=postgresdb)"
)
# What is going on now, and what ended in the last hour: with the index on "stoppedAt" its cost does not grow.
_QUERY = """
select status, count(*), min(id), extract(epoch from now() - min("createdAt"))::float8
from {0} where "deletedAt" is null
and (status in ('new', 'running', 'waiting') or "stoppedAt" > now() - interval '1 hour') group by status
"""


class N8n(NamedTuple):
    """An n8n; without a site its container is not running, and `absence` says so. Its environment holds secrets."""

    site: Site | None
    absence: str
    container: Container | None
    # Why no key of monitor.conf may go to it; "" where one may.
    doubt: str = ""
    # Why a key waits that would go to it: it is another container than before.
    change: str = ""
    # What tells it from others on this machine; "" where it is the only one.
    name: str = ""

    def get(self, variable: str) -> str:
        """Return a variable of its environment; empty where it is not set or not known."""
        return (self.container.environment.get(variable) or "") if self.container else ""

    def __repr__(self) -> str:
        return f"<n8n {describe_n8n(self)}>"


class Queue(NamedTuple):
    """Jobs that wait and that are run; `oldest` is the id of the job that is next, "" where none waits."""

    is_redis: bool
    waiting: int
    running: int
    oldest: str
    oldest_seconds: float | None


def is_worker_dead(queue: Queue, stuck_seconds: float) -> bool:
    """Return whether nobody takes the jobs of a queue in which the same one has been next for so long."""
    return queue.is_redis and queue.running == 0 and stuck_seconds >= _DEAD_AFTER_SECONDS


def find_n8n(host: Host, settings: Settings, was_on_loopback: bool = False) -> N8n:
    """Return the n8n that is meant, the first of `list_n8n`. Raises NotApplicable, ReadError."""
    return list_n8n(host, settings, was_on_loopback)[0]


def list_n8n(host: Host, settings: Settings, was_on_loopback: bool = False) -> list[N8n]:
    """Return every n8n of this machine, looked for once a pass; the one that is meant comes first.

    One on the machine itself is known by its answer; with `was_on_loopback` it need not answer now. Raises
    NotApplicable (there is none) or ReadError (Docker is in trouble).
    """
    return host.once("n8n", lambda: _list_n8n(host, settings, was_on_loopback))


def _list_n8n(host: Host, settings: Settings, was_on_loopback: bool) -> list[N8n]:
    # Its environment tells how it works, also where N8N_URL leads to it or where it is not running.
    choice = _find_choice(host, settings)
    if settings.N8N_URL:
        container = None if choice.others and choice.doubt else choice.container
        return [N8n(site_of_setting(settings.N8N_URL, "N8N_URL"), "", container)]
    if choice.container is not None and choice.others:
        others = [_describe_container(host, settings, each, _ANOTHER_IS_MEANT) for each in choice.others]
        return [_describe_container(host, settings, choice.container, choice.doubt), *others]
    try:
        place = locate(host, settings, "N8N_CONTAINER", "N8N_URL", _find_port)
    except ReadError as error:
        return [N8n(None, str(error), choice.container)]
    if place.container is not None:
        change = choice.doubt if choice.is_new and settings.N8N_API_KEY else ""
        site = site_of_addresses(place.addresses, find_scheme(place.container))
        return [N8n(site, "", place.container, choice.doubt, change)]
    if isinstance(place.absence, NotApplicable) and (was_on_loopback or _answers_on_loopback(host)):
        doubt = f"a program on port {_PORT} of this machine gets it only where N8N_URL says so"
        return [N8n(LOOPBACK, "", None, doubt)]
    raise place.absence or NotApplicable("no n8n found")


def _find_choice(host: Host, settings: Settings) -> Choice:
    try:
        return find_choice(host, settings, "N8N_CONTAINER")
    except (NotApplicable, ReadError):
        return Choice()


def _describe_container(host: Host, settings: Settings, container: Container, doubt: str) -> N8n:
    """Return one of several n8n, which its container's name tells apart."""
    try:
        addresses = reach(host, settings, container, _find_port(container), "N8N_URL")
    except ReadError as error:
        return N8n(None, str(error), container, doubt, name=clean(container.name))
    return N8n(site_of_addresses(addresses, find_scheme(container)), "", container, doubt, name=clean(container.name))


def _find_port(container: Container) -> int:
    return to_port(container.environment.get("N8N_PORT"), _PORT)


def find_scheme(container: Container) -> str:
    """n8n speaks TLS itself only where it has a certificate; N8N_PROTOCOL=https alone is of a proxy before it."""
    names = ("N8N_SSL_KEY", "N8N_SSL_CERT")
    has_certificate = all(container.environment.get(name) for name in names)
    return "https" if has_certificate and container.environment.get("N8N_PROTOCOL") == "https" else "http"


def _answers_on_loopback(host: Host) -> bool:
    if not has_listener(host, LOOPBACK):
        return False
    try:
        return bool(parse_json(ask(host, LOOPBACK, "/healthz", {}, _PROBE_SECONDS).body) == {"status": "ok"})
    except (ReadError, ValueError):
        return False


def describe_n8n(n8n: N8n) -> str:
    """Return what was found and from where, without a secret."""
    place = f"{n8n.site.urls[0]} ({n8n.site.source})" if n8n.site else n8n.absence
    mode = "mode not known" if n8n.container is None else "queue mode" if is_queue_mode(n8n) else "regular mode"
    database = f", database {n8n.get('DB_TYPE') or 'sqlite'}" if n8n.container else ""
    return clean(f"{place}, {mode}{database}", 300)


def is_queue_mode(n8n: N8n) -> bool:
    """Return whether workers take the executions from Redis."""
    return n8n.get("EXECUTIONS_MODE") == "queue"


def read_queue(host: Host, settings: Settings, n8n: N8n) -> Queue:
    """Return the queue. Raises NotApplicable (nowhere to read it from) or ReadError."""
    if is_queue_mode(n8n) or (n8n.container is None and _has_redis_queue(host, settings)):
        return _read_redis_queue(host, settings, n8n)
    rows = _read_statuses(host, settings, n8n)
    waiting, oldest, seconds = rows.get("new", (0, None, None))
    return Queue(False, waiting, rows.get("running", (0,))[0], str(oldest or ""), seconds)


def _has_redis_queue(host: Host, settings: Settings) -> bool:
    """The counter of job ids is the one key that stays when the queue is empty."""
    try:
        return bool(read_redis(host, settings, [("EXISTS", f"{settings.N8N_QUEUE_PREFIX}:jobs:id")])[0])
    except (NotApplicable, ReadError):
        return False


def _read_redis_queue(host: Host, settings: Settings, n8n: N8n) -> Queue:
    server = None if n8n.container is None else find_redis(host, settings, n8n.container, not n8n.doubt)
    prefix = settings.N8N_QUEUE_PREFIX
    if prefix == DEFAULTS.N8N_QUEUE_PREFIX:
        prefix = n8n.get("QUEUE_BULL_PREFIX") or prefix
    keys = f"{prefix}:jobs"
    number = n8n.get("QUEUE_BULL_REDIS_DB")
    database = int(number) if number.isascii() and number.isdecimal() else None
    lengths = [("LLEN", f"{keys}:wait"), ("LLEN", f"{keys}:paused"), ("ZCARD", f"{keys}:delayed")]
    # Jobs are pushed on the left and taken from the right.
    ends = [("LINDEX", f"{keys}:wait", -1), ("LINDEX", f"{keys}:paused", -1)]
    active = ("LRANGE", f"{keys}:active", 0, _MOST_ACTIVE_LOOKED_AT - 1)
    try:
        commands = [*lengths, *ends, active]
        *counts, last_waiting, last_paused, jobs = read_redis(host, settings, commands, database, server)
        oldest = str(last_waiting or last_paused or "")
        locks = [("EXISTS", f"{keys}:{job}:lock") for job in jobs]
        age = ("HGET", f"{keys}:{oldest}", "timestamp")
        timestamp, *held = read_redis(host, settings, [age, *locks], database, server)
    except ReadError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ReadError(f"the keys {clean(keys)}:… in Redis are not those of n8n: set N8N_QUEUE_PREFIX") from None
    # A job whose lock has run out is held by nobody: its worker was killed.
    return Queue(True, sum(counts), sum(held), oldest, _find_age(timestamp, host.wall_seconds()))


def _find_age(timestamp: str | None, now: float) -> float | None:
    """Return the seconds since a time in milliseconds; None where there is none."""
    if not timestamp or not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 15:
        return None
    return max(0.0, now - int(timestamp) / 1000)


def read_executions(host: Host, settings: Settings, n8n: N8n) -> dict[str, int]:
    """Return the number of active (running and queued) and waiting (in a Wait node) executions now, and of those
    completed and failed in the last hour. Raises NotApplicable (not in PostgreSQL) or ReadError.
    """
    counts = {status: row[0] for status, row in _read_statuses(host, settings, n8n).items()}
    return {
        "active": counts.get("running", 0) + counts.get("new", 0),
        "waiting": counts.get("waiting", 0),
        "completed": counts.get("success", 0),
        "failed": counts.get("error", 0) + counts.get("crashed", 0),
    }


def _read_statuses(host: Host, settings: Settings, n8n: N8n) -> dict[str, tuple[int, int | None, float | None]]:
    """Return count, smallest id and greatest age in seconds of the executions of each status."""
    return host.once(f"n8n executions {n8n.name}", lambda: _query_statuses(host, settings, n8n))


def _query_statuses(host: Host, settings: Settings, n8n: N8n) -> dict[str, tuple[int, int | None, float | None]]:
    rows = query_database(host, settings, n8n, _QUERY, "execution_entity")
    return {str(status): (int(count), oldest, seconds) for status, count, oldest, seconds in rows}


def query_database(host: Host, settings: Settings, n8n: N8n, query: str, *tables: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query in n8n's own database; `{0}`, `{1}` in it stand for these tables of n8n.

    Raises NotApplicable (not in PostgreSQL) or ReadError.
    """
    if n8n.container is not None and n8n.get("DB_TYPE") != "postgresdb":
        raise NotApplicable(_IN_SQLITE)
    server = None if n8n.container is None else find_database(host, settings, n8n.container, not n8n.doubt)
    is_named = n8n.container is not None and not n8n.get("DB_POSTGRESDB_DATABASE_FILE")
    database = (n8n.get("DB_POSTGRESDB_DATABASE") or "n8n") if is_named else None
    schema, prefix = n8n.get("DB_POSTGRESDB_SCHEMA") or "public", n8n.get("DB_TABLE_PREFIX")
    names = [f"{_quote(schema)}.{_quote(prefix + table)}" for table in tables]
    try:
        return read_tables(host, settings, query.format(*names), database=database, server=server)
    except QueryError as error:
        raise _explain(error, " or ".join(names), n8n) from None


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _explain(error: QueryError, table: str, n8n: N8n) -> NotApplicable | ReadError:
    if error.code == "42P01" and n8n.container is None:
        return NotApplicable(f"the database has no {clean(table)}: n8n keeps its executions elsewhere")
    if error.code in ("42P01", "3F000"):
        return ReadError(f"the database has no {clean(table)}: has n8n started with this database yet?")
    if error.code == "42501":
        return ReadError(f"GRANT SELECT ON {clean(table)} to the role of vpsmon: PostgreSQL refuses to show it")
    return error
