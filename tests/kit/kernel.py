"""Makes the kernel really do what vpsmon watches for: OOM kills, swap traffic, memory stall. Needs root.

Everything is done inside a memory cgroup of its own, so that nothing else on the machine is starved. What a killed test
run left behind is removed by the next one: its names carry the process id of their maker.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MIB_BYTES = 1024 * 1024
PREFIX = "vpsmon-test"
CGROUP_ROOT = Path("/sys/fs/cgroup")
# /tmp is often a tmpfs, on which swapon fails with EINVAL; /var/tmp is on a disk.
SWAP_FOLDER = Path("/var/tmp")
HOG_LIMIT_BYTES = 32 * MIB_BYTES
THRASH_LIMIT_BYTES = 24 * MIB_BYTES
THRASH_WORKING_SET_BYTES = 96 * MIB_BYTES
THRASH_PROCESSES = 3
LONGEST_SECONDS = 60
_number = itertools.count(1)

# Runs with `python -I -S -c`: argv is comm, cgroup.procs, bytes to touch (0: without end), seconds to live.
# The alarm ends it even when the test run was killed; the score makes it the victim whatever else is in the cgroup.
HOG_SCRIPT = """
import mmap, os, signal, sys
signal.alarm(int(sys.argv[4]))
open("/proc/self/oom_score_adj", "w").write("1000")
open("/proc/self/comm", "wb").write(os.fsencode(sys.argv[1]))
open(sys.argv[2], "w").write(str(os.getpid()))
size = int(sys.argv[3])
blocks = []
while size == 0 or len(blocks) << 20 < size:
    blocks.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    blocks[-1][:] = os.urandom(4096) * 256
while True:
    for block in blocks:
        for offset in range(0, 1 << 20, 4096):
            block[offset] = block[offset] + 1 & 255
"""


@dataclass(frozen=True)
class SwapTraffic:
    """How many pages went each way."""

    pages_in: int
    pages_out: int


def read_vmstat(name: str) -> int:
    """One counter of /proc/vmstat."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise KeyError(name)


def read_pressure_percent(kind: str, average: str = "avg10") -> float:
    """One average of /proc/pressure/memory; kind is some or full."""
    text = Path("/proc/pressure/memory").read_text()
    match = re.search(rf"^{kind} .*\b{average}=([0-9.]+)", text, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"no {average} of {kind} in /proc/pressure/memory: {text!r}")
    return float(match[1])


@contextmanager
def memory_cgroup(limit_bytes: int, swap: bool = False) -> Iterator[Path]:
    """A cgroup limited to this much memory, in which nothing is swapped unless asked for; yields its folder."""
    root, is_unified = _memory_hierarchy()
    _remove_left_cgroups(root)
    folder = root / f"{PREFIX}-{os.getpid()}-{next(_number)}"
    folder.mkdir()
    try:
        _limit(folder, limit_bytes, swap, is_unified)
        yield folder
    finally:
        _remove_cgroup(folder)


def _memory_hierarchy() -> tuple[Path, bool]:
    """Return the root folder of the memory controller, and whether it is cgroup v2."""
    if (CGROUP_ROOT / "memory/memory.limit_in_bytes").exists():
        return CGROUP_ROOT / "memory", False
    if "memory" not in (CGROUP_ROOT / "cgroup.controllers").read_text().split():
        raise RuntimeError(f"no memory controller below {CGROUP_ROOT}")
    (CGROUP_ROOT / "cgroup.subtree_control").write_text("+memory")
    return CGROUP_ROOT, True


def _limit(folder: Path, limit_bytes: int, swap: bool, is_unified: bool) -> None:
    if is_unified:
        (folder / "memory.max").write_text(str(limit_bytes))
        (folder / "memory.swap.max").write_text("max" if swap else "0")
        return
    (folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
    if not swap:
        # Without swap accounting memsw is missing; swappiness 0 keeps a v1 cgroup out of swap either way.
        (folder / "memory.swappiness").write_text("0")
        with suppress(FileNotFoundError):
            (folder / "memory.memsw.limit_in_bytes").write_text(str(limit_bytes))


def _remove_cgroup(folder: Path) -> None:
    """Kill what is in the cgroup and remove it; a killed process stays in it until its memory is freed."""

    def is_removed() -> bool:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            folder.rmdir()
        return not folder.exists()

    if folder.exists():
        wait_until(is_removed, 20, f"{folder} is gone")


def _remove_left_cgroups(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}-*"):
        with suppress(OSError):  # another run may be removing it too
            if is_left_over(folder.name):
                _remove_cgroup(folder)


def is_left_over(name: str) -> bool:
    """Whether the process is gone whose id is the first number in the name of a thing it made."""
    match = re.search(r"\d+", name)
    return match is not None and not Path("/proc", match[0]).exists()


def wait_until(is_true: Callable[[], bool], timeout_seconds: float, what: str) -> None:
    """Poll until it is so, or raise TimeoutError that says what was waited for."""
    deadline = time.monotonic() + timeout_seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_seconds} s: {what}")
        time.sleep(0.05)


