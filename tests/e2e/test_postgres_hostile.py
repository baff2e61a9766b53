"""A database whose owner is hostile, on a real server: nothing that belongs to it ever runs with vpsmon's authority.

The owner (`n8n`, no superuser) puts code wherever PostgreSQL runs it for whoever reads; vpsmon logs in as the superuser
that POSTGRES_USER is. The code tries to get the superuser's role back by every way there is, to write, and to run a
program; what it achieved stands in a file, and whom it ran as in the server's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.kernel import wait_until
from tests.kit.stack import PostgresServer, find_rows, postgres_server
from vpsmon.checks.stack import postgres
from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.stack.postgres.leads import LeadCount, read_lead_count
from vpsmon.stack.postgres.server import read_tables
from vpsmon.system.host import Host

# Each attempt by itself, since a failed one ends only its own block. `immutable`, so that the planner runs it; what it
# calls is volatile, which PostgreSQL does not check.
CODE = """
create function public.attack() returns void language plpgsql volatile as $body$
declare way text;
begin
  foreach way in array array[
    'reset role', 'set role postgres', 'set session authorization default', 'reset session authorization',
    'select set_config(''role'', ''postgres'', false)',
    'select set_config(''session_authorization'', ''postgres'', false)',
    'alter role n8n superuser', 'set transaction read write', 'set local role postgres', 'discard all', 'commit',
    'create table public.written ()'
  ] loop
    begin execute way; exception when others then null; end;
  end loop;
  raise log 'the code of the owner runs as % of %', current_user, session_user;
  begin execute $q$copy (select current_user) to program 'cat >> {file}'$q$; exception when others then null; end;
end $body$;
create function public.evil(text) returns text language plpgsql immutable as $body$
begin perform public.attack(); return $1; end $body$;
create function public.evil_equal(varchar, varchar) returns bool language plpgsql immutable as $body$
begin perform public.attack(); return true; end $body$;
create function public.evil_equal(name, name) returns bool language plpgsql immutable as $body$
begin perform public.attack(); return true; end $body$;
create function public.evil_like(name, text) returns bool language plpgsql immutable as $body$
begin perform public.attack(); return true; end $body$;
create operator public.= (leftarg = varchar, rightarg = varchar, function = public.evil_equal);
create operator public.= (leftarg = name, rightarg = name, function = public.evil_equal);
create operator public.~~* (leftarg = name, rightarg = text, function = public.evil_like);
create function public.count(anyelement) returns bigint language plpgsql as $body$
begin perform public.attack(); return 1; end $body$;
create function public.pg_database_size(oid) returns bigint language plpgsql as $body$
begin perform public.attack(); return 1; end $body$;
create view public.pg_stat_database as select *, public.evil('x') from pg_catalog.pg_stat_database;
create type public.mood as (word text);
create function public.to_mood(public.mood) returns text language plpgsql immutable as $body$
begin perform public.attack(); return ''; end $body$;
create cast (public.mood as text) with function public.to_mood(public.mood) as implicit;
create function public.to_json_mood(public.mood) returns json language plpgsql immutable as $body$
begin perform public.attack(); return '1'; end $body$;
create cast (public.mood as json) with function public.to_json_mood(public.mood);
"""
LEADS = """
create table public.leads (status varchar, feeling public.mood);
insert into public.leads values ('new', row('a')), ('old', row('b'));
"""


class Hostile:
    """The server and its database `n8n` with the code in it."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.file = Path(server.folder / "owned")
        self._seen = 0
        self.settings = Settings(POSTGRES_DSN=server.dsn(database="n8n"))

    def as_owner(self, sql: str) -> str:
        return self.server.psql(sql, "n8n", "n8n")

    def as_superuser(self, sql: str) -> str:
        return self.server.psql(sql, "n8n")

    def forget(self) -> None:
        """Start anew: to make an index, its owner runs its own code."""
        self.as_superuser("reset role; drop table if exists public.written")
        self.ran_as()

    def ran_as(self) -> set[str]:
        """Whom the code ran as since the last look. Fails where it got as far as a program."""
        log = (self.server.folder / "log").read_text()
        found = set(re.findall("code of the owner runs as (.*)", log[self._seen :]))
        self._seen = len(log)
        assert not self.file.exists(), f"a program was run: {self.file.read_text()}"
        assert self.as_superuser("select to_regclass('public.written') is null") == "t"
        assert self.as_superuser("select count(*) from pg_roles where rolsuper") == "1"
        return found


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with postgres_server() as server:
        server.psql("create role n8n login password 'n'")
        server.psql("create database n8n owner n8n")
        found = Hostile(server)
        found.as_owner(CODE.format(file=found.file))
        found.as_owner(LEADS)
        yield found


def test_the_attack_is_one_where_nothing_stands_against_it(hostile: Hostile) -> None:
    """Else the other tests would show nothing: a superuser who looks at the table is taken over, whatever the path."""
    hostile.as_owner("create index on leads ((evil('a') || status))")
    hostile.as_superuser(
        "set search_path = pg_catalog; set default_transaction_read_only = on; set role n8n;"
        " select count(*) from public.leads"
    )
    assert hostile.file.read_text() == "postgres\n"


def test_the_checks_run_nothing_of_the_owner_whatever_its_settings_are(hostile: Hostile) -> None:
    for setting in (
        "search_path = public, pg_catalog",
        "role = n8n",
        "row_security = on",
        "default_transaction_read_only = off",
        "standard_conforming_strings = off",
        "default_transaction_isolation = serializable",
    ):
        hostile.as_owner(f"alter database n8n set {setting}")
    rows = find_rows(postgres, hostile.settings)
    assert {row.status for row in rows.values()} == {"ok", "skipped"}
    assert rows["postgres_size"].value == int(
        hostile.as_superuser(
            "reset role; set search_path = pg_catalog; select sum(pg_database_size(oid)) from pg_database"
        )
    )
    assert hostile.ran_as() == set()


