"""Judging PostgreSQL, and what its refusals mean: no server needed."""

from __future__ import annotations

from typing import Any

import pytest

from vpsmon.checks.stack import postgres
from vpsmon.checks.stack.postgres import Reading, Size, Statistics
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Previous
from vpsmon.stack.postgres.session import NoFreeSlot, _explain_refusal

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
    ("text", "said"),
    [
        ("FATAL:  the database system is in recovery mode\n", "it crashed and is in recovery"),
        ("FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent", "still in recovery"),
        ("FATAL:  the database system is shutting down\n", "is shutting down"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "a"', 'no pg_hba.conf entry for host "1.2.3.4"'),
        ('connection failed: FATAL:  Peer authentication failed for user "x\x1b[2J"\n', 'user "x?[2J"'),
        ('could not translate host name "db" to address', "could not translate host name"),
        ("", "db:5432"),
    ],
)
def test_a_refusal_is_said_in_words(text: str, said: str) -> None:
    assert said in str(_explain_refusal(text, "db:5432"))


@pytest.mark.parametrize(
    "text",
    [
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
        'FATAL:  remaining connection slots are reserved for roles with privileges of the role "x"',
        'FATAL:  too many connections for role "n8n"',
    ],
)
def test_a_server_without_a_free_slot_is_recognised(text: str) -> None:
    assert isinstance(_explain_refusal(text, "db:5432"), NoFreeSlot)
