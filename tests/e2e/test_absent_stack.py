"""On a machine without a stack a pass does not pay for one, and notices at once when there is one."""

from __future__ import annotations

import json
from typing import Any

from tests.kit.command import Workdir, started_vpsmon
from tests.kit.kernel import wait_until
from tests.kit.stack import redis_server

NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def look(workdir: Workdir, **variables: str) -> dict[str, dict[str, Any]]:
    done = workdir.run("monitor", "--once", "--json", env={**NO_DOCKER, **variables})
    assert done.returncode == 0, done.stderr
    return {row["check"]: row for row in json.loads(done.stdout)["checks"]}


def test_the_rows_stay_the_same_when_nothing_is_looked_for(workdir: Workdir) -> None:
    first, second = look(workdir), look(workdir)
    assert list(first) == list(second)
    for name in ("container_state", "postgres_size", "redis_memory", "n8n_queue", "waha_session"):
        assert second[name]["status"] == "skipped"
        assert (second[name]["unit"], second[name]["value"]) == (first[name]["unit"], None)
        assert "no Docker engine" in second[name]["reason"]


def test_a_server_that_comes_is_found_by_the_next_pass_and_missed_when_it_goes(workdir: Workdir) -> None:
    look(workdir)
    with redis_server() as server:
        assert look(workdir, REDIS_URL=server.url)["redis_memory"]["status"] == "ok"
    assert look(workdir, REDIS_URL=server.url)["redis_memory"]["status"] == "unknown"


def test_the_resident_monitor_starts_no_child_for_nothing(workdir: Workdir) -> None:
    look(workdir)
    trace = workdir.path / "trace"
    variables = {**NO_DOCKER, "PYTHONPROFILEIMPORTTIME": "1"}
    with started_vpsmon(["monitor", "--interval", "0.2"], env=variables, cwd=workdir.path) as process:
        state = workdir.path / ".alerts/pass_state.json"
        before = state.stat().st_mtime_ns
        wait_until(lambda: state.stat().st_mtime_ns > before + 10**9, 20, "some passes")
        process.terminate()
        _, errors = process.communicate(timeout=20)
    trace.write_text(errors)
    assert "vpsmon.resident.watcher" in errors
    assert "vpsmon.checks.stack.redis" not in errors
