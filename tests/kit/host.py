"""A Host whose /proc is a folder of the test's own and whose clocks the test moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from vpsmon.system.host import Host

MEMINFO = """\
MemTotal:        1000000 kB
MemFree:          100000 kB
MemAvailable:     600000 kB
SwapTotal:       1048576 kB
SwapFree:        1048576 kB
HugePages_Total:       0
"""
VMSTAT = "nr_free_pages 25000\npswpin 1000\npswpout 2000\noom_kill 0\nworkingset_refault_file 500\n"
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n"
BOOT_ID = "11111111-2222-3333-4444-555555555555"


@dataclasses.dataclass
class FakeMachine:
    """The files and clocks of a machine; `host()` gives the Host of one pass on it."""

    root: Path
    wall_seconds: float = 1_800_000_000.0
    monotonic_seconds: float = 10_000.0

    def __post_init__(self) -> None:
        self.write(
            {
                "meminfo": MEMINFO,
                "vmstat": VMSTAT,
                "pressure/memory": PRESSURE,
                "sys/kernel/random/boot_id": BOOT_ID + "\n",
                "kmsg": "",
            }
        )

    def write(self, files: Mapping[str, str]) -> None:
        """Write files below its /proc, each in one step, so that a kill leaves no machine without memory."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)

    def change(self, name: str, line: str, value: object) -> None:
        """Give one `name value` line of a file another value."""
        path = self.root / name
        old = path.read_text(encoding="utf-8").splitlines()
        words_of_lines = [each.split() for each in old]
        new = [[words[0], str(value), *words[2:]] if words[0] == line else words for words in words_of_lines]
        self.write({name: "".join(" ".join(words) + "\n" for words in new)})

    def sleep(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall_seconds += seconds
        self.monotonic_seconds += seconds

    def host(self) -> Host:
        """Return the Host of a new pass."""
        return Host(
            proc=str(self.root),
            kernel_log=str(self.root / "kmsg"),
            wall_clock=lambda: self.wall_seconds,
            monotonic_clock=lambda: self.monotonic_seconds,
        )
