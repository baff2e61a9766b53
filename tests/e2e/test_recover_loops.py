"""A container that restarts again and again: its memory limit is raised, or it is restarted, then stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import swap_file, wait_until
from tests.kit.recovery import QUICK, SLEEP, Bench, done, status
from tests.kit.telegram import FakeTelegram
from vpsmon.recovery.run import Result

pytestmark = pytest.mark.usefixtures("docker_host")
MEGABYTE = 1 << 20


def read_limits(container: Any) -> tuple[int, int]:
    """Memory, and memory and swap together, in MB."""
    container.reload()
    settings = container.attrs["HostConfig"]
    return settings["Memory"] // MEGABYTE, settings["MemorySwap"] // MEGABYTE


@pytest.mark.alone
@pytest.mark.parametrize("swap_mb", [0, 8])
def test_killed_at_its_own_limit_it_gets_a_quarter_more_and_the_old_limit_back_later(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch, swap_mb: int
) -> None:
    monkeypatch.setattr("vpsmon.recovery.rules.restart_loop._STAYS_UP_SECONDS", 3.0)
    bench = Bench(tmp_path, telegram=telegram, RESTART_LOOP_COUNT=2)
    # One MB more than fits into memory and swap, and fits when there are 4 MB more; tmpfs counts as memory.
    script = f"dd if=/dev/zero of=/dev/shm/x bs=1M count={17 + swap_mb} && sleep 600"
    limits: dict[str, Any] = {"mem_limit": "16m", "memswap_limit": f"{16 + swap_mb}m"}
    loops: dict[str, Any] = {**limits, "restart_policy": {"Name": "always"}, **QUICK}
    with swap_file(64 * MEGABYTE), run_container(engine, "hungry", ["sh", "-c", script], **loops) as hungry:
        found: list[Result] = []

        def acts() -> bool:
            found.append(bench.run("loops"))
            return bool(done(found[-1]))

        wait_until(acts, 60, "the loop is acted on")
        ((action, outcome),) = done(found[-1])
        assert action == "set the memory limit of the container hungry to 20 MB", (action, outcome)
        assert outcome.startswith("it helped"), outcome
        assert read_limits(hungry) == (20, 20 + swap_mb)
        message = bench.last_message()
        assert message.startswith("🔵 INFO recovery restart_loop hungry\nhungry: ")
        assert "the OOM killer ended it at its memory limit. Set the memory limit of the container hungry" in message
        assert message.endswith(
            "to 20 MB: it helped; its own limit was 16 MB; "
            "to keep the new one, write it into the compose file (mem_limit)"
        )
        hungry.exec_run(["rm", "/dev/shm/x"])
        for hours in (1, 25, 25):
            bench.offset += hours * 3600
            bench.run_as_planned(engine, "loops")
        assert read_limits(hungry) == (16, 16 + swap_mb)
        assert bench.read_state()["changes"] == []
        assert bench.last_message() == (
            "🔵 INFO recovery restart_loop hungry\n"
            "Set the memory limit of the container hungry to 20 MB 1 d 2 h ago. "
            "Set the memory limit of the container hungry to 16 MB: it has been calm for a day"
        )


@pytest.mark.parametrize("name", ["job", "n8n"])
def test_another_loop_is_restarted_twice_then_stopped_only_where_it_is_not_essential(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("vpsmon.recovery.rules.restart_loop._VERIFY_SECONDS", 1.0)
    bench = Bench(tmp_path, telegram=telegram, RESTART_LOOP_COUNT=2, RESTART_LOOP_WINDOW_SEC=100_000)
    script = "for n in 1 2 3 4 5 6; do echo line$n; done; echo cannot open config; exit 3"
    with run_container(engine, name, ["sh", "-c", script], restart_policy={"Name": "always"}, **QUICK) as container:
        acted: list[tuple[str, str]] = []
        verdicts: set[str] = set()

        def is_over() -> bool:
            bench.offset += 310
            bench.wall_jump = -bench.offset  # the engine tells of deaths by the time of day
            planned = [action for action, _ in done(bench.run("loops", is_dry=True))]
            result = bench.run("loops")
            # A loop goes on between the two, so that it may be one only in the second.
            assert planned in ([], [action for action, _ in done(result)])
            acted.extend(done(result))
            verdicts.update(each.verdict for each in result.decisions)
            return any("stop the" in action for action, _ in acted) or "given up" in verdicts

        wait_until(is_over, 120, "the ladder ends")
        wanted = [f"restart the container {name}"] * 2 + (["stop the container job"] if name == "job" else [])
        assert [action for action, _ in acted] == wanted
        assert (status(container) == "exited") == (name == "job")
        first, last = telegram.messages[0].text, bench.last_message()
        assert f"🔴 CRITICAL recovery restart_loop {name}\n{name}: " in first
        assert f"it exited (3). Restarted the container {name}: it did not help; next: restart" in first
        five = "its last lines: line3 | line4 | line5 | line6 | cannot open config"
        assert f"→ it ends soon after each start: docker logs --tail 50 {name} shows why; {five}" in first
        assert five in last
        if name == "n8n":
            assert "that was the last attempt, manual action needed" in last
            return
        assert "it exited (3). Stopped the container job: it stays stopped until its cause is fixed" in last
        bench.offset += 90_000
        assert done(bench.run("loops")) == []  # only a person starts it again
        assert bench.run("restore").is_complete
        assert bench.last_message().endswith(
            "Started the container job: somebody asked for it (`vpsmon recover restore`)"
        )


def test_a_healthy_container_that_is_restarted_by_hand_for_minutes_is_no_loop(
    engine: DockerEngine, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, RESTART_LOOP_COUNT=2)
    with run_container(engine, "web", SLEEP, restart_policy={"Name": "no"}, **QUICK) as container:
        for _ in range(8):
            assert bench.run("loops").decisions == []
            container.restart(timeout=0)
            bench.offset += 1
        assert status(container) == "running"


def test_a_deployment_with_three_restarts_is_no_loop(engine: DockerEngine, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with run_container(engine, "web", SLEEP, **QUICK) as container:
        for _ in range(4):
            assert bench.run("loops").decisions == []
            container.restart(timeout=0)
            bench.offset += 20
