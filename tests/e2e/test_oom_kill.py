"""Real OOM kills on this kernel: told exactly once, with the victim named."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from typing import Any

import pytest

from tests.kit.command import QUIET_LIMITS, Workdir, started_vpsmon, vpsmon_path
from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import kill_by_out_of_memory
from tests.kit.telegram import FakeTelegram

pytestmark = pytest.mark.alone


def configure(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        **QUIET_LIMITS,
    )


def texts_about_kills(telegram: FakeTelegram) -> list[str]:
    return [message.text for message in telegram.messages if "oom_kills" in message.text]


def test_a_kill_is_told_once_however_often_the_monitor_runs_and_is_killed(
    workdir: Workdir, telegram: FakeTelegram
) -> None:
    configure(workdir, telegram)
    assert workdir.run("monitor", "--once").returncode == 0
    process_id = kill_by_out_of_memory("leaky\n<b>proc")
    chance = random.Random(7)  # noqa: S311 - only spreads the kills
    for _ in range(12):
        with started_vpsmon(["monitor", "--once"], cwd=workdir.path) as process:
            time.sleep(chance.uniform(0.02, 0.15))
            process.kill()
    for _ in range(3):
        workdir.run("monitor", "--once")
    with started_vpsmon(["monitor", "--interval", "0.2"], cwd=workdir.path):
        time.sleep(2)
    history = (workdir.path / ".alerts/alert_history.log").read_text()
    assert len(re.findall(rf"CRITICAL oom_kills.*pid {process_id},", history)) == 1
    told = [text for text in texts_about_kills(telegram) if f"pid {process_id}," in text]
    # At least once, and each copy is the same message: one killed between sending and noting it is sent again.
    assert len(told) >= 1
    assert len({re.search(r"id ([0-9a-f]{8})", text)[1] for text in told}) == 1  # type: ignore[index]
    assert re.search(rf"OOM killer ended leaky\\x0a<b>proc \(pid {process_id}, \d+ MB resident\)", told[0])


def test_without_interference_a_kill_is_exactly_one_message(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram)
    workdir.run("monitor", "--once")
    process_id = kill_by_out_of_memory()
    for _ in range(5):
        workdir.run("monitor", "--once")
    assert [f"pid {process_id}," in text for text in texts_about_kills(telegram)].count(True) == 1


def test_without_dev_kmsg_the_victim_is_named_by_dmesg(workdir: Workdir) -> None:
    workdir.write_config(**QUIET_LIMITS)
    shell = "mount --bind /dev/null /dev/kmsg && exec"
    command = ["unshare", "--mount", "sh", "-ec", f"{shell} {vpsmon_path()} monitor --once --json"]

    def look() -> dict[str, Any]:
        done = subprocess.run(command, cwd=workdir.path, capture_output=True, text=True, timeout=60, check=True)
        (row,) = [row for row in json.loads(done.stdout)["checks"] if row["check"] == "oom_kills"]
        return dict(row)

    look()
    process_id = kill_by_out_of_memory()
    assert f"OOM killer ended hog (pid {process_id}, " in look()["message"]
    assert look()["value"] == 0


def test_the_container_of_the_victim_is_named(workdir: Workdir, engine: DockerEngine) -> None:
    workdir.write_config(**QUIET_LIMITS)
    workdir.run("monitor", "--once")
    with run_container(engine, "leaky", "tail /dev/zero", mem_limit="16m", memswap_limit="16m") as container:
        container.wait(timeout=60)
        done = workdir.run("monitor", "--once", "--json")
    (row,) = [row for row in json.loads(done.stdout)["checks"] if row["check"] == "oom_kills"]
    assert row["status"] == "critical"
    assert f"in container {str(container.id)[:12]}: its memory limit was reached" in row["message"]
