"""The PostgreSQL checks against real servers, on this host and in containers; the numbers are those of psql."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg2
import pytest

from tests.kit.container_exec import run_in
from tests.kit.docker import DockerEngine, internal_network, run_container
from tests.kit.kernel import wait_until
from tests.kit.stack import (
    POSTGRES_USER_ID,
    STACK_IMAGE,
    PostgresServer,
    find_rows,
    free_port,
    import_stack_image,
    postgres_folder,
    postgres_server,
    silent_server,
)
from vpsmon.checks.stack import postgres
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Previous, ReadError, Starting
from vpsmon.stack.postgres.leads import LeadCount, read_lead_count
from vpsmon.stack.postgres.server import describe_dsn, find_server, read_rows, read_tables
from vpsmon.stack.postgres.session import QueryError
from vpsmon.system.host import Host

SECRET = "s3cr%t pa'ss\\word"
NO_DOCKER = "unix:///nonexistent/docker.sock"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One server for the tests that leave it as it is."""
    with postgres_server(shared_buffers="1MB", autovacuum="off") as running:
        running.psql("create role monitor login password 'm' in role pg_monitor")
        running.psql("create role plain login password 'p'")
        running.psql("create database closed")
        running.psql("revoke connect on database closed from public")
        yield running


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever engine runs on this machine is none of these tests' business."""
    monkeypatch.setenv("DOCKER_HOST", NO_DOCKER)


def see(dsn: str) -> dict[str, Finding]:
    return find_rows(postgres, Settings(POSTGRES_DSN=dsn))


def reason_of(dsn: str) -> str:
    """The reason that all three rows give for being unknown, which never holds the password."""
    rows = see(dsn)
    assert {row.status for row in rows.values()} == {"unknown"}, rows
    assert len({row.reason for row in rows.values()}) == 1
    reason = rows["postgres_size"].reason
    assert reason
    assert "super secret" not in reason
    assert SECRET not in reason
    return reason


def test_size_and_connections_are_those_of_psql(server: PostgresServer) -> None:
    with closing(psycopg2.connect(server.dsn())):
        rows = see(server.dsn())
        clients = server.psql("select count(*) from pg_stat_activity where backend_type = 'client backend'")
    assert rows["postgres_connections"].value == int(clients)  # psql itself takes the place of vpsmon
    assert rows["postgres_size"].value == int(server.psql("select sum(pg_database_size(oid)) from pg_database"))
    assert rows["postgres_connections"].message == "2 of 100 connections in use, 1 of them running a query"


def test_the_hit_ratio_is_that_of_the_time_between_two_passes(server: PostgresServer) -> None:
    server.psql("create table large as select repeat('x', 900) from generate_series(1, 9000)")
    settings = Settings(POSTGRES_DSN=server.dsn())
    before = postgres.read(Host(), settings, None)
    for _ in range(3):
        server.psql("select count(*) from large")
    after = postgres.read(Host(), settings, None)
    previous = Previous(postgres.remember(before, None), 30.0)
    row = postgres.judge(after, settings, previous)[0]
    assert before.statistics
    assert after.statistics
    hit = after.statistics.hit_blocks - before.statistics.hit_blocks
    read = after.statistics.read_blocks - before.statistics.read_blocks
    assert row.value == round(100 * hit / (hit + read), 2)
    assert read > 3000  # three scans of a table eight times as large as the buffers
    assert row.status == "critical"
    assert row.value < (after.statistics.lifetime_hit_percent or 0)
    lifetime = server.psql("select 100.0 * sum(blks_hit) / sum(blks_hit + blks_read) from pg_stat_database")
    assert after.statistics.lifetime_hit_percent == pytest.approx(float(lifetime), abs=0.5)


def test_a_quiet_server_has_no_ratio(server: PostgresServer) -> None:
    settings = Settings(POSTGRES_DSN=server.dsn())
    previous = Previous(postgres.remember(postgres.read(Host(), settings, None), None), 30.0)
    row = find_rows(postgres, settings, previous)["postgres_cache_hit"]
    assert row.status == "skipped"
    assert "a ratio needs 1000" in (row.reason or "")


def test_a_reset_of_the_statistics_skips_one_pass(server: PostgresServer) -> None:
    settings = Settings(POSTGRES_DSN=server.dsn())
    previous = Previous(postgres.remember(postgres.read(Host(), settings, None), None), 30.0)
    server.psql("select pg_stat_reset()")
    row = find_rows(postgres, settings, previous)["postgres_cache_hit"]
    assert row.status == "skipped"
    assert "reset since the previous pass" in (row.reason or "")


