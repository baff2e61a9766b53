"""`monitor --once` on the whole stack in real containers, found with nothing but its own eyes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.kit.command import Workdir
from tests.kit.compose import POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY, ComposeStack, compose_stack
from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import wait_until
from tests.kit.stack import silent_server
from tests.kit.telegram import FakeTelegram

TABLES = """
insert into execution_entity (status, "stoppedAt") select 'success', now() from generate_series(1, 7);
insert into execution_entity (status, "stoppedAt") select 'error', now() from generate_series(1, 2);
insert into execution_entity (status) values ('running'), ('waiting');
create table big as select g, repeat('x', 500) as t from generate_series(1, 40000) g;
"""
STACK_CHECKS = {
    "container_memory",
    "container_restarts",
    "container_state",
    "n8n_executions",
    "n8n_queue",
    "postgres_cache_hit",
    "postgres_connections",
    "postgres_size",
    "redis_memory",
    "waha_session",
}


@pytest.fixture(scope="module")
def stack(engine: DockerEngine) -> Iterator[ComposeStack]:
    with compose_stack(engine) as running:
        running.psql(TABLES)
        running.waha.add("default")
        running.waha.add("sales", "STOPPED")
        for job in range(1, 4):
            running.redis("LPUSH", "bull:jobs:wait", str(job))
            running.redis("HSET", f"bull:jobs:{job}", "timestamp", str(int(time.time() * 1000)), "name", "job")
        yield running


def look(workdir: Workdir, stack: ComposeStack) -> dict[tuple[str, str | None], dict[str, Any]]:
    done = workdir.run("monitor", "--once", "--json", env={"DOCKER_HOST": stack.engine.url})
    assert done.returncode == 0, done.stderr
    for secret in (POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY):
        assert secret not in done.stdout + done.stderr
    return {(row["check"], row["object"]): row for row in json.loads(done.stdout)["checks"]}


def test_every_check_shows_the_true_value(workdir: Workdir, telegram: FakeTelegram, stack: ComposeStack) -> None:
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token, TELEGRAM_CHAT_ID=str(telegram.chat_id), TELEGRAM_API_BASE=telegram.url
    )
    look(workdir, stack)
    stack.psql("select count(*) from big; select count(*) from big; select count(*) from big")
    rows = look(workdir, stack)
    assert {check for check, _ in rows} >= STACK_CHECKS
    for service in stack.containers:
        assert rows["container_state", f"crm-{service}-1"]["status"] == "ok"
        assert rows["container_restarts", f"crm-{service}-1"]["value"] == 0
    assert rows["postgres_connections", None]["value"] >= 1
    assert rows["postgres_size", None]["value"] == pytest.approx(
        int(stack.psql("select sum(pg_database_size(oid)) from pg_database")), rel=0.02
    )
    assert 0 <= rows["postgres_cache_hit", None]["value"] <= 100
    used_memory = next(line for line in stack.redis("INFO", "memory").splitlines() if line.startswith("used_memory:"))
    used = int(used_memory.split(":")[1])
    assert rows["redis_memory", None]["value"] == pytest.approx(used, rel=0.05)
    assert rows["n8n_queue", None]["value"] == 3
    executions = rows["n8n_executions", None]
    assert (executions["value"], executions["message"].partition("; ")[2]) == (
        9,
        "1 active, 1 waiting; in the last hour 7 completed, 2 failed",
    )
    assert rows["waha_session", "default"]["status"] == "ok"
    assert rows["waha_session", "sales"]["status"] == "ok"


def test_memory_is_what_docker_stats_shows(workdir: Workdir, stack: ComposeStack) -> None:
    """Within 2 %; PostgreSQL moves between the two readings, so it may take more than one look."""

    def is_alike() -> bool:
        measured = look(workdir, stack)["container_memory", "crm-postgres-1"]["value"]
        return bool(measured == pytest.approx(read_docker_stats(stack, "crm-postgres-1"), rel=0.02))

    wait_until(is_alike, 60, "the same memory as docker stats")


def read_docker_stats(stack: ComposeStack, name: str) -> float:
    """Return what `docker stats` shows for a container, from the API's own figures."""
    stats: dict[str, Any] = stack.engine.client.containers.get(name).stats(stream=False)  # type: ignore[assignment]
    memory = stats["memory_stats"]
    details = memory["stats"]
    return float(memory["usage"] - details.get("total_inactive_file", details.get("inactive_file", 0)))


