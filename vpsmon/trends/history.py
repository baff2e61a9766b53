"""The samples of past passes in `.alerts/`: every pass for hours, ten minutes for a week, hours for a year.

Two kinds of sample, `machine` (after the kernel checks) and `containers` (after the stack's), each in three files of
one line a sample (samples.py). The first pass of another ten minutes makes one line of the ten minutes before,
and so the hours. A pass reads the ends of the files and never the whole; a file that reaches its size is cut to its
newest seven eighths.

A line is one write without fsync: losing the last samples in a power failure is cheaper than a disk that is busy every
30 seconds, and a line that was cut off is skipped by readers and closed before the next one is written.
"""

from __future__ import annotations

import os
from itertools import pairwise, takewhile
from typing import NamedTuple

from vpsmon.state.atomic_file import replace_file
from vpsmon.state.private_file import open_private
from vpsmon.trends.samples import CONTAINERS, MACHINE, Sample, decode, encode, join
from vpsmon.trends.series import Point, Series

_BOOT_CHARACTERS = 8


class Tier(NamedTuple):
    """One file: how long a line stands for, its size, the longest line, and how many lines a pass looks back."""

    name: str
    seconds: int
    file_bytes: int
    line_bytes: int
    lines_read: int


class Tails(NamedTuple):
    """The newest samples of this boot in each tier, oldest first."""

    passes: list[Sample]
    minutes: list[Sample]
    hours: list[Sample]


# Seven eighths of a file hold 6 hours of passes, 7 days of ten minutes or 365 days of hours, also when every line is
# as long as allowed. All together stay below 5 MB, also while the largest is being cut.
TIERS: dict[str, tuple[Tier, Tier, Tier]] = {
    MACHINE: (
        Tier("passes", 0, 140_000, 170, 120),
        Tier("minutes", 600, 200_000, 170, 120),
        Tier("hours", 3600, 1_505_000, 150, 128),
    ),
    CONTAINERS: (
        Tier("passes", 0, 350_000, 420, 21),
        Tier("minutes", 600, 380_000, 330, 36),
        Tier("hours", 3600, 962_000, 96, 72),
    ),
}


class History:
    """The files of one state directory. The caller holds its lock while recording."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def read(self, kind: str, boot: str, monotonic_seconds: float) -> Tails:
        """Return what a pass at this time of this boot looks back on. Raises OSError."""
        return Tails(*(self._run(kind, tier, tier.lines_read, boot, monotonic_seconds) for tier in TIERS[kind]))

    def record(self, kind: str, sample: Sample) -> None:
        """Add the sample of a pass, and what it completes of the coarser tiers before it. Raises OSError."""
        sample = sample._replace(boot=sample.boot[:_BOOT_CHARACTERS])
        tiers = TIERS[kind]
        for finer, coarser in pairwise(tiers):
            self._complete(kind, finer, coarser, sample)
        self._append(kind, tiers[0], sample)

    def read_all(self, kind: str, tier_name: str) -> list[Sample]:
        """Return every sample of a tier in the order it was recorded, for a report. Raises OSError."""
        tier = next(tier for tier in TIERS[kind] if tier.name == tier_name)
        return self._tail(kind, tier, tier.file_bytes // 10)

    def _run(self, kind: str, tier: Tier, count: int, boot: str, monotonic_seconds: float) -> list[Sample]:
        """Return the newest samples of this boot; what is not older than the one after it is a copy or garbage."""
        run: list[Sample] = []
        for sample in reversed(self._tail(kind, tier, count)):
            if sample.boot == boot[:_BOOT_CHARACTERS] and sample.monotonic_seconds < monotonic_seconds:
                run.append(sample)
                monotonic_seconds = sample.monotonic_seconds
        return run[::-1]

    def _complete(self, kind: str, finer: Tier, coarser: Tier, sample: Sample) -> None:
        last = self._tail(kind, finer, 1)
        if not last or _bucket(last[0], coarser) == _bucket(sample, coarser):
            return
        done = self._tail(kind, coarser, 1)
        # Also when a pass was killed between this line and its own: nothing is written twice.
        if done and _bucket(done[0], coarser) == _bucket(last[0], coarser):
            return
        bucket = _bucket(last[0], coarser)
        newest_first = reversed(self._tail(kind, finer, finer.lines_read))
        same = list(takewhile(lambda each: _bucket(each, coarser) == bucket, newest_first))
        self._append(kind, coarser, join(same[::-1]))

    def _append(self, kind: str, tier: Tier, sample: Sample) -> None:
        path = self._path(kind, tier)
        line = encode(sample, tier.line_bytes, kind)
        descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        if size + len(line) > tier.file_bytes:
            self._cut(path, tier)

    def _cut(self, path: str, tier: Tier) -> None:
        """Keep the newest seven eighths; killed anywhere, the file is the old one or the new one."""
        try:
            replace_file(path, self._read_end(path, tier.file_bytes // 8 * 7))
        except OSError:
            # No room for a copy: rather start anew than grow for ever.
            os.truncate(path, 0)

    def _tail(self, kind: str, tier: Tier, count: int) -> list[Sample]:
        lines = self._read_end(self._path(kind, tier), count * tier.line_bytes).splitlines()
        return decode(lines[-count:])

    def _read_end(self, path: str, most_bytes: int) -> bytes:
        """Return the whole lines at the end of a file; nothing where there is none."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        try:
            start = max(0, os.fstat(descriptor).st_size - most_bytes)
            # One byte more: when it ends a line, the first line is whole.
            text = os.pread(descriptor, most_bytes + 1, max(0, start - 1))
        finally:
            os.close(descriptor)
        return text if start == 0 else text.partition(b"\n")[2]

    def _path(self, kind: str, tier: Tier) -> str:
        return os.path.join(self._folder, f"history_{kind}_{tier.name}.log")


def _bucket(sample: Sample, tier: Tier) -> tuple[str, int]:
    return sample.boot, int(sample.monotonic_seconds // tier.seconds)


def make_series(tails: Tails, name: str, limit_mb: float | None = None) -> Series:
    """Return a number over time; with a limit, what it leaves free below the limit."""
    return Series(*(tuple(_make_points(samples, name, limit_mb)) for samples in tails))


def _make_points(samples: list[Sample], name: str, limit_mb: float | None) -> list[Point]:
    rows = [(sample.monotonic_seconds / 3600, sample.values) for sample in samples if name in sample.values]
    if limit_mb is None:
        low, high = name + "_low", name + "_high"
        return [Point(hours, row.get(low, row[name]), row[name], row.get(high, row[name])) for hours, row in rows]
    return [Point(hours, left, left, left) for hours, row in rows for left in [limit_mb - row[name]]]
