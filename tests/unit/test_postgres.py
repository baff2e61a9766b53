"""Judging PostgreSQL, and what its refusals mean: no server needed."""

from __future__ import annotations

from typing import Any

import pytest

from vpsmon.checks.stack import postgres
from vpsmon.checks.stack.postgres import Reading, Size, Statistics
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Previous, ReadError, Starting
from vpsmon.stack.docker.containers import parse_container
from vpsmon.stack.postgres.container import find_login, find_port, find_remedies
from vpsmon.stack.postgres.refusals import NoFreeSlot, Refused, Remedies, Unreachable, explain_refusal
from vpsmon.stack.postgres.server import describe_dsn

CALM = Statistics(10_000, 1_000, "start", 10, 2, 100, 3)
MEMORY: dict[str, Any] = {"hit_blocks": 9_000, "read_blocks": 900, "counted_since": "start"}


def judge_cache(hit: int, read: int, memory: dict[str, Any] | None = MEMORY, **keys: Any) -> Any:
    statistics = CALM._replace(hit_blocks=9_000 + hit, read_blocks=900 + read)
    previous = None if memory is None else Previous(memory, 30.0)
    return postgres.judge(Reading(statistics, None, "x"), Settings(**keys), previous)[0]


@pytest.mark.parametrize(
    ("hit", "read", "status", "is_clear", "value"),
    [
        (1000, 0, "ok", True, 100.0),
        (9_100, 900, "ok", True, 91.0),
        (9_050, 950, "ok", False, 90.5),
        (9_000, 1_000, "ok", False, 90.0),
        (8_999, 1_001, "warning", False, 89.99),
        (8_000, 2_000, "warning", False, 80.0),
        (7_999, 2_001, "critical", False, 79.99),
        (0, 1000, "critical", False, 0.0),
    ],
)
def test_the_hit_ratio_is_judged_by_its_two_limits(
    hit: int, read: int, status: str, is_clear: bool, value: float
) -> None:
    finding = judge_cache(hit, read)
    assert (finding.status, finding.is_clear, finding.value) == (status, is_clear, value)


def test_a_high_limit_can_still_be_cleared() -> None:
    assert judge_cache(99_600, 400, POSTGRES_CACHE_THRESHOLD=99.5).is_clear


@pytest.mark.parametrize(
    ("hit", "read", "memory", "said"),
    [
        (500, 499, MEMORY, "only 999 blocks"),
        (0, 0, MEMORY, "only 0 blocks"),
        (-1, 5000, MEMORY, "reset since"),
        (5000, -1, MEMORY, "reset since"),
        (5000, 5000, MEMORY | {"counted_since": "later"}, "restarted or its statistics were reset"),
        (5000, 5000, None, "there is none"),
        (5000, 5000, {}, "there is none"),
        (5000, 5000, {"hit_blocks": "many", "read_blocks": None}, "there is none"),
    ],
)
def test_where_there_is_no_ratio_the_reason_says_why(
    hit: int, read: int, memory: dict[str, Any] | None, said: str
) -> None:
    finding = judge_cache(hit, read, memory)
    assert (finding.status, finding.value) == ("skipped", None)
    assert said in finding.reason


@pytest.mark.parametrize(
    ("used", "most", "status", "is_clear"),
    [
        (72, 100, "ok", True),
        (73, 100, "ok", False),
        (80, 100, "ok", False),
        (81, 100, "warning", False),
        (95, 100, "warning", False),
        (96, 100, "critical", False),
        (7, 10, "ok", True),  # ours is one of them: six applications, one slot left for a seventh
        (8, 10, "critical", False),
    ],
)
def test_connections_are_judged_by_their_share_and_by_what_is_left_for_applications(
    used: int, most: int, status: str, is_clear: bool
) -> None:
    statistics = CALM._replace(connections=used, max_connections=most)
    finding = postgres.judge(Reading(statistics, None, "x"), Settings(), None)[1]
    assert (finding.status, finding.is_clear, finding.value) == (status, is_clear, used)


