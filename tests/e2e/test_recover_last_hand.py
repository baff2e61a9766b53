"""The last hand wins, on a real engine: what somebody has changed since recovery changed it stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.kit.docker import DockerEngine, run_container
from tests.kit.host import FakeMachine
from tests.kit.recovery import QUICK, SLEEP, Bench, confirm_after, list_actions, status, thrashing_bench
from tests.kit.telegram import FakeTelegram
from vpsmon.recovery.actions import RealEffectors
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.last_hand import expect_left
from vpsmon.recovery.model import Action, Change

pytestmark = pytest.mark.usefixtures("docker_host")
MEGABYTE = 1 << 20
DAY = 86_400


def limit_action(container: Container, megabytes: int) -> Action:
    details: dict[str, Any] = {"memory_bytes": megabytes * MEGABYTE, "memory_and_swap_bytes": 2 * megabytes * MEGABYTE}
    return Action("set_memory_limit", str(container.id), str(container.name), details)


def raise_limit(bench: Bench, container: Container, is_seen: bool = True) -> None:
    """Raise a limit from 256 to 320 MB as the rule does, and remember it; or as the version before did."""
    action, undo = limit_action(container, 320), limit_action(container, 256)
    left = RealEffectors(bench.settings, bench.make_host).perform(action).left
    host = bench.make_host()
    book = Book({}, host.read_proc("sys/kernel/random/boot_id").strip(), host.monotonic_seconds(), host.wall_seconds())
    known = (list(left),) if is_seen else expect_left(action, undo)
    book.add_change(
        Change("1", "restart_loop", action, undo, DAY, "calm for a day", 0.0, host.wall_seconds(), left=known)
    )
    content = book.to_content(host.monotonic_seconds(), host.wall_seconds())
    bench.folder.mkdir(exist_ok=True)
    (bench.folder / "recovery_state.json").write_text(json.dumps({"schema": 1, **content}))


def live_two_calm_days(bench: Bench) -> None:
    for _ in range(5):
        bench.run("loops")
        bench.offset += DAY / 2


def read_limit(container: Container) -> int:
    container.reload()
    return int(container.attrs["HostConfig"]["Memory"]) // MEGABYTE


@pytest.fixture
def limited(engine: DockerEngine) -> Any:
    with run_container(engine, "crm", SLEEP, mem_limit="256m", memswap_limit="512m", **QUICK) as container:
        yield container


def test_a_limit_that_somebody_has_raised_since_is_not_set_back(
    engine: DockerEngine, tmp_path: Path, telegram: FakeTelegram, limited: Container
) -> None:
    bench = Bench(tmp_path, telegram=telegram)
    raise_limit(bench, limited)
    limited.update(mem_limit="1g", memswap_limit="2g")
    live_two_calm_days(bench)
    assert read_limit(limited) == 1024
    assert bench.read_state()["changes"] == []
    spoken = [each for each in bench.read_events() if each["reason"] == "owner"]
    assert [(each["ending"], each["severity"]) for each in spoken] == [("forgotten", "info")]
    assert len(telegram.messages) == 1
    assert "somebody has changed it since, so it stays as it is" in bench.last_message()


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_limit_that_nobody_has_touched_is_set_back(
    engine: DockerEngine, tmp_path: Path, limited: Container, is_seen: bool
) -> None:
    bench = Bench(tmp_path)
    raise_limit(bench, limited, is_seen)
    live_two_calm_days(bench)
    assert read_limit(limited) == 256


def test_a_change_of_the_version_before_is_undone_as_before(
    engine: DockerEngine, tmp_path: Path, limited: Container
) -> None:
    bench = Bench(tmp_path)
    raise_limit(bench, limited)
    state = bench.read_state()
    del state["changes"][0]["left"]
    (bench.folder / "recovery_state.json").write_text(json.dumps(state))
    live_two_calm_days(bench)
    assert read_limit(limited) == 256


def start(container: Container) -> None:
    container.start()


def start_and_stop(container: Container) -> None:
    container.start()
    container.stop(timeout=0)


@pytest.mark.parametrize(("order", "is_up"), [(start, True), (start_and_stop, False)])
def test_a_container_that_somebody_has_started_since_is_its_owners(
    engine: DockerEngine,
    tmp_path: Path,
    machine: FakeMachine,
    telegram: FakeTelegram,
    monkeypatch: pytest.MonkeyPatch,
    order: Callable[[Container], None],
    is_up: bool,
) -> None:
    confirm_after(monkeypatch, 0.3)
    bench, thrash = thrashing_bench(engine, tmp_path, machine, {"leaky"}, telegram)
    with run_container(engine, "leaky", SLEEP, **QUICK) as leaky:
        bench.run("swap")
        assert status(leaky) == "exited"
        thrash.culprits = set()
        order(leaky)
        since = bench.make_host().wall_seconds()
        for _ in range(6):
            bench.run("swap")
            bench.offset += 600
        assert list_actions(engine, since) == []
        assert (status(leaky) == "running") == is_up
        assert bench.read_state()["changes"] == []
        assert "t is not as recovery left it" in bench.last_message()
        assert len(telegram.messages) == 2
