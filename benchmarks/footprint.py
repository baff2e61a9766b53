"""What a monitor that has nothing to tell takes: memory after a while, and processor time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Footprint(NamedTuple):
    """Memory in MiB at the end, and processor seconds a minute, both with all child processes."""

    pss_mib: float
    rss_mib: float
    cpu_seconds_per_minute: float


def measure_together(
    commands: dict[str, list[str]], environments: dict[str, dict[str, str]], folder: Path, seconds: float
) -> dict[str, Footprint | None]:
    """Run the monitors side by side and return the footprint of each; None for one that has ended."""
    with contextlib.ExitStack() as cleanup:
        processes = {}
        for name, command in commands.items():
            home = folder / re.sub(r"\W+", "-", name)
            home.mkdir()
            processes[name] = cleanup.enter_context(_running(command, environments.get(name, {}), home))
        # Starting is not what is measured.
        time.sleep(min(30.0, seconds / 4))
        started = time.monotonic()
        before = {name: read_cpu_seconds(process.pid) for name, process in processes.items()}
        time.sleep(seconds)
        minutes = (time.monotonic() - started) / 60
        return {
            name: _read(process.pid, before[name], minutes) if process.poll() is None else None
            for name, process in processes.items()
        }


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TELEGRAM_", "VPSMON_"))
    }
    with open(home / "output", "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=kept | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(process_id: int, cpu_before: float, minutes: float) -> Footprint:
    sizes = [read_sizes(each) for each in list_family(process_id)]
    cpu_seconds = read_cpu_seconds(process_id) - cpu_before
    return Footprint(sum(size[0] for size in sizes), sum(size[1] for size in sizes), cpu_seconds / minutes)


def list_family(process_id: int) -> list[int]:
    """Return a process and all its descendants."""
    family = [process_id]
    for parent in family:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                family += [int(each) for each in Path(f"/proc/{parent}/task/{task}/children").read_text().split()]
    return family


def read_sizes(process_id: int) -> tuple[float, float]:
    """Return the proportional and the resident size in MiB; nothing of a process that has ended."""
    try:
        text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    except OSError:
        return 0.0, 0.0
    return tuple(int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) / 1024 for name in ("Pss", "Rss"))


def read_cpu_seconds(process_id: int) -> float:
    """Return the processor seconds of a process, of its children that have ended, and of those that live; proc(5)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    seconds = sum(int(field) for field in fields[11:15]) / _TICKS
    for child in list_family(process_id)[1:]:
        with contextlib.suppress(OSError):
            child_fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(int(field) for field in child_fields[11:13]) / _TICKS
    return seconds