def test_no_free_slot_is_critical_and_the_rest_is_unknown() -> None:
    findings = postgres.judge(Reading(None, None, "all its slots are taken"), Settings(), None)
    assert [(each.check, each.status) for each in findings] == [
        ("postgres_cache_hit", "unknown"),
        ("postgres_connections", "critical"),
        ("postgres_size", "unknown"),
    ]
    assert {each.check for each in findings} == postgres.ROWS.keys()
    assert all(each.reason for each in findings if each.status == "unknown")


def test_the_size_says_what_it_does_not_see() -> None:
    assert postgres.judge(Reading(CALM, Size(5, 3, 3), None), Settings(), None)[2].message == "5 bytes in 3 databases"
    partial = postgres.judge(Reading(CALM, Size(5, 2, 3), None), Settings(), None)[2]
    assert partial.message == "5 bytes in 2 databases of 3; GRANT pg_monitor lets vpsmon see the others"


def test_what_is_remembered_survives_a_pass_without_a_slot() -> None:
    remembered = postgres.remember(Reading(CALM, None, "x"), None)
    assert remembered == {"hit_blocks": 10_000, "read_blocks": 1_000, "counted_since": "start"}
    assert postgres.remember(Reading(None, None, "x"), Previous(remembered, 30)) == remembered
    assert postgres.remember(Reading(None, None, "x"), None) == {}


def test_the_lifetime_ratio_of_a_new_server_is_none() -> None:
    assert CALM._replace(hit_blocks=0, read_blocks=0).lifetime_hit_percent is None
    assert CALM._replace(hit_blocks=3, read_blocks=1).lifetime_hit_percent == 75


# As libpq passes them on; those that the end-to-end tests do not provoke.
@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (
            "FATAL:  57P03: the database system is in recovery mode\nLOCATION:  x",
            Starting,
            "it crashed and is in recovery",
        ),
        ("FATAL:  57P03: the database system is not yet accepting connections\n", Starting, "still in recovery"),
        ("FATAL:  57P03: the database system is shutting down\n", Starting, "is shutting down"),
        ("FATAL:  57P03: das Datenbanksystem startet\n", Starting, "takes no connections now: das Datenbanksystem"),
        ("FATAL:  57P01: wird beendet\n", Starting, "wird beendet"),
        ('FATAL:  28000: no pg_hba.conf entry for host "1.2.3.4"', Refused, 'no pg_hba.conf entry for host "1.2.3.4"'),
        ('x failed: FATAL:  28000: Peer authentication failed for "x\x1b[2J"\n', Refused, 'for "x?[2J"'),
        ("FATAL:  53300: zu viele Verbindungen", NoFreeSlot, "all its connection slots are taken"),
        ('could not translate host name "db" to address', Unreachable, "could not translate host name"),
        ("", Unreachable, "db:5432"),
    ],
)
def test_a_refusal_is_told_apart_by_its_code_in_any_language(text: str, kind: type[ReadError], said: str) -> None:
    error = explain_refusal(text, "db:5432")
    assert type(error) is kind
    assert said in str(error)


def test_each_refusal_has_its_own_remedy() -> None:
    codes = ("28P01", "28000", "3D000", "42501", "55000", "08P01", "XX000")
    remedies = [Remedies("the password", "the database").find(code) for code in codes]
    assert len(set(remedies)) == len(codes)
    assert [remedy for remedy in remedies if "the password" in remedy] == remedies[:2]
    assert remedies[2] == "the database"


def in_container(command: list[str], environment: list[str]) -> tuple[int, dict[str, str], Remedies]:
    inspected = {
        "Name": "/db",
        "Path": command[0],
        "Args": command[1:],
        "Config": {"Image": "postgres:16", "Env": environment},
    }
    container = parse_container(inspected)
    return find_port(container), find_login(container), find_remedies(container)


