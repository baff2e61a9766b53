"""PostgreSQL: where the server is, and one read-only connection a pass that every reader shares.

psycopg2 is used in its asynchronous mode, with a deadline on every wait: no option of libpq or of the server ends the
wait for a backend that is stopped (statement_timeout is kept by the backend itself, and TCP acknowledges for it).
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.locate import locate
from vpsmon.stack.postgres.container import find_login, find_port, find_remedies
from vpsmon.stack.postgres.refusals import Remedies
from vpsmon.stack.postgres.session import PostgresSession, open_session
from vpsmon.stack.presence import POSTGRES_PORT
from vpsmon.system.host import Host
from vpsmon.system.proc import is_listening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg2.sql import Composable

    from vpsmon.stack.docker.addresses import Address

_SOCKET_FOLDER = "/var/run/postgresql"
_PORT = POSTGRES_PORT
_LOCAL_REMEDIES = Remedies(
    login="create a role for vpsmon (CREATE ROLE vpsmon LOGIN PASSWORD '…' IN ROLE pg_monitor) and set POSTGRES_DSN to"
    " host=127.0.0.1 user=vpsmon password=… dbname=…",
    database="set POSTGRES_DSN to host=127.0.0.1 user=vpsmon password=… dbname=… with a database that it has",
)
_DSN_REMEDIES = Remedies(
    login="check user and password in POSTGRES_DSN", database="check the name of the database in POSTGRES_DSN"
)


class Server(NamedTuple):
    """A server and the ways to reach it: keywords of libpq, the likeliest first. `targets` may hold a password."""

    source: str
    targets: tuple[dict[str, Any], ...]
    # What to do when it does not let us in.
    remedies: Remedies
    # Set where the targets are only a guess: what to say when nothing is there.
    absence: NotApplicable | ReadError | None = None

    def __repr__(self) -> str:
        return f"<PostgreSQL {self.describe()}>"

    def describe(self) -> str:
        """Return what was found and from where, without a secret."""
        target = self.targets[0]
        place = f"{target.get('host', 'the default socket')}:{target.get('port', _PORT)}"
        user, database = target.get("user", "the current user"), target.get("dbname", "its default")
        return clean(f"{place} ({self.source}), user {user}, database {database}", 300)


def find_server(host: Host, settings: Settings) -> Server:
    """Return the server: POSTGRES_DSN, else the container, else one on this host. Raises ReadError."""
    return host.once("postgres server", lambda: _find_server(host, settings))


def describe_container(container: Container, addresses: Sequence[Address]) -> Server:
    """Return the server in a container, at its addresses, with the login that its environment tells."""
    login = find_login(container)
    targets = tuple({"host": each.host, "port": each.port, **login} for each in addresses)
    return Server(clean(addresses[0].source, 160), targets, find_remedies(container))


def describe_local(source: str, targets: tuple[dict[str, Any], ...]) -> Server:
    """Return a server on this machine, at these targets of libpq."""
    return Server(source, targets, _LOCAL_REMEDIES)


def describe_dsn(text: str) -> Server:
    """Return the server that a POSTGRES_DSN means. Raises ReadError."""
    from vpsmon.stack.postgres.dsn import parse_dsn

    return Server("POSTGRES_DSN", (parse_dsn(text),), _DSN_REMEDIES)


def read_rows(
    host: Host,
    settings: Settings,
    query: str | Composable,
    database: str | None = None,
    server: Server | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of a query of PostgreSQL's own tables and views, from the found server or a
    given one, and its database or another one.

    What belongs to somebody is read by `read_tables`. Safe from every thread; the connection is made once a pass and
    database, each query in a read-only transaction of its own. Takes at most 2.4 s to connect and 1.5 s a query. Raises
    NotApplicable (no PostgreSQL on this machine), QueryError (the server refused this query), Starting (it says that
    it is not ready) or ReadError (it cannot be reached); a server that stopped answering fails every later query of
    the pass at once.
    """
    return _find_session(host, settings, database, server).run(query)


def read_tables(
    host: Host,
    settings: Settings,
    query: str | Composable,
    database: str | None = None,
    server: Server | None = None,
    path: str = "pg_catalog, pg_temp",
) -> list[tuple[Any, ...]]:
    """Return the rows of a query of anybody's tables, with the least authority that reads them (least_role.py).

    At most 1000 rows, of what JSON knows; names in the query have their schema unless `path` says where to look. Raises
    as `read_rows` does.
    """
    from vpsmon.stack.postgres.least_role import read_owned_rows

    return read_owned_rows(_find_session(host, settings, database, server), query, path)


def _find_session(host: Host, settings: Settings, database: str | None, given: Server | None) -> PostgresSession:
    """Return the session, made once a pass; it is closed with the host, that is with the pass."""
    server = given or find_server(host, settings)
    return host.once(f"postgres session {server.describe()} {database}", lambda: _open(host, server, database))


def _open(host: Host, server: Server, database: str | None) -> PostgresSession:
    import weakref

    targets, remedies = server.targets, server.remedies
    if database:
        targets = tuple(dict(target, dbname=database) for target in targets)
        what = f"what uses {clean(database)} (n8n: DB_POSTGRESDB_DATABASE) has not made it on this server yet"
        remedies = remedies._replace(database=f"{what}, or uses another server")
    session = open_session(targets, server.source, remedies, server.absence)
    weakref.finalize(host, session.close)
    return session


def _find_server(host: Host, settings: Settings) -> Server:
    if settings.POSTGRES_DSN:
        return describe_dsn(settings.POSTGRES_DSN)
    place = locate(host, settings, "POSTGRES_CONTAINER", "POSTGRES_DSN", find_port)
    if place.container:
        return describe_container(place.container, place.addresses)
    targets = _list_local_targets(host)
    if place.absence and not targets:
        raise place.absence
    return Server("on this host", tuple(targets), _LOCAL_REMEDIES, place.absence)


def _list_local_targets(host: Host) -> list[dict[str, Any]]:
    """The socket, where `peer` lets in a role of our own name, and loopback, where `trust` lets in postgres."""
    targets: list[dict[str, Any]] = []
    if is_listening(host, _PORT):
        targets = [{"host": "127.0.0.1", "port": _PORT, "user": "postgres", "dbname": "postgres"}]
    if os.path.exists(f"{_SOCKET_FOLDER}/.s.PGSQL.{_PORT}"):
        users = dict.fromkeys([_current_user(), "postgres"])
        local = {"host": _SOCKET_FOLDER, "port": _PORT, "dbname": "postgres"}
        targets = [*({**local, "user": user} for user in users), *targets]
    return targets


def _current_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user id without a name, as systemd's DynamicUser may have
        return "postgres"
