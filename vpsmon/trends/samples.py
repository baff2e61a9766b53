"""One sample of the history: what was measured at one time, and its line in a file.

`[wall seconds, monotonic seconds, boot, [numbers of COLUMNS], {name: number}]`, memory in MB. Numbers that every
sample has go without their names, which would double the size of a year.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from vpsmon.trends.series import median

MACHINE = "machine"
CONTAINERS = "containers"
COLUMNS = (
    "free",  # MemAvailable + SwapFree
    "available",
    "swap_used",
    "total",
    "score",
    "swap_in",
    "swap_out",
    "free_low",
    "free_high",
    "available_low",
    "swap_used_high",
)
# Of several samples the middle is kept, but of these the worst: a peak must not vanish in a mean.
_PEAKS = ("score", "swap_in", "swap_out")
_EXTREMES = {"free_low": min, "free_high": max, "available_low": min, "swap_used_high": max}
LIMIT_SUFFIX = "/limit"
DISK_PREFIX = "disk:"
# Free inodes in thousands, which are smaller than the MB beside them: where a line is full, they go first.
INODES_PREFIX = "inodes:"


class Sample(NamedTuple):
    """What was measured at one time, or the middle of several; the monotonic clock orders the samples of one boot."""

    wall_seconds: float
    monotonic_seconds: float
    boot: str
    values: dict[str, float]


def join(samples: Sequence[Sample]) -> Sample:
    """Return several samples as one: the middle of each number, the worst of some, and how low and high others were."""
    numbers: dict[str, list[float]] = {}
    for sample in samples:
        for name, number in sample.values.items():
            numbers.setdefault(name, []).append(number)
    values = {}
    for name, several in numbers.items():
        if name in _PEAKS:
            values[name] = max(several)
        elif name not in _EXTREMES and not name.endswith(LIMIT_SUFFIX):
            values[name] = round(median(several), 1)
    for name, worst in _EXTREMES.items():
        measured = numbers.get(name) or numbers.get(name.rpartition("_")[0])
        if measured:
            values[name] = worst(measured)
    last = samples[-1]
    middle_seconds = sum(sample.monotonic_seconds for sample in samples) / len(samples)
    wall_seconds = last.wall_seconds - (last.monotonic_seconds - middle_seconds)
    return Sample(round(wall_seconds), round(middle_seconds, 1), last.boot, values)


def encode(sample: Sample, line_bytes: int, kind: str) -> bytes:
    """Return the line of a sample; named numbers go in as long as they fit, the largest first."""
    columns = [sample.values.get(name) for name in COLUMNS] if kind == MACHINE else []
    while columns and columns[-1] is None:
        columns.pop()
    named = {name: value for name, value in sample.values.items() if not columns or name not in COLUMNS}
    head = [round(sample.wall_seconds), round(sample.monotonic_seconds, 1), sample.boot, columns]
    room = line_bytes - len(json.dumps(head, separators=(",", ":"))) - len(",{}\n")
    return json.dumps([*head, dict(_fitting(named, room))], separators=(",", ":")).encode() + b"\n"


def _fitting(named: dict[str, float], room_bytes: int) -> Iterator[tuple[str, float]]:
    for name, value in sorted(named.items(), key=lambda item: -item[1]):
        room_bytes -= len(json.dumps({name: value}, separators=(",", ":"))) - 1
        if room_bytes < 0:
            return
        yield name, value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no measurement")


# json.loads would make a decoder for each call.
_DECODER = json.JSONDecoder(parse_constant=_refuse)


def decode(lines: Sequence[bytes]) -> list[Sample]:
    """Return the samples of the lines, without those that are none: a cut line, garbage, one of another version."""
    try:
        # All lines at once: half the time of one after another.
        records = _DECODER.decode((b"[%b]" % b",".join(lines)).decode())
    except (ValueError, RecursionError):
        if len(lines) == 1:
            return []
        middle = len(lines) // 2
        return decode(lines[:middle]) + decode(lines[middle:])
    return [sample for record in records if (sample := _make_sample(record))]


def _make_sample(record: Any) -> Sample | None:
    try:
        wall_seconds, monotonic_seconds, boot, columns, values = record
        values.update(zip(COLUMNS, columns, strict=False))
        if None in columns:
            values = {name: value for name, value in values.items() if value is not None}
        # Another type would come to light only where it is used, and 1e999 is infinite.
        is_sound = -1e15 < sum(values.values(), wall_seconds + monotonic_seconds) < 1e15
        return Sample(wall_seconds, monotonic_seconds, boot + "", values) if is_sound else None
    except (ValueError, TypeError, AttributeError):
        return None
