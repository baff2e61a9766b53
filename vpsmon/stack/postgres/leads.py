"""The number of leads: what LEAD_COUNT_QUERY says, else the rows of all tables named like %lead%.

Which tables there are is read from the catalogue; what is in them with the least authority that reads it, since to
count a table's rows runs code of its owner (least_role.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.stack.postgres.least_role import DEFAULT_PATH
from vpsmon.stack.postgres.server import read_rows, read_tables
from vpsmon.stack.postgres.session import QueryError
from vpsmon.system.host import Host

if TYPE_CHECKING:
    from psycopg2.sql import Composable

# What is counted row by row, all tables together: within a second on a slow disk. The estimate of a table larger than
# that is off by some percent, which matters to nobody.
_EXACT_BYTES = 64 * 1024 * 1024
# Each matching table with its partitions and children, unless it is itself below another matching table: count(*) of
# the uppermost one counts them all, each once. Views are no tables. `\\_` because _ stands for any character.
_TABLES = r"""
with recursive matching as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relname ilike '%lead%'
    and n.nspname <> 'information_schema' and n.nspname not like 'pg\_%'
), tree (root, oid) as (
    select oid, oid from matching
    union
    select tree.root, inhrelid from tree join pg_inherits on inhparent = tree.oid
)
select n.nspname, c.relname, sum(pg_relation_size(tree.oid))::bigint,
    sum(each.reltuples) filter (where each.relkind = 'r')::bigint, bool_or(each.relrowsecurity),
    bool_or(each.relkind = 'f')
from tree join pg_class c on c.oid = tree.root join pg_namespace n on n.oid = c.relnamespace
    join pg_class each on each.oid = tree.oid
where tree.root not in (select oid from tree where root <> oid)
group by 1, 2 order by 3, 1, 2
"""


class LeadCount(NamedTuple):
    """The number of leads; an estimate where a table is too large to be counted row by row."""

    leads: int
    is_estimate: bool


class _Table(NamedTuple):
    schema: str
    name: str
    size_bytes: int
    estimated_rows: int | None
    has_policies: bool
    # A partition that is a foreign table: to read it means to connect to where its owner chose.
    has_foreign_part: bool


def read_lead_count(host: Host, settings: Settings) -> LeadCount:
    """Return the number of leads in the found database.

    Raises NotApplicable (no PostgreSQL, or no such table) or ReadError (not reachable, not readable, not a number).
    """
    if settings.LEAD_COUNT_QUERY:
        return LeadCount(_run_query(host, settings), False)
    tables = [_Table(*row) for row in read_rows(host, settings, _TABLES)]
    if not tables:
        raise NotApplicable("no table is named like %lead%: set LEAD_COUNT_QUERY to a SELECT of one number")
    return _count_tables(host, settings, tables)


def _run_query(host: Host, settings: Settings) -> int:
    query = settings.LEAD_COUNT_QUERY.strip().rstrip(";").rstrip()
    if ";" in query:
        raise ReadError("LEAD_COUNT_QUERY must be one SELECT, without a semicolon")
    try:
        # As a subquery nothing but a SELECT is possible; the line break ends a comment at its end.
        bounded = f"select * from (\n{query}\n) as leads limit 2"  # noqa: S608 the owner's own
        rows = read_tables(host, settings, bounded, path=DEFAULT_PATH)
    except QueryError as error:
        raise ReadError(f"LEAD_COUNT_QUERY: {error}") from None
    return _to_count(rows)


def _to_count(rows: list[tuple[Any, ...]]) -> int:
    """Return the one number that the rows are. Raises ReadError."""
    value = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else None
    try:
        number = float("nan" if value is None or isinstance(value, (bool, str)) else value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise ReadError("LEAD_COUNT_QUERY must return one row with one number, as SELECT count(*) FROM … does")
    return int(number)


def _count_tables(host: Host, settings: Settings, tables: list[_Table]) -> LeadCount:
    """Count the small tables and take the planner's estimate for the rest; the tables come smallest first."""
    counted: list[_Table] = []
    estimate = 0
    for table in tables:
        if table.has_foreign_part:
            raise ReadError(f"a part of {_show(table)} is a foreign table, which is not read: set LEAD_COUNT_QUERY")
        if sum(each.size_bytes for each in counted) + table.size_bytes <= _EXACT_BYTES:
            counted.append(table)
        elif table.estimated_rows and table.estimated_rows > 0:
            estimate += table.estimated_rows
        else:
            raise ReadError(f"the table {_show(table)} is too large to count and has no estimate: run ANALYZE")
    exact = _count_rows(host, settings, counted) if counted else 0
    return LeadCount(exact + estimate, len(counted) < len(tables))


def _count_rows(host: Host, settings: Settings, tables: list[_Table]) -> int:
    try:
        return int(read_tables(host, settings, _compose_count(tables))[0][0])
    except QueryError as error:
        secured = [_show(table) for table in tables if table.has_policies]
        if secured and error.code == "42501":
            raise ReadError(
                f"row-level security decides which rows of {', '.join(secured)} are shown: set LEAD_COUNT_QUERY to"
                " count others, or POSTGRES_DSN to a role with BYPASSRLS"
            ) from None
        names = ", ".join(_show(table) for table in tables)
        raise ReadError(f"{error}; GRANT SELECT on {names} to the role of vpsmon, or set LEAD_COUNT_QUERY") from None


def _compose_count(tables: list[_Table]) -> Composable:
    from psycopg2 import sql

    one = sql.SQL("(select count(*) from {})")
    return sql.SQL("select ") + sql.SQL(" + ").join(
        one.format(sql.Identifier(table.schema, table.name)) for table in tables
    )


def _show(table: _Table) -> str:
    return clean(f"{table.schema}.{table.name}")
