"""The bench of the forecast: a recording gives a line a row, and traces are replayed as the history would have them."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.forecast_machines import office_leak
from benchmarks.forecast_points import SeriesOfTrace
from vpsmon.trends.history import History, make_series
from vpsmon.trends.samples import MACHINE, Sample

ROOT = Path(__file__).resolve().parents[2]
BOOT = "12345678"


def test_the_series_of_a_trace_are_those_of_the_history(tmp_path: Path) -> None:
    trace = office_leak(random.Random(1))  # noqa: S311
    history, series = History(str(tmp_path)), SeriesOfTrace(trace.hours, [round(each, 1) for each in trace.free_mb])
    for number, hours in enumerate(trace.hours[:1500]):
        if number % 499 == 498:
            found = make_series(history.read(MACHINE, BOOT, hours * 3600), "free")
            expected = series.at(number)
            assert [point.middle for point in found.passes] == [point.middle for point in expected.passes[:-1]][-120:]
            for tier, made in zip(found[1:], expected[1:], strict=True):
                assert [point[1:] for point in tier] == [point[1:] for point in made]
                assert [point.hours for point in tier] == pytest.approx([point.hours for point in made], abs=0.001)
        sample = Sample(hours * 3600, hours * 3600, BOOT, {"free": round(trace.free_mb[number], 1)})
        history.record(MACHINE, sample)


def replay(path: Path) -> list[dict[str, Any]]:
    command = [sys.executable, str(ROOT / "benchmarks" / "forecast"), "--csv", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_benchmark_replays_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "leak.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time_s", "mem_available_bytes", "swap_free_bytes", "container:n8n", "container:redis"])
        for number in range(1000):
            used = number << 20
            writer.writerow([number * 30, max(0, (700 << 20) - used), 500 << 20, (100 << 20) + used, 40 << 20])
            if number == 650:
                break
    with path.open("a", encoding="utf-8") as file:
        file.write("19530,garbage,,,\n\x00\x00\n16000,52428800,524288000,786432000,41943040\n")
    rows = replay(path)
    assert len(rows) == 653
    assert rows[651] == rows[650] | {"t": 19530}
    assert rows[0] == {"t": 0, "hours": None, "status": "ok", "growing": []}
    assert rows[650]["status"] == "warning"
    assert rows[650]["hours"] == pytest.approx(550 / 120, rel=0.1)
    assert rows[650]["growing"] == ["n8n"]


def test_a_recording_without_swap_with_gaps_and_comings_and_goings_of_containers_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "leak.csv"
    lines = ["container:n8n,swap_free_bytes,mem_available_bytes,time_s,container:waha"]
    for number in range(900):
        size = "" if number < 100 or number % 7 == 0 else str((100 << 20) + (number << 19))
        if not 300 < number < 340:
            lines.append(f"{size},,{(700 << 20) - (number << 19)},{number * 60},")
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = replay(path)
    assert len(rows) == len(lines) - 1
    assert rows[-1]["status"] == "warning"
    assert rows[-1]["hours"] == pytest.approx(501 / 60, rel=0.1)
    assert rows[-2]["growing"] == ["n8n"]


def test_every_row_of_a_spreadsheet_without_swap_gives_a_line(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    sizes = ["500000000", "NaN", "", "-1", "499000000", "498000000"]
    lines = [f"{60 * min(number, 4)},{size}" for number, size in enumerate(sizes)] + [",1"]
    path.write_bytes("\r\n".join(["\ufefftime_s,mem_available_bytes", *lines, ""]).encode())
    command = [sys.executable, str(ROOT / "benchmarks" / "forecast"), "--csv", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    verdict: dict[str, Any] = {"hours": None, "status": "ok", "growing": []}
    times = [0, 60, 120, 180, 240, 240, None]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"t": each} | verdict for each in times]
    said = done.stderr.splitlines()
    assert said[0] == f"{path}: no column swap_free_bytes: taken for a machine without swap"
    assert [line.split(": ")[0] for line in said[1:]] == [f"{path}:{number}" for number in (3, 4, 5, 8)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the first line must name the columns; missing: mem_available_bytes, time_s"),
        ("time_s,mem\n1,2\n", "the first line must name the columns; missing: mem_available_bytes"),
        ("time_s,mem_available_bytes,swap_free_bytes\n", "no row below the names of the columns"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_is_no_recording_is_one_clear_line(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "none.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "forecast"), "--csv", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{path}: {complaint}\n")