@contextmanager
def _hog(name: str, cgroup: Path, size_bytes: int, seconds: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A process called `name` in the cgroup that keeps touching this much memory."""
    argv = [sys.executable, "-I", "-S", "-c", HOG_SCRIPT, name, f"{cgroup}/cgroup.procs", str(size_bytes), str(seconds)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_by_out_of_memory(name: str = "hog") -> int:
    """Have the OOM killer take a process with this comm (any bytes, 15 at most), and return its process id."""
    killed_before = read_vmstat("oom_kill")
    with memory_cgroup(HOG_LIMIT_BYTES) as cgroup, _hog(name, cgroup, 0, LONGEST_SECONDS) as process:
        status = process.wait(LONGEST_SECONDS)
    if status != -signal.SIGKILL or read_vmstat("oom_kill") == killed_before:
        raise RuntimeError(f"the OOM killer did not take {name!r}: it ended with {status}")
    return process.pid


@contextmanager
def swap_file(size_bytes: int) -> Iterator[Path]:
    """A swap file that is in use while this is open."""
    _remove_left_swap_files()
    path = SWAP_FOLDER / f"{PREFIX}-{os.getpid()}-{next(_number)}.swap"
    try:
        _write_zeros(path, size_bytes)
        _run("mkswap", str(path))
        _run("swapon", str(path))
        yield path
    finally:
        _remove_swap_file(path)


def _write_zeros(path: Path, size_bytes: int) -> None:
    """Really write the file: swapon refuses one with holes."""
    path.touch(0o600)
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB_BYTES):
            file.write(bytes(MIB_BYTES))


def _remove_swap_file(path: Path) -> None:
    try:
        if str(path) in Path("/proc/swaps").read_text():
            _run("swapoff", str(path))
    finally:
        path.unlink(missing_ok=True)


def _remove_left_swap_files() -> None:
    for path in SWAP_FOLDER.glob(f"{PREFIX}-*.swap"):
        with suppress(OSError, RuntimeError):  # another run may be removing it too
            if is_left_over(path.name):
                _remove_swap_file(path)


def _run(program: str, *args: str) -> None:
    """Run a system program; sbin is not on the PATH of every user."""
    environment = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    result = subprocess.run([program, *args], capture_output=True, text=True, timeout=60, env=environment)
    if result.returncode != 0:
        raise RuntimeError(f"{program} {' '.join(args)}: {result.stderr.strip()}")


@contextmanager
def _thrashing(name: str, processes: int) -> Iterator[None]:
    """Processes that together want four times and more what their cgroup may hold, with swap for the rest."""
    with ExitStack() as stack:
        stack.enter_context(swap_file(processes * 2 * THRASH_WORKING_SET_BYTES))
        cgroup = stack.enter_context(memory_cgroup(THRASH_LIMIT_BYTES, swap=True))
        for _ in range(processes):
            stack.enter_context(_hog(name, cgroup, THRASH_WORKING_SET_BYTES, LONGEST_SECONDS))
        yield


def swap_traffic(least_pages: int = 2000) -> SwapTraffic:
    """Move at least this many pages out to swap and as many back in, and return how many it were."""
    before = SwapTraffic(read_vmstat("pswpin"), read_vmstat("pswpout"))

    def moved() -> SwapTraffic:
        return SwapTraffic(read_vmstat("pswpin") - before.pages_in, read_vmstat("pswpout") - before.pages_out)

    with _thrashing("swapper", processes=1):
        wait_until(
            lambda: min(moved().pages_in, moved().pages_out) >= least_pages,
            LONGEST_SECONDS,
            f"{least_pages} pages each way",
        )
    return moved()


@contextmanager
def memory_pressure(least_full_percent: float = 5.0) -> Iterator[None]:
    """Real memory stall for as long as this is open, at most a minute; opened when full avg10 has risen this high."""
    with _thrashing("thrasher", THRASH_PROCESSES):
        wait_until(
            lambda: read_pressure_percent("full") >= least_full_percent,
            LONGEST_SECONDS / 2,
            f"full avg10 at {least_full_percent}",
        )
        yield
