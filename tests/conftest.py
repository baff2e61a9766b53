"""The fixtures that all tests share."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command import Workdir
from tests.kit.docker import DockerEngine, docker_engine, import_busybox_image
from tests.kit.host import FakeMachine
from tests.kit.kernel import read_vmstat
from tests.kit.telegram import FakeTelegram

_ROOMS = {"faults": "busy", "install": "busy", "kit_tests": "alone"}
_FIGURES = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--soak`: everything in tests/faults, and the installer killed at each step, instead of a part; takes hours."""
    parser.addoption(
        "--soak", action="store_true", help="run the whole of tests/faults and of the killed installer, for hours"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is counted yet."""
    config.stash[_FIGURES] = Counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the rooms whose tests cannot run beside everything else, unless a test is marked itself."""
    for item in items:
        mark = _ROOMS.get(item.path.relative_to(item.config.rootpath).parts[1])
        if mark and not item.get_closest_marker("alone"):
            item.add_marker(mark)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what was counted to the run that this process is a part of."""
    if hasattr(session.config, "workeroutput"):
        counted = session.config.stash[_FIGURES]
        session.config.workeroutput["figures"] = dict(counted)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a part of this run has counted; there is none of a part that has crashed."""
    node.config.stash[_FIGURES].update(getattr(node, "workeroutput", {}).get("figures", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what the fault tests have counted."""
    counted = sorted(config.stash[_FIGURES].items())
    if counted:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(f"{what}: {number:,}" for what, number in counted))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Counter[str]:
    """What was counted, shown at the end of the run."""
    return request.config.stash[_FIGURES]


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of this run in place of /run/vpsmon: no other shares its spare state and recovery lock."""
    folder = tmp_path_factory.mktemp("run")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def nobody_is_oom_killed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where the OOM killer is at work beside other tests: every monitor on the machine would tell of it."""
    killed_before = read_vmstat("oom_kill")
    yield
    if not request.node.get_closest_marker("alone"):
        assert read_vmstat("oom_kill") == killed_before, "something was OOM-killed by a test that is not marked `alone`"


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    """A Bot API server of this test's own."""
    with FakeTelegram() as server:
        yield server


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """One private Docker engine for the whole run, with the busybox image in it."""
    if os.geteuid() != 0 or shutil.which("dockerd", path="/usr/sbin:/usr/bin") is None:
        pytest.fail("a Docker engine of one's own needs root and dockerd (apt install docker.io)")
    with docker_engine() as running:
        import_busybox_image(running)
        yield running


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    """An empty folder to write a monitor.conf in and run vpsmon in."""
    return Workdir(tmp_path)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A machine with 1 GB of memory and of swap, at rest, whose /proc the test can change."""
    return FakeMachine(tmp_path / "proc")