def test_pg_monitor_alone_sees_everything(server: PostgresServer) -> None:
    rows = see(server.dsn("monitor", "m"))
    assert rows["postgres_size"].value == int(server.psql("select sum(pg_database_size(oid)) from pg_database"))
    assert "1 of them running a query" in rows["postgres_connections"].message


def test_a_plain_role_sees_less_and_says_so(server: PostgresServer) -> None:
    with closing(psycopg2.connect(server.dsn())):
        rows = see(server.dsn("plain", "p"))
    assert rows["postgres_connections"].message == "2 of 100 connections in use"
    seen = server.psql("select sum(pg_database_size(oid)) from pg_database where datname <> 'closed'")
    assert rows["postgres_size"].value == int(seen)
    assert "in 3 databases of 4; GRANT pg_monitor" in rows["postgres_size"].message


def test_every_reader_shares_one_read_only_connection_which_ends_with_the_pass(server: PostgresServer) -> None:
    settings = Settings(POSTGRES_DSN=server.dsn())
    host = Host()
    first = read_rows(host, settings, "select pg_backend_pid()")
    assert read_rows(host, settings, "select pg_backend_pid()") == first
    mine = "select count(*) from pg_stat_activity where application_name = 'vpsmon'"
    assert server.psql(mine) == "1"
    with pytest.raises(QueryError) as refusal:
        read_rows(host, settings, "create table oops ()")
    assert refusal.value.code == "25006"
    assert read_rows(host, settings, "select current_database()", database="closed") == [("closed",)]
    del host, refusal
    wait_until(lambda: server.psql(mine) == "0", 5, "the connection is closed")
    assert "unexpected EOF" not in (server.folder / "log").read_text()


def test_a_slow_query_is_ended_and_the_connection_goes_on(server: PostgresServer) -> None:
    host, settings = Host(), Settings(POSTGRES_DSN=server.dsn())
    started = time.monotonic()
    with pytest.raises(QueryError, match="more than 1 s"):
        read_rows(host, settings, "select pg_sleep(30)")
    assert time.monotonic() - started < 2
    assert read_rows(host, settings, "select 1") == [(1,)]


def test_a_wrong_password_names_the_user_and_the_remedy(server: PostgresServer) -> None:
    assert reason_of(server.dsn("plain", SECRET.replace("\\", "\\\\").replace("'", "\\'"))) == (
        'PostgreSQL (POSTGRES_DSN): password authentication failed for user "plain";'
        " check user and password in POSTGRES_DSN"
    )


def test_no_password_says_so(server: PostgresServer) -> None:
    assert "no password supplied" in reason_of(f"host=127.0.0.1 port={server.port} user=plain dbname=postgres")


def test_a_database_that_does_not_exist_is_named(server: PostgresServer) -> None:
    assert reason_of(server.dsn(database="nope")) == (
        'PostgreSQL (POSTGRES_DSN): database "nope" does not exist; check the name of the database in POSTGRES_DSN'
    )


def test_a_database_of_n8n_that_does_not_exist_is_not_a_matter_of_passwords(server: PostgresServer) -> None:
    with pytest.raises(ReadError, match=r'database "nope" does not exist; what uses nope .* has not made it') as caught:
        read_tables(Host(), Settings(POSTGRES_DSN=server.dsn()), "select 1", database="nope")
    assert "PASSWORD" not in str(caught.value)


def test_a_database_that_the_role_may_not_enter_says_what_to_grant(server: PostgresServer) -> None:
    assert "; GRANT CONNECT ON DATABASE" in reason_of(server.dsn("plain", "p", "closed"))
    server.psql("create database shut allow_connections false")
    assert "; ALTER DATABASE … ALLOW_CONNECTIONS true" in reason_of(server.dsn(database="shut"))
    server.psql("drop database shut")


def test_a_server_is_read_that_is_given_instead_of_found(server: PostgresServer) -> None:
    given, query = describe_dsn(server.dsn("monitor", "m")), "select session_user::text"
    host, settings = Host(), Settings(POSTGRES_DSN=server.dsn())
    assert read_rows(host, settings, query, server=given) == [("monitor",)]
    assert read_rows(host, settings, query) == [("postgres",)]


def test_a_malformed_dsn_does_not_repeat_the_password() -> None:
    reason = reason_of("postgresql://user:SEC%RET@host/db")
    assert "SEC" not in reason
    assert "malformed" in reason


