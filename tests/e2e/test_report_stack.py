"""The report of the whole stack in real containers shows what PostgreSQL, Redis, n8n, WAHA and Docker say."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.kit.command import Workdir
from tests.kit.compose import POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY, ComposeStack, compose_stack
from tests.kit.docker import DockerEngine

TABLES = """
create table workflow_entity (id varchar(36), name varchar, active bool not null, "isArchived" bool not null);
insert into workflow_entity values ('a', 'Lead intake', true, false), ('b', 'Nightly <sync>', true, false),
  ('c', 'Old', false, false), ('d', 'Archived', false, true);
insert into execution_entity (status, "stoppedAt", "workflowId")
  select 'success', now() - interval '3 hours', 'a' from generate_series(1, 1204) union all
  select 'error', now() - interval '2 hours', 'b' from generate_series(1, 5) union all
  select 'crashed', now() - interval '23 hours', 'a' from generate_series(1, 2) union all
  select 'success', now() - interval '30 hours', 'a' from generate_series(1, 1100) union all
  select 'error', now() - interval '49 hours', 'a' from generate_series(1, 99);
insert into execution_entity (status) values ('running'), ('waiting');
create table leads as select g from generate_series(1, 3127) g;
"""


@pytest.fixture(scope="module")
def stack(engine: DockerEngine) -> Iterator[ComposeStack]:
    with compose_stack(engine) as running:
        running.psql(TABLES)
        running.waha.add("default")
        running.waha.add("sales", "SCAN_QR_CODE")
        running.redis("MSET", "a", "1", "b", "2", "c", "3")
        yield running


def report(workdir: Workdir, stack: ComposeStack) -> str:
    done = workdir.run("report", env={"DOCKER_HOST": stack.engine.url})
    assert done.returncode == 0, done.stderr
    for secret in (POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY):
        assert secret not in done.stdout + done.stderr
    return done.stdout


def find_row(text: str, label: str) -> str:
    found = re.search(rf"(?m)^. {label} {{2,}}(.*(?:\n {{8,}}\S.*)*)", text)
    assert found, (label, text)
    return re.sub(r"\s+", " ", found[1])


def test_every_number_is_the_true_one(workdir: Workdir, stack: ComposeStack) -> None:
    text = report(workdir, stack)
    assert find_row(text, "containers") == "6 running, 0 stopped, 0 restarting"
    assert "% of its limit of 64 MB" in find_row(text, "crm-blog-1")
    assert find_row(text, "workflows") == "2 active, 1 inactive"
    executions = (
        "1,204 completed, 7 failed the day before 1,100 and 0; failed most: Nightly <sync> (5), Lead intake (2)"
    )
    assert find_row(text, "executions") == executions
    assert find_row(text, "leads") == "3,127"
    assert ", 3 keys" in find_row(text, "Redis")
    databases = stack.psql("select count(*) from pg_database")
    assert re.fullmatch(
        rf"cache \d+\.\d %, \d+ of 100 connections · \d+ MB in {databases} databases", find_row(text, "PostgreSQL")
    )
    assert find_row(text, "WhatsApp") == "default: connected"
    assert re.search(r"▲ WhatsApp +sales: manual action needed", text)
    assert re.search(r"▲ waha_session sales", text)


def test_a_stopped_and_a_restarting_container_are_counted(workdir: Workdir, stack: ComposeStack) -> None:
    stack.containers["blog"].stop(timeout=0)
    try:
        assert find_row(report(workdir, stack), "containers").startswith("5 running, 1 stopped, 0 restarting")
    finally:
        stack.containers["blog"].start()


def test_a_docker_that_hangs_costs_its_part_of_the_report(workdir: Workdir, stack: ComposeStack) -> None:
    os.kill(stack.engine.process.pid, signal.SIGSTOP)
    try:
        text = report(workdir, stack)
    finally:
        os.kill(stack.engine.process.pid, signal.SIGCONT)
    assert "does not answer in time" in find_row(text, "containers")
    assert "PostgreSQL" in find_row(text, "cannot be read")
    assert re.search(r"(?m)^ memory +·{36} +\d+ MB", text)
    for service in ("PostgreSQL", "workflows", "leads"):
        assert not re.search(rf"{service} +\d", text)


def test_what_may_not_be_read_says_what_to_grant(workdir: Workdir, stack: ComposeStack) -> None:
    stack.psql("create role looker login password 'looker'; alter table leads owner to owner")
    address = stack.containers["postgres"]
    address.reload()
    networks = address.attrs["NetworkSettings"]["Networks"].values()
    host = next(each["IPAddress"] for each in networks if each["IPAddress"])
    workdir.write_config(POSTGRES_DSN=f"host={host} user=looker password=looker dbname=n8n")
    text = report(workdir, stack)
    assert "cannot be read" in find_row(text, "leads")
    assert "GRANT SELECT on public.leads" in find_row(text, "leads")
    assert "GRANT SELECT ON" in find_row(text, "executions")
    assert "1,204" not in text