def test_secrets_are_not_remembered(workdir: Workdir, stack: ComposeStack) -> None:
    look(workdir, stack)
    for path in (workdir.path / ".alerts").iterdir():
        text = path.read_text(errors="replace")
        assert not any(secret in text for secret in (POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY)), path


def test_a_dead_essential_container_is_told_by_name(
    workdir: Workdir, telegram: FakeTelegram, stack: ComposeStack
) -> None:
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        DISK_WARNING_PCT=100,
        DISK_CRITICAL_PCT=100,
    )
    traefik = stack.containers["traefik"]
    look(workdir, stack)
    traefik.stop(timeout=0)
    try:
        look(workdir, stack)
        text = "\n".join(message.text for message in telegram.messages)
        assert "CRITICAL container_state" in text
        assert "crm-traefik-1" in text
    finally:
        traefik.start()
    look(workdir, stack)
    assert "RESOLVED container_state" in "\n".join(message.text for message in telegram.messages)


@pytest.mark.alone
def test_the_victim_of_an_oom_kill_is_named_by_its_container(workdir: Workdir, engine: DockerEngine) -> None:
    def read_kills() -> str:
        done = workdir.run("monitor", "--once", "--json", env={"DOCKER_HOST": engine.url})
        (row,) = (row for row in json.loads(done.stdout)["checks"] if row["check"] == "oom_kills")
        return str(row["message"])

    # Time for a pass to learn the name: the kernel checks do not wait for Docker.
    command = ["sh", "-c", "sleep 4; exec tail /dev/zero"]
    with run_container(engine, "crm-leaky-1", command, mem_limit="16m", memswap_limit="16m"):
        wait_until(lambda: "in container crm-leaky-1: its memory limit was reached" in read_kills(), 60, "it is named")


@contextmanager
def frozen(process_id: int) -> Iterator[None]:
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def test_three_services_that_hang_cost_one_deadline_and_no_kernel_row(
    workdir: Workdir, telegram: FakeTelegram, stack: ComposeStack
) -> None:
    """Docker is stopped, PostgreSQL and WAHA accept and never answer; what the kernel tells goes out before that."""
    with silent_server() as postgres_port, silent_server() as waha_port:
        workdir.write_config(
            TELEGRAM_BOT_TOKEN=telegram.token,
            TELEGRAM_CHAT_ID=str(telegram.chat_id),
            TELEGRAM_API_BASE=telegram.url,
            MEMORY_CRITICAL_MB=100_000_000,
            POSTGRES_DSN=f"host=127.0.0.1 port={postgres_port} user=x password=y dbname=z",
            WAHA_URL=f"http://127.0.0.1:{waha_port}",
        )
        with frozen(stack.engine.process.pid):
            started = time.monotonic()
            done = workdir.run("monitor", "--once", "--json", env={"DOCKER_HOST": stack.engine.url})
            ended = time.monotonic()
    rows = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["memory_available"]["status"] == "critical"
    for name in STACK_CHECKS - {"waha_session"}:
        assert rows[name]["status"] == "unknown", rows[name]
        assert rows[name]["reason"]
    assert rows["waha_session"]["status"] in ("unknown", "warning")
    # The kernel's alert was on its way before the deadline of the hanging ones.
    first = telegram.requests[0].received_at
    assert first - (time.time() - (time.monotonic() - started)) < ended - started - 2


def test_after_docker_hangs_the_next_pass_is_whole_again(workdir: Workdir, stack: ComposeStack) -> None:
    with frozen(stack.engine.process.pid):
        workdir.run("monitor", "--once", env={"DOCKER_HOST": stack.engine.url})

    def is_whole() -> bool:
        return look(workdir, stack).get(("container_state", "crm-redis-1"), {}).get("status") == "ok"

    wait_until(is_whole, 30, "Docker answers again")


def test_the_table_holds_the_stack(workdir: Workdir, stack: ComposeStack) -> None:
    done = workdir.run("monitor", "--once", env={"DOCKER_HOST": stack.engine.url})
    assert done.returncode == 0
    assert "crm-postgres-1" in done.stdout
