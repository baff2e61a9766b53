"""A container that should run and whose start failed: it is started when that works, and said when it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from docker.models.containers import Container

from tests.kit.docker import DockerEngine, run_container
from tests.kit.recovery import QUICK, SLEEP, Bench, done, list_actions, sick_container, status
from tests.kit.telegram import FakeTelegram

pytestmark = pytest.mark.usefixtures("docker_host")


@contextmanager
def container_without_its_port(
    engine: DockerEngine, name: str, policy: str = "always"
) -> Iterator[tuple[Container, socket.socket]]:
    """A container that ran, and whose next start failed because somebody has taken its port; and that somebody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    options: dict[str, Any] = {"ports": {"80/tcp": address}, "restart_policy": {"Name": policy}, **QUICK}
    with run_container(engine, name, SLEEP, **options) as container:
        container.stop()
        with socket.create_server(address) as server:
            with pytest.raises(docker.errors.APIError):
                container.start()
            container.reload()
            assert (container.status, bool(container.attrs["State"]["Error"])) == ("exited", True)
            yield container, server


@pytest.mark.parametrize("what", ["loops", "unhealthy", "run-all"])
def test_a_database_whose_start_failed_is_started_before_what_needs_it(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram, what: str
) -> None:
    bench = Bench(tmp_path, telegram=telegram, UNHEALTHY_AFTER_SEC=1)
    with container_without_its_port(engine, "redis") as (redis, server), sick_container(engine, "n8n"):
        bench.settings = bench.settings._replace(ENABLE_AUTO_RECOVERY=False)
        bench.run()
        bench.offset += 10
        bench.settings = bench.settings._replace(ENABLE_AUTO_RECOVERY=True)
        server.close()
        since = time.time()
        result = bench.run_as_planned(engine, what)
        assert [(each.name, each.verdict) for each in result.decisions] == [
            ("redis", "act"),
            *([] if what == "loops" else [("n8n", "hold")]),
        ]
        assert done(result) == [("start the container redis", "it helped")]
        assert status(redis) == "running"
        assert list_actions(engine, since) == ["start redis"]
    message = bench.last_message()
    assert message.startswith(
        "🔵 INFO recovery start_failed redis\nredis should run (restart policy always) and does not: "
    )
    assert "address already in use" in message
    assert message.endswith("Started the container redis: it helped")


def test_what_cannot_be_started_is_tried_three_times_and_said(
    engine: DockerEngine,
    tmp_path: Path,
    telegram: FakeTelegram,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vpsmon.recovery.rules.start_failed._VERIFY_SECONDS", 1.0)
    bench = Bench(tmp_path, telegram=telegram)
    with container_without_its_port(engine, "web", "unless-stopped") as (web, _):
        verdicts = []
        for _ in range(8):
            verdicts += [each.verdict for each in bench.run("loops").decisions]
            bench.offset += 700
        assert verdicts.count("act") == 3
        assert verdicts[-1] == "given up"
        assert status(web) == "exited"
    assert len(telegram.messages) == 3
    message = bench.last_message()
    assert message.startswith("🔴 CRITICAL recovery start_failed web\nweb should run (restart policy unless-stopped)")
    assert "Tried to start the container web: it did not help: Docker at" in message
    assert "that was the last attempt, manual action needed\n→ fix the cause, then docker start web" in message


def test_what_a_person_has_stopped_is_left_stopped(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    always = {"restart_policy": {"Name": "always"}, **QUICK}
    with run_container(engine, "redis", SLEEP, **always) as redis, run_container(engine, "job", ["false"]):
        redis.stop()
        for _ in range(3):
            assert bench.run().decisions == []
            bench.offset += 400
        assert status(redis) == "exited"