@pytest.mark.parametrize(
    ("command", "environment", "port"),
    [
        (["postgres"], [], 5432),
        (["postgres", "-c", "port=5433"], [], 5433),
        (["postgres", "-cport=5433"], ["PGPORT=1"], 5433),
        (["postgres", "-p", "5433", "-c", "port=5434"], [], 5434),
        (["postgres", "-p5433"], [], 5433),
        (["postgres", "--port=5433", "-c", "max_connections=20"], [], 5433),
        (["postgres", "-c", "wal_level=logical"], ["PGPORT=5435"], 5435),
        (["sh", "-c", "exec postgres -p $PORT"], ["PORT=5436"], 5436),
        (["sh", "-c", "exec postgres -p $(cat /port)"], [], 5432),
        (["/opt/bitnami/scripts/postgresql/run.sh"], ["POSTGRESQL_PORT_NUMBER=5437"], 5437),
    ],
)
def test_the_port_is_that_of_the_command_line_or_the_environment(
    command: list[str], environment: list[str], port: int
) -> None:
    assert in_container(command, environment)[0] == port


@pytest.mark.parametrize(
    ("environment", "login"),
    [
        ([], {"user": "postgres", "dbname": "postgres"}),
        (["POSTGRES_USER=a", "POSTGRES_PASSWORD=p"], {"user": "a", "dbname": "a", "password": "p"}),
        (["POSTGRESQL_PASSWORD=p"], {"user": "postgres", "dbname": "postgres", "password": "p"}),
        (
            ["POSTGRESQL_USERNAME=a", "POSTGRESQL_PASSWORD=p", "POSTGRESQL_DATABASE=d"],
            {"user": "a", "dbname": "d", "password": "p"},
        ),
    ],
)
def test_the_login_is_that_of_the_official_image_and_of_bitnamis(environment: list[str], login: dict[str, str]) -> None:
    assert in_container(["postgres"], environment)[1] == login


def test_a_secret_file_is_named() -> None:
    remedies = in_container(["postgres"], ["POSTGRESQL_PASSWORD_FILE=/run/secrets/x"])[2]
    assert "has POSTGRESQL_PASSWORD_FILE, a file only it can read" in remedies.login


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://n8n:Se@cretPw9@127.0.0.1:5999/n8n",
        "postgresql://n8n:Se/cretPw9@127.0.0.1:5999/n8n",
        "postgresql://n8n:cretPw9#@x@127.0.0.1/n8n",
        "postgresql://n8n:%zzcretPw9@127.0.0.1/n8n",
        "postgresql://n8n:pw@127.0.0.1:cretPw9/n8n",
        "postgresql://n8n@cretPw9@127.0.0.1/n8n",
        "n8n:cretPw9@127.0.0.1/n8n",
        "host=cretPw9@127.0.0.1 user=n8n",
        "host=127.0.0.1 password=Se cretPw9",
        "host=127.0.0.1 port=cretPw9",
    ],
)
def test_a_password_in_the_wrong_place_is_never_shown(dsn: str) -> None:
    with pytest.raises(ReadError, match=r"^POSTGRES_DSN is malformed: .* as %XX") as caught:
        describe_dsn(dsn)
    assert "cretPw9" not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        ("postgresql://n8n:Se%40cret@db.example-1.com:5999/n8n?sslmode=require", "Se@cret"),
        ("postgresql://n8n:12#34@[::1]/n8n", "12#34"),
        ("postgresql://n8n:a:b@%2Fvar%2Frun/n8n", "a:b"),
        ("host=a,b port=1,2 user=n8n password='a b@/#?'", "a b@/#?"),
    ],
)
def test_what_libpq_understands_is_taken(dsn: str, password: str) -> None:
    assert describe_dsn(dsn).targets[0]["password"] == password
