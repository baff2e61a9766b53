"""Reading tables that belong to somebody: as a role that can read them and nothing else.

Whoever plans a query of a table runs code of its owner: `select count(*) from leads` evaluates the constant parts of
the expressions of its indexes, and by a view or a policy under the table's name anything else. With the authority of
POSTGRES_USER, a superuser, that code may run programs on the machine (COPY … TO PROGRAM), also in a read-only
transaction and with a search path of the system's own. SET ROLE does not help: the code says RESET ROLE.

What does: a function that is SECURITY DEFINER and belongs to the lesser role. Inside it PostgreSQL refuses every change
of the role (`cannot set parameter "role" within security-definer function`), so there is no way back. It is a temporary
one, made in a transaction that then becomes read only and is always rolled back: nothing of it stays, and no trigger
that was put off to its end runs. As the owner of all tables where there is one, else as `pg_read_all_data` (since 14).

A session that is no superuser's needs none of this, nor does a server on which only superusers can log in. Where it is
needed and not possible (a standby, before 14, event triggers that are code of others) nothing is read, and the remedy
is a role of vpsmon's own. tests/e2e/test_postgres_hostile.py shows all of that on a real server.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.core.findings import ReadError
from vpsmon.stack.postgres.session import PostgresSession

if TYPE_CHECKING:
    from psycopg2.sql import Composable

    from vpsmon.stack.postgres.session import Execute

# Where unqualified names of LEAD_COUNT_QUERY are looked up, as without any setting.
DEFAULT_PATH = '"$user", public'
_MOST_ROWS = 1000
_LONGEST_ROW_BYTES = 100_000
_OWN_ROLE = (
    "create a role for vpsmon (CREATE ROLE vpsmon LOGIN PASSWORD '…' IN ROLE pg_monitor, pg_read_all_data) and let"
    " POSTGRES_DSN log in as it"
)
_AUTHORITY = """
select exists(select from pg_roles where pg_has_role(session_user, oid, 'MEMBER') and (rolsuper
        or rolname in ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files'))),
    exists(select from pg_roles where rolcanlogin and not rolsuper),
    pg_is_in_recovery(),
    exists(select from pg_roles where rolname = 'pg_read_all_data'),
    exists(select from pg_event_trigger join pg_proc on pg_proc.oid = evtfoid join pg_roles on pg_roles.oid = proowner
        where evtenabled <> 'D' and not rolsuper),
    (select array_agg(distinct rolname::text) from pg_class join pg_roles on pg_roles.oid = relowner
        join pg_namespace on pg_namespace.oid = relnamespace
        where relkind in ('r', 'p') and not rolsuper and nspname <> 'information_schema' and nspname not like 'pg\\_%')
"""
_MAKE = (
    "set local check_function_bodies = off; create function pg_temp.vpsmon_rows() returns setof text language sql"
    " security definer set search_path = {path} as {body}; alter function pg_temp.vpsmon_rows() owner to {role};"
    " set local transaction_read_only = on"
)
_ROWS = "(select pg_catalog.row_to_json(vpsmon_row)::pg_catalog.text as line from (\n{query}\n) as vpsmon_row) as lines"
_BODY = "select line from {lines}"
_CALL = "(select line from pg_temp.vpsmon_rows() as line) as lines"
# An answer of any size would be held in memory here.
_BOUNDED = (
    "select case when pg_catalog.octet_length(line) operator(pg_catalog.<=) {bytes} then line end from {lines}"
    " limit {rows}"
)


class _Authority(NamedTuple):
    """Of the session, and what the database is like."""

    is_privileged: bool
    has_other_logins: bool
    is_standby: bool
    has_reading_role: bool
    has_foreign_event_trigger: bool
    owners: list[str] | None


def read_owned_rows(session: PostgresSession, query: str | Composable, path: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query of anybody's tables: at most 1000, of what JSON knows (numbers, text, null, true).

    `path` is the search path of the query. Raises QueryError, or ReadError: not reachable, or not without more
    authority than is good.
    """
    text = session.to_text(query)
    with session.transaction() as execute:
        authority = _Authority(*execute(_AUTHORITY)[0])
        if not (authority.is_privileged and authority.has_other_logins):
            execute(f"set local search_path = {path}")
            return _parse(execute(_bound(_ROWS.format(query=text))))
    role = _choose_role(authority)
    with session.transaction("read write") as execute:
        return _parse(_call(execute, session, text, path, role))


def _choose_role(authority: _Authority) -> str:
    """Return the role that reads. Raises ReadError where there is no safe one."""
    owners = authority.owners or []
    trouble = None
    if authority.is_standby:
        trouble = "a standby takes no function to drop it in"
    elif authority.has_foreign_event_trigger:
        trouble = "an event trigger would run a function of another role"
    elif len(owners) != 1 and not authority.has_reading_role:
        trouble = "this PostgreSQL has no pg_read_all_data"
    if trouble:
        raise ReadError(f"tables of other roles are not read with a superuser's authority, and {trouble}: {_OWN_ROLE}")
    return owners[0] if len(owners) == 1 else "pg_read_all_data"


def _call(execute: Execute, session: PostgresSession, query: str, path: str, role: str) -> list[tuple[Any, ...]]:
    from psycopg2 import sql

    # A function of somebody may catch the cancel of the time limit; then the end of the connection ends it.
    if session.version >= 140000:
        execute("set local client_connection_check_interval = 500")
    if session.version >= 170000:
        execute("set local event_triggers = off")
    body = _quote(_BODY.format(lines=_ROWS.format(query=query)))
    execute(sql.SQL(_MAKE).format(path=sql.SQL(path), body=sql.SQL(body), role=sql.Identifier(role)))
    return execute(_bound(_CALL))


def _quote(text: str) -> str:
    """In dollars, not as psycopg2 quotes: ALTER DATABASE … SET standard_conforming_strings changes what a \\ means."""
    mark = f"$vpsmon{secrets.token_hex(8)}$"
    return f"{mark}{text}{mark}"


def _bound(lines: str) -> str:
    return _BOUNDED.format(bytes=_LONGEST_ROW_BYTES, lines=lines, rows=_MOST_ROWS)


def _parse(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the values of rows that came as JSON. Raises ReadError."""
    if any(line is None for (line,) in rows):
        raise ReadError(f"a row of the answer is larger than {_LONGEST_ROW_BYTES} bytes")
    # Pairs, since two columns may have the same name.
    return [tuple(value for _, value in json.loads(line, object_pairs_hook=list)) for (line,) in rows]
