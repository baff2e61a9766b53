"""Replays a recording: a CSV file with the columns time_s, mem_available_bytes, swap_free_bytes, container:<name>."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator
from typing import NamedTuple, TextIO

from benchmarks.forecast_replay import Replay, Verdict

MEGABYTE = 1024 * 1024


def run_recording(path: str, is_json: bool) -> None:
    """Replay a CSV file; as JSON every row, else the rows in which the status changes."""
    replay, verdict, status = Replay(), Verdict(None, "ok", True, [], "no trend"), ""
    for row in read_rows(path):
        if row.free_mb is not None and row.wall_seconds is not None:
            verdict = replay.add(row.wall_seconds, row.free_mb, row.containers) or verdict
        if is_json:
            told = {"hours": verdict.hours, "status": verdict.status, "growing": verdict.growing}
            print(json.dumps({"t": row.wall_seconds, **told}))
        elif verdict.status != status and row.free_mb is not None:
            print(f"{row.wall_seconds:12.0f} s  {row.free_mb:7.0f} MB free  {verdict.status:8}  {verdict.message}")
            status = verdict.status


class Row(NamedTuple):
    """A row of a recording; None is what it does not say."""

    wall_seconds: float | None
    free_mb: float | None
    containers: dict[str, float]


def read_rows(path: str) -> Iterator[Row]:
    """Yield the rows; what one does not say is told on stderr. Ends with one line where there is no row."""
    with open_recording(path) as file:
        reader = csv.DictReader(line.replace("\0", "") for line in file)
        columns = set(reader.fieldnames or ())
        missing = {"time_s", "mem_available_bytes"} - columns
        if missing:
            sys.exit(f"{path}: the first line must name the columns; missing: {', '.join(sorted(missing))}")
        if "swap_free_bytes" not in columns:
            print(f"{path}: no column swap_free_bytes: taken for a machine without swap", file=sys.stderr)
        number, has_swap = 1, False
        for number, row in enumerate(reader, start=2):
            # A machine without swap has none to write down, but one that has swap did not lose it for a row.
            has_swap = has_swap or bool(row.get("swap_free_bytes"))
            yield read_row(row, f"{path}:{number}", has_swap)
    if number == 1:
        sys.exit(f"{path}: no row below the names of the columns")


def read_row(row: dict[str, str], place: str, has_swap: bool) -> Row:
    """Return a row; one that is cut off or garbage has no size."""
    wall_seconds: float | None = None
    try:
        wall_seconds = parse_number(row["time_s"])
        wall_seconds = int(wall_seconds) if wall_seconds.is_integer() else wall_seconds
        swap_free = parse_number(row["swap_free_bytes"]) if has_swap else 0.0
        free_mb = (parse_number(row["mem_available_bytes"]) + swap_free) / MEGABYTE
    except (TypeError, ValueError) as error:
        print(f"{place}: no sample in this row: {error}", file=sys.stderr)
        return Row(wall_seconds, None, {})
    return Row(wall_seconds, free_mb, read_containers(row))


def open_recording(path: str) -> TextIO:
    """Return the opened file, or end with one line that says why it cannot be read."""
    try:
        return open(path, encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")


def parse_number(text: str) -> float:
    """Return a time or a size. Raises ValueError."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(f"{text} is no measurement")
    return number


def read_containers(row: dict[str, str]) -> dict[str, float]:
    """Return the MB of each container that the row has a number for."""
    containers = {}
    for column, text in row.items():
        if column and column.startswith("container:"):
            try:
                containers[column.removeprefix("container:")] = round(parse_number(text) / MEGABYTE, 1)
            except (TypeError, ValueError):
                continue
    return containers
