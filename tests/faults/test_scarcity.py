"""Broken disks, no descriptors, no memory, no processes: one clear line, the rest goes on, and it is over by itself."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Effort
from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir, clean_environment, run_command, started_vpsmon, vpsmon_path
from tests.kit.kernel import wait_until
from tests.kit.strace import CHANGES, READING, Call, record_calls, run_failing
from tests.kit.telegram import FakeTelegram

# The kernel kills, and every pass at that time would tell of it.
pytestmark = pytest.mark.alone
PATIENCE_SECONDS = 120.0
# What a call can fail with on a real machine; a socket's errors are in test_network.py.
ERRORS = {
    "write": ("ENOSPC", "EIO", "EDQUOT"),
    "renameat": ("ENOSPC", "EIO", "EROFS"),
    "fsync": ("EIO", "ENOSPC"),
    "unlink": ("EIO", "EROFS"),
    "openat": ("EMFILE", "ENOSPC", "EIO", "ENOMEM", "EROFS"),
    "read": ("EIO",),
    "pread64": ("EIO",),
    "flock": ("ENOLCK",),
    "newfstatat": ("EIO",),
    "ftruncate": ("EIO",),
}


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


def test_a_call_of_the_state_that_fails_costs_one_line_and_no_alert(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    bench.have_a_new_alert()
    bench.finish()
    bench.have_a_new_alert()
    calls = record_calls(ONCE, bench.path, names=f"{CHANGES},{READING}", about=".alerts")
    faults: list[tuple[Call, str]] = [(call, error) for call in calls for error in ERRORS.get(call.name, ())]
    assert {call.name for call, _ in faults} >= {"write", "renameat", "fsync", "unlink", "openat", "read", "flock"}
    for call, error in effort.some(faults, 16):
        name = bench.have_a_new_alert()
        done = run_failing(ONCE, call, error, bench.path)
        assert "Traceback" not in done.stderr, (call, error, done.stderr)
        assert done.returncode in (0, 1), (call, error)
        bench.finish()
        bench.expect_told(name, in_flight=1)
        bench.expect_sound_state()
        figures["failed system calls survived"] += 1


def run_limited(bench: Installation, *limits: str) -> subprocess.CompletedProcess[str]:
    """Run a pass with resource limits; see prlimit(1)."""
    return run_command(["prlimit", *limits, str(vpsmon_path()), *ONCE], bench.path)


def test_few_file_descriptors_are_enough_or_cost_one_line(bench: Installation, figures: Counter[str]) -> None:
    bench.have_a_new_alert()
    bench.finish()
    # With 4, Python itself cannot start.
    for count in (5, 6, 7, 8, 10, 12):
        name = bench.have_a_new_alert()
        done = run_limited(bench, f"--nofile={count}")
        assert "Traceback" not in done.stderr, (count, done.stderr)
        bench.finish()
        bench.expect_told(name, in_flight=1)
        bench.expect_sound_state()
        figures["passes with too little of something survived"] += 1


def test_little_memory_is_enough_or_costs_one_line(bench: Installation, figures: Counter[str]) -> None:
    bench.have_a_new_alert()
    bench.finish()
    # With less, Python itself cannot start.
    for megabytes in (17, 19, 20, 22, 26, 30):
        name = bench.have_a_new_alert()
        done = run_limited(bench, f"--as={megabytes * 1_000_000}")
        assert "Traceback" not in done.stderr, (megabytes, done.stderr)
        bench.finish()
        bench.expect_told(name, in_flight=1)
        bench.expect_sound_state()
        figures["passes with too little of something survived"] += 1


@contextmanager
def made_cgroup(controller: str) -> Iterator[Path]:
    """A cgroup of this controller: v1 here, v2 where the whole machine has it."""
    root = Path("/sys/fs/cgroup", controller)
    folder = (root if root.exists() else root.parent) / f"vpsmon-test-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text(), PATIENCE_SECONDS, "an empty cgroup")
        folder.rmdir()


@contextmanager
def few_processes(count: int) -> Iterator[Path]:
    """As TasksMax of a unit."""
    with made_cgroup("pids") as folder:
        (folder / "pids.max").write_text(str(count))
        yield folder


@contextmanager
def little_memory(count_bytes: int) -> Iterator[Path]:
    """As MemoryMax of a unit; with swap as well there would be no end to it."""
    # The names of v1, then those of v2; a kernel that does not count swap lacks the second.
    limits = {
        "memory.limit_in_bytes": count_bytes,
        "memory.memsw.limit_in_bytes": count_bytes,
        "memory.max": count_bytes,
        "memory.swap.max": 0,
    }
    with made_cgroup("memory") as folder:
        for name, limit in limits.items():
            if (folder / name).exists():
                (folder / name).write_text(str(limit))
        yield folder


def is_killed_with(megabytes: float, bench: Installation, figures: Counter[str]) -> bool:
    """Return whether a pass with this MemoryMax is killed; either way its alert arrives, and nothing is torn."""
    name = bench.have_a_new_alert()
    with little_memory(int(megabytes * 1024 * 1024)) as cgroup:
        enter = f'echo $$ > {cgroup}/cgroup.procs; exec "$@"'
        done = run_command(["sh", "-c", enter, "sh", str(vpsmon_path()), *ONCE], bench.path)
    assert done.returncode in (0, -signal.SIGKILL), (megabytes, done.stderr)
    is_killed = done.returncode != 0
    bench.finish()
    bench.expect_told(name, in_flight=is_killed)
    bench.expect_sound_state()
    figures["passes that their own MemoryMax killed survived"] += is_killed
    return is_killed


def test_a_pass_that_its_own_memory_max_kills_loses_nothing(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    """The kernel kills it wherever it needs one page more: another place with each limit.

    With much too little it dies while Python starts. What can be lost is on its way in the last megabyte: the alert is
    written down there, and what sends it is imported (Python 3.11: killed so below 7.7 MB, before that below 7.1 MB).
    """
    bench.have_a_new_alert()
    bench.finish()
    too_little, enough = 2.0, 24.0
    while enough - too_little > 0.1:
        middle = (too_little + enough) / 2
        if is_killed_with(middle, bench, figures):
            too_little = middle
        else:
            enough = middle
    below = [enough - 0.01 * number for number in range(1, 100)]
    assert sum(is_killed_with(each, bench, figures) for each in effort.some(below, 10)) > 5


def test_without_a_process_for_a_pass_the_watcher_goes_on_and_tells_later(bench: Installation) -> None:
    name = bench.have_a_new_alert()
    with few_processes(1000) as cgroup, started_vpsmon(["monitor", "--interval", "0.2"], cwd=bench.path) as process:
        (cgroup / "cgroup.procs").write_text(str(process.pid))
        wait_until(lambda: bool(bench.list_messages(name)), PATIENCE_SECONDS, "the first alert")
        (cgroup / "pids.max").write_text("1")
        time.sleep(1.5)
        assert process.poll() is None
        (cgroup / "pids.max").write_text("1000")
        later = bench.have_a_new_alert()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(bench.list_messages(later)), PATIENCE_SECONDS, "the alert that had to wait")
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in errors
    assert "could be started" in errors


@pytest.mark.parametrize("words", [["monitor", "--once"], ["status"], ["recover", "--dry-run"]])
def test_an_output_that_takes_nothing_is_one_line(bench: Installation, words: list[str]) -> None:
    bench.have_a_new_alert()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [str(vpsmon_path()), *words],
            cwd=bench.path,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
