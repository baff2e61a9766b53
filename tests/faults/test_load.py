"""More of everything than a small server has: containers, kernel log, history, jobs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir, run_command, run_in_namespace, vpsmon_path
from tests.kit.engine import FakeEngine, PretendContainer
from tests.kit.n8n import FakeN8n
from tests.kit.stack import redis_server
from tests.kit.telegram import FakeTelegram

# Time and memory are what it is about.
pytestmark = pytest.mark.alone
KILLS = 300
# Of one process: many times what a pass needs, and far less than reading a large file into memory would take.
MOST_MEMORY_BYTES = 90_000_000


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


def read_rows(done: subprocess.CompletedProcess[str], check: str) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return [row for row in json.loads(done.stdout)["checks"] if row["check"] == check]


def test_five_hundred_containers_have_a_row_each(bench: Installation) -> None:
    """On a machine that is too slow for all of them, some rows say so; the others are there."""
    containers = [
        PretendContainer(f"{number:064x}", f"job-{number:03d}") for number in range(500)
    ]
    with FakeEngine(*containers) as engine:
        bench.have_a_new_alert(DISK_PATHS="")
        bench.workdir.run(*ONCE, env={"DOCKER_HOST": engine.host})
        for each in containers[::5]:
            each.stop()  # what has ended before the first look is no alert
        done = bench.workdir.run(*ONCE, "--json", env={"DOCKER_HOST": engine.host})
    rows = read_rows(done, "container_state")
    assert len(rows) == 500
    late = [row for row in rows if "no time left" in (row["reason"] or row["message"])]
    failed = {row["object"] for row in rows if row["status"] == "warning"}
    assert len(late) < 500
    assert failed >= {each.name for each in containers if each.status == "exited"} - {row["object"] for row in late}
    texts = [message.text for message in bench.telegram.messages]
    assert sum(text.count("WARNING container_state") for text in texts) == len(failed)
    assert len(texts) <= 10


def run_pass_in_namespace(bench: Installation, preparation: str) -> subprocess.CompletedProcess[str]:
    """Run a pass that finds programs in its own folder first."""
    path = f"{bench.path}:{os.environ['PATH']}"
    return run_in_namespace(bench.path, preparation, [*ONCE, "--json"], {"PATH": path}, timeout_seconds=120)


def test_ten_thousand_lines_of_the_kernel_log_with_three_hundred_kills(bench: Installation) -> None:
    """By dmesg: the kernel's own ring holds less, and belongs to all tests of this machine."""
    bench.have_a_new_alert(DISK_PATHS="")
    vmstat = Path("/proc/vmstat").read_text()
    kept = "".join(line + "\n" for line in vmstat.splitlines() if not line.startswith("oom_kill "))
    (bench.path / "before").write_text(f"{kept}oom_kill 5\n")
    (bench.path / "after").write_text(f"{kept}oom_kill {5 + KILLS}\n")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    sizes = "total-vm:1kB, anon-rss:2048kB, file-rss:3kB, shmem-rss:4kB"
    lines = [f"<6>[{uptime + number / 100_000:12.6f}] eth0: noise {number}" for number in range(10_000)]
    for number in range(KILLS):
        stamp = f"<3>[{uptime + number / 1000:12.6f}]"
        lines[number * 30] = f"{stamp} Out of memory: Killed process {number} (node) {sizes}"
    (bench.path / "log").write_text("\n".join(lines) + "\n")
    dmesg = bench.path / "dmesg"
    hidden = "mount -t tmpfs none /dev && touch /dev/null && mount --bind"
    dmesg.write_text("#!/bin/sh\nexit 0\n")
    dmesg.chmod(0o755)
    first = run_pass_in_namespace(bench, f"{hidden} before /proc/vmstat")
    assert read_rows(first, "oom_kills")[0]["value"] == 0
    dmesg.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(bench.path / 'log'))}\n")
    second = run_pass_in_namespace(bench, f"{hidden} after /proc/vmstat")
    assert read_rows(second, "oom_kills")[0]["value"] == KILLS
    third = run_pass_in_namespace(bench, f"{hidden} after /proc/vmstat")
    assert read_rows(third, "oom_kills")[0]["value"] == 0


@pytest.mark.parametrize("words", [ONCE, ["status"], ["report"]])
def test_a_hundred_megabytes_of_history_are_not_read_into_memory(bench: Installation, words: list[str]) -> None:
    name = bench.have_a_new_alert()
    bench.state.mkdir(mode=0o700)
    line = b"2026-01-01T00:00:00Z CRITICAL memory_available 50 MB of 973 MB memory available, critical below 50 MB\n"
    with open(bench.state / "alert_history.log", "wb") as file:
        for _ in range(100):
            file.write(line * 10_000)
    limit = f"--as={MOST_MEMORY_BYTES}"
    done = run_command(["prlimit", limit, str(vpsmon_path()), *words], bench.path, timeout_seconds=120)
    # 3: nothing is installed that could run.
    assert done.returncode == (3 if words == ["status"] else 0), done.stderr
    assert "Traceback" not in done.stderr
    bench.finish()
    assert name in (bench.state / "alert_history.log").read_text()
    assert (bench.state / "alert_history.log").stat().st_size < 2_000_000


def test_a_queue_of_a_million_jobs_is_counted_as_fast_as_an_empty_one(bench: Installation) -> None:
    with redis_server() as redis, FakeN8n() as n8n:
        fill = "for i = 1, 1000000 do redis.call('LPUSH', 'bull:jobs:wait', i) end"
        redis.cli("SET", "bull:jobs:id", "1000000")
        redis.cli("EVAL", fill, "0")
        bench.have_a_new_alert(DISK_PATHS="", REDIS_URL=redis.url, N8N_URL=n8n.url)
        done = bench.workdir.run(*ONCE, "--json")
    (row,) = read_rows(done, "n8n_queue")
    assert row["value"] == 1_000_000
    assert row["status"] == "critical"
