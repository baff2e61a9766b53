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
from vpsmon.stack.command_line import find_option, read_options, to_port
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.locate import Place, locate
from vpsmon.stack.postgres.session import PostgresSession, open_session
from vpsmon.stack.presence import POSTGRES_PORT
from vpsmon.system.host import Host
from vpsmon.system.proc import is_listening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg2.sql import Composable

_SOCKET_FOLDER = "/var/run/postgresql"
_PORT = POSTGRES_PORT
_NO_RIGHTS = (
    "create a role for vpsmon (CREATE ROLE vpsmon LOGIN PASSWORD '…' IN ROLE pg_monitor) and set POSTGRES_DSN to"
    " host=127.0.0.1 user=vpsmon password=… dbname=…"
)


class Server(NamedTuple):
    """A server and the ways to reach it: keywords of libpq, the likeliest first. `targets` may hold a password."""

    source: str
    targets: tuple[dict[str, Any], ...]
    # What to do when it does not let us in.
    remedy: str
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


def read_rows(
    host: Host,
    settings: Settings,
    query: str | Composable,
    parameters: Sequence[Any] | None = None,
    database: str | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of a query (%s for parameters), from the found database or another one on the same server.

    Safe from every thread; the connection is made once a pass and database, read-only, each statement in a
    transaction of its own. Takes at most 2.4 s to connect and 1.5 s a query. Raises NotApplicable (no PostgreSQL on
    this machine), QueryError (the server refused this query) or ReadError (it cannot be reached); a server that
    stopped answering fails every later query of the pass at once.
    """
    session = host.once(f"postgres session {database}", lambda: _open(host, settings, database))
    return session.run(query, parameters)


def _open(host: Host, settings: Settings, database: str | None) -> PostgresSession:
    """Open the session; it is closed with the host, that is with the pass."""
    import weakref

    server = find_server(host, settings)
    targets = [dict(target, dbname=database) if database else target for target in server.targets]
    session = open_session(targets, server.source, server.remedy, server.absence)
    weakref.finalize(host, session.close)
    return session


def _find_server(host: Host, settings: Settings) -> Server:
    if settings.POSTGRES_DSN:
        return _read_dsn(settings.POSTGRES_DSN)
    place = locate(host, settings, "POSTGRES_CONTAINER", "POSTGRES_DSN", _find_port)
    if place.container:
        return _read_container(place.container, place)
    targets = _list_local_targets(host)
    if place.absence and not targets:
        raise place.absence
    return Server("on this host", tuple(targets), _NO_RIGHTS, place.absence)


def _read_dsn(text: str) -> Server:
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        target = parse_dsn(text)
    except psycopg2.Error:
        # The complaint of libpq repeats the part it does not understand, which may be the password.
        target = {}
    if not target:
        raise ReadError(
            "POSTGRES_DSN is malformed: write postgresql://user:password@host:5432/database, special characters of the"
            " password as %XX, or host=… user=… password=… dbname=…"
        )
    return Server("POSTGRES_DSN", (target,), "check user and password in POSTGRES_DSN")


def _read_container(container: Container, place: Place) -> Server:
    """The variables are those of the official image: https://hub.docker.com/_/postgres."""
    environment = container.environment
    login = {"user": environment.get("POSTGRES_USER") or "postgres"}
    login["dbname"] = environment.get("POSTGRES_DB") or login["user"]
    if environment.get("POSTGRES_PASSWORD"):
        login["password"] = environment["POSTGRES_PASSWORD"]
    targets = tuple({"host": each.host, "port": each.port, **login} for each in place.addresses)
    name = clean(container.name)
    remedy = f"POSTGRES_PASSWORD of the container {name} is only the first password: set POSTGRES_DSN to the one in use"
    hidden = [key for key in ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB") if environment.get(f"{key}_FILE")]
    if hidden:
        files = " and ".join(f"{key}_FILE" for key in hidden)
        remedy = f"the container {name} has {files}, a file only it can read: set POSTGRES_DSN"
    return Server(clean(place.addresses[0].source, 160), targets, remedy)


def _find_port(container: Container) -> int:
    words = read_options(container)
    return to_port(find_option(words, "-p", "--port") or container.environment.get("PGPORT"), _PORT)


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