def test_a_uri_with_escapes_works(server: PostgresServer) -> None:
    rows = see(f"postgresql://postgres:super%20secret@127.0.0.1:{server.port}/postgres")
    assert rows["postgres_connections"].status == "ok"


def test_nothing_that_listens_is_said_at_once() -> None:
    started = time.monotonic()
    assert "nothing listens" in reason_of(f"host=127.0.0.1 port={free_port()} user=a")
    assert time.monotonic() - started < 1


def test_a_server_that_takes_the_connection_and_is_silent_costs_one_deadline() -> None:
    started = time.monotonic()
    with silent_server() as port:
        assert "does not answer" in reason_of(f"host=127.0.0.1 port={port} user=a")
    assert time.monotonic() - started < 3


def test_a_frozen_server_costs_one_deadline(server: PostgresServer) -> None:
    server.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert "does not answer" in reason_of(server.dsn())
        assert time.monotonic() - started < 3
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_backend_that_freezes_after_connecting_fails_this_query_and_every_later_one_at_once(
    server: PostgresServer,
) -> None:
    host, settings = Host(), Settings(POSTGRES_DSN=server.dsn())
    backend = read_rows(host, settings, "select pg_backend_pid()")[0][0]
    os.kill(backend, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(ReadError, match="frozen"):
            read_rows(host, settings, "select 1")
        assert time.monotonic() - started < 2
        with pytest.raises(ReadError, match="frozen"):
            read_rows(host, settings, "select 1")
        assert time.monotonic() - started < 2
    finally:
        os.kill(backend, signal.SIGCONT)


def test_a_connection_that_the_server_ends_is_a_reason(server: PostgresServer) -> None:
    host, settings = Host(), Settings(POSTGRES_DSN=server.dsn())
    backend = read_rows(host, settings, "select pg_backend_pid()")[0][0]
    server.psql(f"select pg_terminate_backend({backend})")
    with pytest.raises(ReadError, match="closed the connection"):
        read_rows(host, settings, "select 1")


def test_too_many_clients_is_critical_for_any_role() -> None:
    with postgres_server(max_connections=6, superuser_reserved_connections=2) as full, ExitStack() as stack:
        full.psql("create role plain login password 'p'")
        for _ in range(4):
            stack.enter_context(closing(psycopg2.connect(full.dsn("plain", "p"))))
        rows = see(full.dsn("plain", "p"))
        assert rows["postgres_connections"].status == "critical"
        assert rows["postgres_connections"].value is None
        assert "applications are refused now" in rows["postgres_connections"].message
        assert rows["postgres_size"].status == "unknown"
        superuser = see(full.dsn())["postgres_connections"]
        assert (superuser.status, superuser.value) == ("critical", 5)
        assert "applications are refused now" in superuser.message
        for _ in range(2):
            stack.enter_context(closing(psycopg2.connect(full.dsn())))
        assert see(full.dsn())["postgres_connections"].status == "critical"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"restore_command": "sleep 60"}, "it is starting up; wait"),
        ({"hot_standby": "off"}, "it is a standby that takes no connections: hot_standby is off"),
    ],
)
def test_a_server_that_is_not_ready_says_so(options: dict[str, str], said: str) -> None:
    with postgres_server(standby=True, **options) as waiting:
        wait_until(lambda: said in reason_of(waiting.dsn()), 10, said)
        with pytest.raises(Starting):
            read_rows(Host(), Settings(POSTGRES_DSN=waiting.dsn()), "select 1")


def test_a_hot_standby_is_read_like_any_server() -> None:
    with postgres_server(standby=True) as standby:
        wait_until(lambda: see(standby.dsn())["postgres_size"].status == "ok", 10, "the standby answers")


