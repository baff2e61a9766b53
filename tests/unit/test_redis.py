"""Judging Redis: no server needed."""

from __future__ import annotations

import pytest

from vpsmon.checks.stack import redis
from vpsmon.checks.stack.redis import Reading
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Previous, ReadError
from vpsmon.stack.docker.containers import parse_container
from vpsmon.stack.redis.server import _find_login, _find_remedy, find_port

CALM = Reading(50 << 20, 100 << 20, "noeviction", 0, 7, 0, 3, "run1", None)


def judge(reading: Reading, previous: Previous | None = None) -> Finding:
    return redis.judge(reading, Settings(), previous)[0]


@pytest.mark.parametrize(
    ("used_mb", "status", "is_clear"),
    [
        (0, "ok", True),
        (81, "ok", True),
        (82, "ok", False),
        (90, "ok", False),
        (91, "warning", False),
        (97, "warning", False),
        (98, "critical", False),
        (103, "critical", False),
    ],
)
def test_with_noeviction_a_full_redis_is_trouble(used_mb: int, status: str, is_clear: bool) -> None:
    finding = judge(CALM._replace(used_bytes=used_mb << 20))
    assert (finding.status, finding.is_clear, finding.value) == (status, is_clear, used_mb << 20)
    assert ("it refuses writes at 100 %" in finding.message) == (status != "ok")


@pytest.mark.parametrize(
    ("policy", "expiring_keys", "status"),
    [
        ("allkeys-lru", 0, "ok"),
        ("allkeys-random", 0, "ok"),
        ("volatile-lru", 5, "ok"),
        ("volatile-ttl", 0, "critical"),  # nothing that it may evict
        ("noeviction", 5, "critical"),
    ],
)
def test_whether_full_is_normal_depends_on_what_may_be_evicted(policy: str, expiring_keys: int, status: str) -> None:
    assert judge(CALM._replace(used_bytes=100 << 20, policy=policy, expiring_keys=expiring_keys)).status == status


def test_without_maxmemory_the_limit_of_the_container_counts() -> None:
    free = CALM._replace(limit_bytes=0, policy="allkeys-lru")
    assert judge(free).message == "50 MB in 7 keys for 3 clients, no maxmemory limit"
    full = judge(free._replace(container_limit_bytes=51 << 20))
    assert full.status == "critical"
    assert full.message.endswith("98 % of the container's limit (51 MB), the kernel kills it at 100 %")


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ({"evicted_keys": 40, "run_id": "run1"}, ", 60 keys evicted since the previous pass"),
        ({"evicted_keys": 100, "run_id": "run1"}, None),
        ({"evicted_keys": 200, "run_id": "run1"}, None),
        ({"evicted_keys": 40, "run_id": "another"}, None),
        ({"evicted_keys": "x", "run_id": "run1"}, None),
        ({}, None),
    ],
)
def test_evictions_are_those_since_the_previous_pass(memory: dict[str, object], said: str | None) -> None:
    message = judge(CALM._replace(evicted_keys=100), Previous(memory, 30.0)).message
    assert message.endswith(said) if said else "evicted" not in message


def test_what_is_remembered_is_the_counter_and_its_run() -> None:
    assert redis.remember(CALM._replace(evicted_keys=9), None) == {"evicted_keys": 9, "run_id": "run1"}


def test_what_info_does_not_tell_is_left_out() -> None:
    finding = judge(CALM._replace(clients=None, limit_bytes=0))
    assert finding.message == "50 MB in 7 keys, no maxmemory limit"
    names = {sample.name for sample in redis.measure(CALM._replace(clients=None), Settings(), None)}
    assert names == {"redis_memory_bytes", "redis_total_keys"}


def find(command: list[str], environment: list[str]) -> tuple[int, tuple[str, str], str]:
    inspected = {
        "Name": "/cache",
        "Path": command[0],
        "Args": command[1:],
        "Config": {"Image": "redis:7", "Env": environment},
    }
    container = parse_container(inspected)
    login = _find_login(container)
    return find_port(container), login, _find_remedy(container, bool(login[1]))


@pytest.mark.parametrize(
    ("command", "environment", "password"),
    [
        (["redis-server", "--requirepass", "$literal"], [], "$literal"),
        (
            ["sh", "-c", 'redis-server --requirepass "${REDIS_PASSWORD:?unset}"'],
            ["REDIS_PASSWORD=se;c ret"],
            "se;c ret",
        ),
        (["sh", "-c", "redis-server --requirepass $REDIS_PASSWORD; exit"], ["REDIS_PASSWORD=secret"], "secret"),
        (["sh", "-c", "redis-server --requirepass ${PW}"], ["PW=secret"], "secret"),
        (["sh", "-c", "redis-server --requirepass $(cat /run/x)"], ["REDIS_PASSWORD=secret"], "secret"),
        (["/run.sh"], ["VALKEY_PASSWORD=secret"], "secret"),
        (["/run.sh"], ["VALKEY_EXTRA_FLAGS=--requirepass secret --maxmemory 1mb"], "secret"),
        (["/run.sh"], ["ALLOW_EMPTY_PASSWORD=yes"], ""),
        (["sh", "-c", "redis-server --requirepass $(cat /run/x)"], [], ""),
    ],
)
def test_the_password_is_that_of_the_command_or_the_environment(
    command: list[str], environment: list[str], password: str
) -> None:
    assert find(command, environment)[1] == (("default", password) if password else ("", ""))


def test_where_the_password_cannot_be_known_the_remedy_says_why() -> None:
    assert "takes the password from a shell expression" in find(["sh", "-c", "x --requirepass $(cat /p)"], [])[2]
    assert "has VALKEY_PASSWORD_FILE, a file only it can read" in find(["x"], ["VALKEY_PASSWORD_FILE=/p"])[2]


def test_the_port_is_that_of_the_command_or_the_environment_and_tls_alone_is_said() -> None:
    assert find(["valkey-server", "--port", "6390"], ["VALKEY_PORT_NUMBER=1"])[0] == 6390
    assert find(["/run.sh"], ["REDIS_PORT_NUMBER=6391"])[0] == 6391
    with pytest.raises(ReadError, match="cache speaks only TLS, at port 6392: set REDIS_URL to rediss://"):
        find(["redis-server", "--port", "0", "--tls-port", "6392"], [])
