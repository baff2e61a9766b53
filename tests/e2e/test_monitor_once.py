"""`vpsmon monitor --once` as a real process on this machine's kernel."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command import Workdir, run_command, vpsmon_path
from tests.kit.kernel import memory_pressure, swap_file, swap_traffic

KERNEL_ROWS = {
    "memory_pressure": "score",
    "memory_available": "bytes",
    "swap_usage": "bytes",
    "swap_in": "kB/s",
    "swap_out": "kB/s",
    "file_refaults": "kB/s",
    "oom_kills": "count",
    "disk_usage": "percent",
}


def read_rows(workdir: Workdir, *options: str) -> dict[str, dict[str, Any]]:
    done = workdir.run("monitor", "--once", "--json", *options)
    assert done.returncode == 0, done.stderr
    return {row["check"]: row for row in json.loads(done.stdout)["checks"]}


def read_meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def test_the_json_is_the_documented_object_and_nothing_else(workdir: Workdir) -> None:
    done = workdir.run("monitor", "--once", "--json")
    document = json.loads(done.stdout)
    assert set(document) == {"schema", "host", "time", "status", "duration_seconds", "checks"}
    assert document["schema"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["time"])
    for row in document["checks"]:
        assert set(row) == {"check", "object", "status", "value", "unit", "message", "reason"}
        assert row["value"] is None or type(row["value"]) in (int, float)


def test_every_kernel_check_has_a_row_in_its_unit(workdir: Workdir) -> None:
    rows = read_rows(workdir)
    assert {name: rows[name]["unit"] for name in KERNEL_ROWS} == KERNEL_ROWS


def test_the_values_are_those_of_proc_and_df(workdir: Workdir) -> None:
    rows = read_rows(workdir)
    memory = read_meminfo()
    assert rows["memory_available"]["value"] == pytest.approx(memory["MemAvailable"], rel=0.05)
    df = subprocess.run(["df", "--output=pcent", "/"], capture_output=True, text=True, check=True).stdout
    assert abs(rows["disk_usage"]["value"] - int(df.split()[1].rstrip("%"))) <= 1.5


@pytest.mark.alone
def test_the_first_pass_has_no_rate_and_says_so_and_the_second_has_one(workdir: Workdir) -> None:
    with swap_file(64 * 1024 * 1024):
        first = read_rows(workdir)
        second = read_rows(workdir)
    for name in ("swap_in", "swap_out", "file_refaults"):
        assert (first[name]["status"], first[name]["value"]) == ("skipped", None)
        assert "pass before" in first[name]["reason"]
        assert isinstance(second[name]["value"], (int, float))


@pytest.mark.alone
def test_real_swap_traffic_shows_in_both_directions(workdir: Workdir) -> None:
    with swap_file(256 * 1024 * 1024):
        workdir.write_config(SWAP_WARNING_MB=1)
        read_rows(workdir)
        swap_traffic()
        rows = read_rows(workdir)
    assert rows["swap_in"]["value"] > 0
    assert rows["swap_out"]["value"] > 0


@pytest.mark.alone
def test_swap_in_use_is_measured_as_proc_tells_it(workdir: Workdir) -> None:
    with swap_file(128 * 1024 * 1024), memory_pressure():
        row = read_rows(workdir)["swap_usage"]
        memory = read_meminfo()
    used = memory["SwapTotal"] - memory["SwapFree"]
    assert row["value"] > 0
    assert abs(row["value"] - used) < 64 * 1024 * 1024


@pytest.mark.alone
def test_real_memory_pressure_raises_the_score_and_names_the_consumers(workdir: Workdir) -> None:
    workdir.write_config(MEMORY_PRESSURE_WARNING=3, MEMORY_PRESSURE_THRESHOLD=100)
    with memory_pressure():
        row = read_rows(workdir)["memory_pressure"]
    assert row["value"] > 3
    assert row["status"] in ("warning", "critical")
    assert re.search(r"; largest: \S+.* \d+(\.\d)? [MG]B", row["message"])


def test_without_alerts_nothing_is_told_and_the_next_pass_still_sees_it(workdir: Workdir) -> None:
    workdir.write_config(MEMORY_WARNING_MB=1_000_000)
    for _ in range(3):
        read_rows(workdir, "--no-alerts")
    assert not (workdir.path / ".alerts/alert_history.log").exists()
    done = workdir.run("monitor", "--once")
    assert "vpsmon: critical: memory_available" in done.stderr or "vpsmon: warning: memory_available" in done.stderr
    assert "memory_available" in (workdir.path / ".alerts/alert_history.log").read_text()


@pytest.mark.parametrize(
    ("limit", "keys", "status"),
    [
        ("warning", {}, 0),
        ("warning", {"MEMORY_WARNING_MB": 1_000_000}, 3),
        ("critical", {"MEMORY_WARNING_MB": 1_000_000}, 0),
        ("critical", {"MEMORY_CRITICAL_MB": 1_000_000}, 3),
    ],
)
def test_fail_on_exits_3_when_the_severity_is_reached(
    workdir: Workdir, limit: str, keys: dict[str, int], status: int
) -> None:
    workdir.write_config(DISK_WARNING_PCT=100, DISK_CRITICAL_PCT=100, **keys)
    assert workdir.run("monitor", "--once", "--fail-on", limit).returncode == status


@pytest.mark.parametrize(
    "words",
    [
        ["monitor", "--json"],
        ["monitor", "--once", "--interval", "5"],
        ["monitor", "--once", "--fail-on", "info"],
        ["monitor", "--interval", "0"],
        ["monitor", "--interval", "soon"],
        ["monitor", "--interval", "nan"],
        ["monitor", "--interval", "inf"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_2_without_a_traceback(workdir: Workdir, words: list[str]) -> None:
    done = workdir.run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_version_and_help_name_every_command(workdir: Workdir) -> None:
    assert re.fullmatch(r"vpsmon \d+\.\d+\.\d+\n", workdir.run("--version").stdout)
    assert "monitor" in workdir.run("--help").stdout
    assert "Exit status" in workdir.run("monitor", "--help").stdout


def run_on_terminal(workdir: Workdir, environment: dict[str, str]) -> str:
    """Return what vpsmon prints when its output is a terminal."""
    ours, theirs = pty.openpty()
    variables = {"PATH": os.environ["PATH"], "TERM": "xterm", **environment}
    command = [str(vpsmon_path()), "monitor", "--once"]
    errors = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=theirs, stderr=errors, cwd=workdir.path, env=variables) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            output += part
        process.wait(timeout=30)
    os.close(ours)
    return output.decode()


def test_colour_is_for_terminals_whose_owner_wants_it(workdir: Workdir) -> None:
    assert "\x1b[" in run_on_terminal(workdir, {})
    assert "\x1b[" not in run_on_terminal(workdir, {"NO_COLOR": "1"})
    assert "\x1b[" not in workdir.run("monitor", "--once").stdout


def test_the_table_is_aligned(workdir: Workdir) -> None:
    lines = workdir.run("monitor", "--once").stdout.splitlines()
    title = next(line for line in lines if line.startswith("CHECK"))
    table = lines[lines.index(title) + 1 :]
    rows = table[: table.index("")] if "" in table else table
    assert len(rows) >= len(KERNEL_ROWS)
    column = title.index("STATUS")
    assert {row[column:].split()[0] for row in rows} <= {"ok", "warning", "critical", "unknown", "skipped"}


def test_a_reader_that_stops_early_causes_no_complaint(workdir: Workdir) -> None:
    command = f"{vpsmon_path()} monitor --once | true"
    bash = shutil.which("bash") or "bash"
    done = subprocess.run([bash, "-c", command], cwd=workdir.path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_under_systemd_log_lines_carry_a_priority(workdir: Workdir) -> None:
    done = workdir.run("monitor", "--once", env={"JOURNAL_STREAM": "8:1"})
    assert done.stderr.startswith("<6>Telegram is not set up")


def test_on_a_narrow_terminal_the_table_stays_within_its_edge(workdir: Workdir) -> None:
    shown = f"unset COLUMNS LINES; stty cols 80; {shlex.quote(str(vpsmon_path()))} monitor --once 2>/dev/null"
    done = run_command(["script", "-qec", shown, "/dev/null"], env={"NO_COLOR": "1"}, cwd=workdir.path)
    lines = done.stdout.splitlines()
    assert any(line.startswith("memory_available") for line in lines)
    assert max(map(len, lines)) <= 80, lines
