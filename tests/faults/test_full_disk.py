"""A state directory that cannot be written: alerts come as always, once, and afterwards everything is in its place."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.command import ConfigValue, Workdir, started_vpsmon
from tests.kit.kernel import wait_until
from tests.kit.telegram import FakeTelegram
from vpsmon.state.directory import StateDirectory
from vpsmon.state.runtime_folder import find_runtime_folder, make_runtime_folder
from vpsmon.state.shm_fallback import SparedState

PATIENCE_SECONDS = 120.0


@contextmanager
def small_disk(path: Path, options: str = "size=256k") -> Iterator[Path]:
    """A file system of a few pages."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    """Leave no room at all."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 1024)
        except OSError:
            return


def use_up_inodes(disk: Path) -> None:
    """Leave room, and no way to make a file."""
    folder = disk / "ballast"
    folder.mkdir()
    try:
        for number in range(100_000):
            (folder / str(number)).touch()
    except OSError:
        return


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def relieve(disk: Path) -> None:
    """Undo any of these."""
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    ballast = disk / "ballast"
    if ballast.is_dir():
        shutil.rmtree(ballast)
    else:
        ballast.unlink(missing_ok=True)


TROUBLES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "full": ("size=256k", fill, "No space left on device: make room"),
    "no inodes": ("size=10m,nr_inodes=60", use_up_inodes, "No space left on device: make room"),
    "read-only": ("size=256k", make_read_only, "Read-only file system: remount it writable"),
}


class Bench:
    """An installation whose state is on a disk of its own, and a Bot API that hears of it."""

    def __init__(self, workdir: Workdir, telegram: FakeTelegram, disk: Path) -> None:
        self.workdir = workdir
        self.telegram = telegram
        self.disk = disk
        self.state = disk / ".alerts"
        self.complain_of()

    def complain_of(self, *names: str, **keys: ConfigValue) -> None:
        """From the next pass on, these folders are disks that are too full, and nothing else is wrong."""
        for name in names:
            (self.workdir.path / name).mkdir(exist_ok=True)
        settings: dict[str, ConfigValue] = {
            "TELEGRAM_BOT_TOKEN": self.telegram.token,
            "TELEGRAM_CHAT_ID": str(self.telegram.chat_id),
            "TELEGRAM_API_BASE": self.telegram.url,
            "STATE_DIR": str(self.state),
            "DISK_PATHS": ",".join(str(self.workdir.path / name) for name in names),
            "DISK_WARNING_PCT": 0,
            "DISK_CRITICAL_PCT": 0,
        }
        self.workdir.write_config(**{**settings, **keys})

    def run(self) -> subprocess.CompletedProcess[str]:
        done = self.workdir.run("monitor", "--once")
        assert "Traceback" not in done.stderr
        return done

    def count_messages(self, words: str) -> int:
        return sum(bool(re.search(words, message.text)) for message in self.telegram.messages)

    def read_history(self) -> str:
        return (self.state / "alert_history.log").read_text()


@pytest.fixture(params=TROUBLES)
def trouble(request: pytest.FixtureRequest) -> tuple[str, Callable[[Path], None], str]:
    return TROUBLES[request.param]


@pytest.fixture
def bench(
    workdir: Workdir, telegram: FakeTelegram, tmp_path: Path, trouble: tuple[str, Callable[[Path], None], str]
) -> Iterator[Bench]:
    with small_disk(tmp_path / "disk", trouble[0]) as disk:
        yield Bench(workdir, telegram, disk)


def test_alerts_come_once_and_the_state_goes_back_when_there_is_room(
    bench: Bench, trouble: tuple[str, Callable[[Path], None], str]
) -> None:
    _, break_disk, words = trouble
    bench.complain_of("before")
    assert bench.run().returncode == 0
    break_disk(bench.disk)
    bench.complain_of("before", "meanwhile")
    for _ in range(3):
        done = bench.run()
        assert done.returncode == 1
        assert words in done.stderr
        assert "disk_usage" in done.stdout
    assert bench.count_messages("disk_usage .*before") == 1
    assert bench.count_messages("disk_usage .*meanwhile") == 1
    assert bench.count_messages("CRITICAL state_directory\n.*" + words) == 1
    relieve(bench.disk)
    bench.complain_of("before", "meanwhile", "after")
    for _ in range(2):
        assert bench.run().returncode == 0
    assert [bench.count_messages(f"disk_usage .*{name}") for name in ("before", "meanwhile", "after")] == [1, 1, 1]
    assert bench.count_messages("RESOLVED state_directory\nresolved after .*it works again") == 1
    history = bench.read_history()
    for name in ("before", "meanwhile", "after"):
        assert len(re.findall(f"CRITICAL disk_usage.*{name}", history)) == 1, history
    assert json.loads((bench.state / "outbox.json").read_text())["entries"] == []
    assert not list(bench.state.glob("*corrupt*"))