@pytest.mark.parametrize(
    "trap",
    [
        "create index on leads ((evil('a') || status))",
        "create index on leads (status) where evil('a') = status",
        "create statistics s on (evil('a') || status), status from leads",
        "create table more_leads (check (evil('a') = status)) inherits (leads)",
    ],
)
def test_the_planner_runs_the_owners_code_as_the_owner_only(hostile: Hostile, trap: str) -> None:
    hostile.as_owner(trap)
    hostile.forget()
    query = hostile.settings._replace(LEAD_COUNT_QUERY="select count(*) from leads where status = 'new'")
    read_tables(Host(), hostile.settings, "select count(status) from public.leads")
    read_lead_count(Host(), hostile.settings)
    read_lead_count(Host(), query)
    assert hostile.ran_as() == {"n8n of postgres"}


def test_a_table_that_became_a_view_is_read_as_the_owner_only(hostile: Hostile) -> None:
    hostile.as_owner("alter table leads rename to old; create view leads as select evil(status) as status from old")
    hostile.forget()
    assert read_tables(Host(), hostile.settings, "select count(status) from public.leads") == [(2,)]
    assert hostile.ran_as() == {"n8n of postgres"}


def test_a_query_with_quotes_and_backslashes_stays_one_query(hostile: Hostile) -> None:
    """Also where the owner decided that a backslash escapes what follows."""
    hostile.as_owner("alter database n8n set standard_conforming_strings = off")
    for text in ("it''s", "$vpsmon$", "\\\\''", "x'' || ''; reset role; --"):
        query = f"select status from public.leads where status = '{text}' or status = 'new'"  # noqa: S608
        assert read_tables(Host(), hostile.settings, query) == [("new",)], text


def test_rows_with_types_and_casts_of_the_owner_are_read_as_the_owner_only(hostile: Hostile) -> None:
    hostile.forget()
    rows = read_tables(Host(), hostile.settings, "select status, feeling, feeling::text || 'x' from public.leads")
    assert [row[0] for row in rows] == ["new", "old"]
    assert hostile.ran_as() == {"n8n of postgres"}


def test_with_tables_of_several_roles_the_one_that_reads_can_only_read(hostile: Hostile) -> None:
    hostile.as_owner("create index on leads ((evil('a') || status))")
    hostile.as_superuser(
        "create role other; create schema crm; create table crm.other_leads ();"
        " alter table crm.other_leads owner to other"
    )
    hostile.as_superuser("insert into crm.other_leads default values")
    hostile.forget()
    assert read_lead_count(Host(), hostile.settings) == LeadCount(3, False)
    assert hostile.ran_as() == {"pg_read_all_data of postgres"}


def test_policies_are_not_run_and_say_what_to_do(hostile: Hostile) -> None:
    hostile.as_owner("alter table leads enable row level security; alter table leads force row level security")
    hostile.as_owner("create policy p on leads using (evil(status) = status)")
    hostile.forget()
    with pytest.raises(ReadError, match=r"row-level security decides which rows of public\.leads"):
        read_lead_count(Host(), hostile.settings)
    assert hostile.ran_as() == set()


def test_an_event_trigger_with_code_of_the_owner_is_not_set_off(hostile: Hostile) -> None:
    hostile.as_owner(
        "create function evented() returns event_trigger language plpgsql as $b$ begin perform public.attack(); end $b$"
    )
    hostile.as_superuser("create event trigger e on ddl_command_end execute function evented()")
    hostile.ran_as()
    with pytest.raises(ReadError, match="event trigger would run a function of another role: create a role"):
        read_lead_count(Host(), hostile.settings)
    assert hostile.ran_as() == set()
    hostile.as_superuser("create role vpsmon login password 'v' in role pg_monitor, pg_read_all_data")
    own = Settings(POSTGRES_DSN=hostile.server.dsn("vpsmon", "v", "n8n"))
    assert read_lead_count(Host(), own) == LeadCount(2, False)


def test_nothing_stays_of_the_function_that_reads(hostile: Hostile) -> None:
    before = hostile.as_superuser("select count(*) from pg_proc")
    assert read_lead_count(Host(), hostile.settings) == LeadCount(2, False)
    assert hostile.as_superuser("select count(*) from pg_proc") == before


def test_code_that_does_not_let_itself_be_cancelled_is_ended(hostile: Hostile) -> None:
    hostile.as_owner("""create function endless() returns int language plpgsql as $b$ begin loop
        begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end $b$""")
    hostile.as_owner("alter table leads rename to old; create view leads as select endless() as status")
    with pytest.raises(ReadError):
        read_tables(Host(), hostile.settings, "select status from public.leads")
    left = "select count(*) from pg_stat_activity where application_name = 'vpsmon'"
    wait_until(lambda: hostile.as_superuser(left) == "0", 10, "the server ends it")


def test_an_answer_of_any_size_is_not_taken(hostile: Hostile) -> None:
    with pytest.raises(ReadError, match="a row of the answer is larger"):
        read_tables(Host(), hostile.settings, "select repeat('x', 200000)")
    assert len(read_tables(Host(), hostile.settings, "select generate_series(1, 100000)")) == 1000


def test_where_only_superusers_can_log_in_nothing_is_made(hostile: Hostile) -> None:
    hostile.as_superuser("alter role n8n nologin")
    before = hostile.as_superuser("select count(*) from pg_proc")
    assert read_lead_count(Host(), hostile.settings) == LeadCount(2, False)
    assert hostile.as_superuser("select count(*) from pg_proc") == before
