"""On a machine without a stack a pass does not pay for one, and notices at once when there is one."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.kit.command import Workdir, started_vpsmon
from tests.kit.kernel import wait_until
from tests.kit.stack import redis_server

KERNEL_CHECK = "/checks/kernel/__pycache__/memory."
STACK_CHECK = "/checks/stack/__pycache__/redis."
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


def test_the_resident_monitor_loads_no_check_of_the_stack_for_nothing(workdir: Workdir) -> None:
    look(workdir)
    trace = workdir.path / "trace"
    with started_vpsmon(["monitor", "--interval", "0.2"], env=NO_DOCKER, cwd=workdir.path) as process:
        state = workdir.path / ".alerts/pass_state.json"
        started = state.stat().st_mtime_ns
        wait_until(lambda: state.stat().st_mtime_ns > started, 20, "a pass")
        options = ["--follow-forks", "--quiet=all", "--trace=openat,execve", "--output", str(trace)]
        with subprocess.Popen(["strace", *options, "--attach", str(process.pid)]) as tracer:
            try:
                wait_until(lambda: trace.exists() and trace.read_text().count(KERNEL_CHECK) > 2, 30, "passes")
            finally:
                tracer.terminate()
    opened = trace.read_text()
    assert STACK_CHECK not in opened
    assert "execve" not in opened