def test_what_waits_to_be_sent_is_sent_once_while_the_disk_is_full(
    bench: Bench, trouble: tuple[str, Callable[[Path], None], str]
) -> None:
    bench.complain_of("before")
    bench.telegram.stop()
    bench.run()
    trouble[1](bench.disk)
    bench.complain_of("before", "meanwhile")
    bench.run()
    bench.telegram.start()
    for _ in range(3):
        bench.run()
    assert [bench.count_messages(f"disk_usage .*{name}") for name in ("before", "meanwhile")] == [1, 1]
    relieve(bench.disk)
    bench.run()
    assert [bench.count_messages(f"disk_usage .*{name}") for name in ("before", "meanwhile")] == [1, 1]


def test_the_resident_monitor_goes_on_and_recovers_by_itself(
    bench: Bench, trouble: tuple[str, Callable[[Path], None], str]
) -> None:
    _, break_disk, words = trouble
    with started_vpsmon(["monitor", "--interval", "0.2"], cwd=bench.workdir.path) as process:
        wait_until((bench.state / "pass_state.json").exists, PATIENCE_SECONDS, "a first pass")
        break_disk(bench.disk)
        wait_until(lambda: bench.count_messages(words) == 1, PATIENCE_SECONDS, "the disk was told")
        time.sleep(1)
        relieve(bench.disk)
        wait_until(lambda: bench.count_messages("RESOLVED state_directory") == 1, PATIENCE_SECONDS, "the end was told")
        assert process.poll() is None
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in errors
    assert bench.count_messages("CRITICAL state_directory") == 1


def test_recovery_does_nothing_that_it_could_not_remember(
    bench: Bench, trouble: tuple[str, Callable[[Path], None], str]
) -> None:
    trouble[1](bench.disk)
    done = bench.workdir.run("recover")
    assert done.returncode == 1
    assert trouble[2] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def state(tmp_path: Path) -> SparedState:
    return SparedState(str(tmp_path / "disk/.alerts"))


def test_a_spare_of_somebody_else_is_not_touched_and_costs_nothing(
    tmp_path: Path, state: SparedState, runtime_folder: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with state.lock():
            state.commit({"a.json": {"n": 1}})
        fill(disk)
        before = list(runtime_folder.iterdir())
        os.chown(runtime_folder, 65534, 65534)
        try:
            with state.lock():
                state.commit({"a.json": {"n": 2}})
            assert list(runtime_folder.iterdir()) == before
            assert state.load("a.json") == {"n": 2}
        finally:
            os.chown(runtime_folder, 0, 0)
        # As root it went below /run, where nobody else can make anything.
        (spare,) = Path("/run/vpsmon-0").glob(f"{str(tmp_path).replace('/', '%2F')}%2F*")
        assert stat.S_IMODE(spare.stat().st_mode) == 0o700
        shutil.rmtree(spare)


def test_a_user_without_units_keeps_the_state_in_memory_past_every_squatter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the units is not there, and other users have made every name that could be guessed."""
    shared = tmp_path / "shm"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr("vpsmon.state.runtime_folder._SHARED", (str(tmp_path / "missing"), str(shared)))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "nothing"))
    for name in ("vpsmon-65534", "vpsmon-65534-0", "vpsmon-65534-a"):
        (shared / name).mkdir(mode=0o700)
    (shared / "vpsmon-65534-link").symlink_to("/etc")
    assert find_runtime_folder(65534) is None
    made = Path(make_runtime_folder(65534))
    assert made.parent == shared
    os.chown(made, 65534, 65534)  # made by root here, and by its owner there
    assert find_runtime_folder(65534) == make_runtime_folder(65534) == str(made)
    made.chmod(0o755)
    assert find_runtime_folder(65534) is None


def test_a_change_that_was_written_down_and_not_finished_is_read_and_finished(
    tmp_path: Path, state: SparedState
) -> None:
    """The room is enough for the journal alone."""
    with small_disk(tmp_path / "disk") as disk:
        with state.lock():
            state.commit({"a.json": {"n": 1}, "b.json": {"n": 1}}, {"a.log": ["one"]})
        fill(disk)
        os.truncate(disk / "ballast", os.stat(disk / "ballast").st_size - 4096)
        with state.lock():
            state.commit({"a.json": {"n": 2}, "b.json": {"n": 2}}, {"a.log": ["two" * 400]})
            assert state.trouble
            assert (state.load("a.json"), state.load("b.json")) == ({"n": 2}, {"n": 2})
        with state.lock():
            assert (state.load("a.json"), state.load("b.json")) == ({"n": 2}, {"n": 2})
            state.commit({"b.json": {"n": 3}})
        relieve(disk)
        with state.lock():
            assert state.trouble is None
        plain = StateDirectory(state.path)
        assert (plain.load("a.json"), plain.load("b.json")) == ({"n": 2}, {"n": 3})
        assert (disk / ".alerts/a.log").read_text() == "one\n" + "two" * 400 + "\n"