def test_without_docker_a_server_on_this_host_is_found_by_its_socket() -> None:
    """In namespaces of its own, where port 5432 and /run/postgresql are free."""
    with postgres_server() as own:
        script = (
            "import sys\n"
            "from tests.kit.stack import find_rows\n"
            "from vpsmon.checks.stack import postgres\n"
            "from vpsmon.system.host import Host\n"
            "from vpsmon.stack.postgres.server import find_server\n"
            "from vpsmon.config.settings import Settings\n"
            "for row in find_rows(postgres, Settings()).values():\n"
            "    print(row.check, row.status, row.value, row.reason)\n"
            "print(find_server(Host(), Settings()).describe())\n"
        )
        own.process.send_signal(signal.SIGINT)
        own.process.wait(10)
        data = own.folder / "data"
        shell = f"""
            ip link set lo up && mount -t tmpfs tmpfs /run/postgresql && chmod 777 /run/postgresql
            "$2" -c "$1" | sed 's/^/before: /'
            setpriv --reuid=postgres --regid=postgres --clear-groups --pdeathsig QUIT \\
                {postgres_folder()}/bin/postgres -D {data} -c port=5432 -c unix_socket_directories=/run/postgresql &
            for _ in $(seq 100); do [ -S /run/postgresql/.s.PGSQL.5432 ] && break; sleep 0.1; done; sleep 0.5
            "$2" -c "$1"
            kill -QUIT $! ; wait
        """
        argv = ["unshare", "--net", "--mount", "sh", "-c", shell, "sh", script, sys.executable]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "before: postgres_size skipped None" in done.stdout, done.stdout + done.stderr
    assert "\npostgres_size ok" in done.stdout, done.stdout + done.stderr
    assert "/var/run/postgresql:5432 (on this host)" in done.stdout


