"""PostgreSQL behind a real PgBouncer, which refuses startup options and lends its connections by the transaction.

The poolers of Neon and Supabase do the same; that nothing is asked for at the start is what can be shown without them.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator

import pytest

from tests.kit.pgbouncer import pgbouncer
from tests.kit.stack import PostgresServer, find_rows, free_port, postgres_server
from vpsmon.checks.stack import postgres
from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.stack.postgres.leads import LeadCount, read_lead_count
from vpsmon.stack.postgres.server import read_rows
from vpsmon.system.host import Host


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        running.psql("create role app login password 'a'; create table leads (id int); insert into leads values (1)")
        running.psql("alter table leads owner to app")
        yield running


@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_behind_a_pooler_everything_is_read(server: PostgresServer, pool_mode: str) -> None:
    with pgbouncer(server, pool_mode) as pooler:
        for dsn in (pooler.dsn(), f"{pooler.dsn()} target_session_attrs=read-write"):
            settings = Settings(POSTGRES_DSN=dsn)
            rows = find_rows(postgres, settings)
            assert {row.status for row in rows.values()} == {"ok", "skipped"}, rows
            assert rows["postgres_size"].value == int(server.psql("select sum(pg_database_size(oid)) from pg_database"))
            assert read_lead_count(Host(), settings) == LeadCount(1, False)


def test_what_is_set_for_reading_stays_in_the_transaction(server: PostgresServer) -> None:
    """The next client of the pooler gets the connection as it was."""
    with pgbouncer(server, "transaction") as pooler:
        settings = Settings(POSTGRES_DSN=pooler.dsn())
        ours = read_rows(Host(), settings, "select pg_backend_pid(), current_setting('transaction_read_only')")
        assert ours[0][1] == "on"
        shown = "select pg_backend_pid(), current_setting('transaction_read_only'), current_setting('search_path')"
        argv = [f"--dbname={pooler.dsn()}", "-XAtqc", shown]
        assert run_psql(argv) == f'{ours[0][0]}|off|"$user", public'


def test_statement_pooling_cannot_be_read_and_says_what_can(server: PostgresServer) -> None:
    with pgbouncer(server, "statement") as pooler:
        row = find_rows(postgres, Settings(POSTGRES_DSN=pooler.dsn()))["postgres_size"]
    assert row.status == "unknown"
    assert "pool_mode=transaction, or let POSTGRES_DSN lead to the server itself" in (row.reason or "")


@pytest.mark.parametrize(
    ("user", "password", "database", "said"),
    [
        ("postgres", "wrong", "postgres", "SASL authentication failed; "),
        ("postgres", "super secret", "nowhere", "no such database: nowhere; "),
        (
            "postgres",
            "super secret",
            "vanished",
            'database "vanished" does not exist; a pooler such as PgBouncer says this: its list',
        ),
    ],
)
def test_what_the_pooler_refuses_has_its_remedy(
    server: PostgresServer, user: str, password: str, database: str, said: str
) -> None:
    with pgbouncer(server, "transaction") as pooler:
        row = find_rows(postgres, Settings(POSTGRES_DSN=pooler.dsn(user, password, database)))["postgres_size"]
    assert row.status == "unknown"
    assert said in (row.reason or "")
    assert password not in str(row)


def test_a_pooler_that_waits_for_its_server_costs_one_deadline(server: PostgresServer) -> None:
    with (
        pgbouncer(dataclasses.replace(server, port=free_port()), "transaction") as pooler,
        pytest.raises(ReadError, match="answer"),
    ):
        read_rows(Host(), Settings(POSTGRES_DSN=pooler.dsn()), "select 1")


def run_psql(argv: list[str]) -> str:
    return subprocess.run(["psql", *argv], capture_output=True, text=True, check=True, timeout=30).stdout.strip()