@pytest.fixture
def stack(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    """The engine with the image of the stack, as the one that vpsmon finds."""
    import_stack_image(engine)
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    return engine


def test_a_container_without_published_ports_on_an_internal_network_is_found_by_its_label(stack: DockerEngine) -> None:
    options = {
        "user": str(POSTGRES_USER_ID),
        "environment": {"POSTGRES_USER": "owner", "POSTGRES_PASSWORD": SECRET, "POSTGRES_DB": "crm"},
        "labels": {"com.docker.compose.service": "postgres", "com.docker.compose.project": "crm"},
        "network": "crm_backend",
    }
    command = ["/postgres-entrypoint", "-c", "port=5433"]
    with (
        internal_network(stack, "crm_backend"),
        run_container(stack, "crm-postgres-1", command, image=STACK_IMAGE, **options) as container,
    ):

        def psql(query: str) -> str:
            program = str(postgres_folder() / "bin/psql")
            argv = [program, "-h", "/tmp", "-p", "5433", "-U", "owner", "-XAtqc", query, "crm"]
            return run_in(container, argv).output.strip()

        wait_until(lambda: psql("select 1") == "1", 60, "PostgreSQL in the container answers")
        rows = find_rows(postgres, Settings())
        assert rows["postgres_size"].value == int(psql("select sum(pg_database_size(oid)) from pg_database"))
        assert rows["postgres_connections"].value == int(
            psql("select count(*) from pg_stat_activity where backend_type = 'client backend'")
        )
        described = find_server(Host(), Settings()).describe()
        assert "crm-postgres-1" in described
        assert "user owner, database crm" in described
        assert SECRET not in repr(find_server(Host(), Settings()))
        psql("create table leads (); insert into leads default values")
        assert read_lead_count(Host(), Settings()) == LeadCount(1, False)
        psql("alter role owner password 'changed'")
        refused = find_rows(postgres, Settings())["postgres_size"]
        assert refused.status == "unknown"
        assert "is only the first password: set POSTGRES_DSN" in (refused.reason or "")
        assert SECRET not in str(refused)
        container.stop(timeout=5)
        stopped = find_rows(postgres, Settings())["postgres_size"]
        assert "its container crm-postgres-1 is exited: docker logs crm-postgres-1" in (stopped.reason or "")


def test_a_password_in_a_file_is_named_as_not_readable(stack: DockerEngine) -> None:
    with run_container(
        stack,
        "postgres",
        ["/postgres-entrypoint"],
        image=STACK_IMAGE,
        user=str(POSTGRES_USER_ID),
        environment={"POSTGRES_PASSWORD_FILE": "/run/secrets/postgres"},
    ) as container:
        wait_until(lambda: b"ready to accept" in container.logs(), 60, "PostgreSQL in the container answers")
        row = find_rows(postgres, Settings())["postgres_size"]
    assert row.status == "unknown"
    assert "has POSTGRES_PASSWORD_FILE, a file only it can read: set POSTGRES_DSN" in (row.reason or "")


def test_a_container_of_another_name_is_found_by_its_image(stack: DockerEngine) -> None:
    image = stack.client.images.get(STACK_IMAGE)
    image.tag("vpsmon-test/postgres", "15")
    with run_container(stack, "crm-db-1", ["sleep", "60"], image="vpsmon-test/postgres:15"):
        row = find_rows(postgres, Settings())["postgres_size"]
    assert row.status == "unknown"  # what runs in it is not PostgreSQL
    assert "container crm-db-1" in (row.reason or "")


LEAD_TABLES = """
create schema crm;
create table crm.leads (id int); insert into crm.leads select generate_series(1, 10);
create table public."Lead_archive" (id int); insert into "Lead_archive" select generate_series(1, 5);
create table "lead""; drop table victim; --" (id int); insert into "lead""; drop table victim; --" values (1), (2);
create table victim (id int);
create view lead_view as select * from crm.leads;
create materialized view lead_summary as select * from crm.leads;
create table leads_by_month (id int) partition by range (id);
create table leads_by_month_1 partition of leads_by_month for values from (1) to (100);
create table other_name partition of leads_by_month for values from (100) to (200);
insert into leads_by_month select generate_series(1, 150);
create table contacts (id int) partition by range (id);
create table contacts_lead partition of contacts for values from (1) to (10);
create table contacts_rest partition of contacts for values from (10) to (99);
insert into contacts select generate_series(1, 20);
create table old_leads (id int); create table old_leads_child () inherits (old_leads);
insert into old_leads values (1); insert into old_leads_child values (2);
"""
# 10 + 5 + 2 + 150 (partitions of any name, once) + 9 (a partition called so of a table that is not) + 2 (inherited).
LEADS = 178


def test_leads_are_counted_once_in_all_tables_named_so_and_hostile_names_are_only_names(
    server: PostgresServer,
) -> None:
    server.psql("create database leads")
    settings = Settings(POSTGRES_DSN=server.dsn(database="leads"))
    try:
        with pytest.raises(Exception, match="set LEAD_COUNT_QUERY"):
            read_lead_count(Host(), settings)
        server.psql(LEAD_TABLES, "leads")
        assert read_lead_count(Host(), settings) == LeadCount(LEADS, False)
        assert server.psql("select count(*) from pg_class where relname = 'victim'", "leads") == "1"
        plain = Settings(POSTGRES_DSN=server.dsn("plain", "p", "leads"))
        with pytest.raises(ReadError, match=r"permission denied.*GRANT SELECT on .*crm\.leads"):
            read_lead_count(Host(), plain)
    finally:
        server.psql("drop database leads")


def test_a_table_too_large_to_count_is_estimated(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.stack.postgres.leads._EXACT_BYTES", 100_000)
    server.psql("create database estimate")
    settings = Settings(POSTGRES_DSN=server.dsn(database="estimate"))
    try:
        server.psql("create table leads as select generate_series(1, 20000) as id", "estimate")
        server.psql("create table few_leads as select 1 as id", "estimate")
        with pytest.raises(ReadError, match=r"public\.leads is too large to count and has no estimate: run ANALYZE"):
            read_lead_count(Host(), settings)
        server.psql("analyze", "estimate")
        assert read_lead_count(Host(), settings) == LeadCount(20001, True)
    finally:
        server.psql("drop database estimate")


@pytest.mark.parametrize(
    "query",
    [
        "select 7",
        "select count(*) from generate_series(1, 7);",
        "with a as (select 7.0) select * from a -- all of them",
    ],
)
def test_lead_count_query_wins(server: PostgresServer, query: str) -> None:
    settings = Settings(POSTGRES_DSN=server.dsn(), LEAD_COUNT_QUERY=query)
    assert read_lead_count(Host(), settings) == LeadCount(7, False)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select 1; drop table x", "without a semicolon"),
        ("delete from pg_class", "syntax error"),
        ("select 1) as a, (select 2", "one row with one number"),
        ("select 'many'", "one row with one number"),
        ("select null::int", "one row with one number"),
        ("select 'nan'::float8", "one row with one number"),
        ("select -1", "one row with one number"),
        ("select true", "one row with one number"),
        ("select generate_series(1, 2)", "one row with one number"),
        ("select 1 where false", "one row with one number"),
        ("select count(*) from nowhere", 'relation "nowhere" does not exist'),
        ("select nextval('s')", "does not exist"),
        ("select 1 from pg_sleep(20)", "more than 1 s"),
    ],
)
def test_a_lead_count_query_that_is_no_number_says_what_is_wanted(
    server: PostgresServer, query: str, said: str
) -> None:
    with pytest.raises(ReadError, match=said):
        read_lead_count(Host(), Settings(POSTGRES_DSN=server.dsn(), LEAD_COUNT_QUERY=query))
