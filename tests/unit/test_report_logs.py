"""What the logs say of the last two days, line by line, and what recovery did."""

from __future__ import annotations

import time

from vpsmon.alerts.incidents import Notice, format_history
from vpsmon.core.text import format_utc
from vpsmon.recovery.model import Decision, format_decision
from vpsmon.report.logs import LogLine, Repair, find_repairs, parse_log

NOW = 1_800_000_000.0
DAY = 86_400.0


def test_a_line_is_read_as_the_alerts_write_it() -> None:
    notice = Notice("critical", "oom_kills", "crm-n8n-1", "OOM killer ended node", None, NOW - 3600)
    assert parse_log(format_history(notice), NOW, DAY) == [
        LogLine(3600.0, "critical", "oom_kills[crm-n8n-1] OOM killer ended node")
    ]


def test_old_lines_and_what_is_no_line_are_left_out() -> None:
    lines = [
        f"{format_utc(NOW - DAY)} WARNING too old",
        f"{format_utc(NOW - 60)} WARNING kept",
        "2027-13-45T99:00:00Z WARNING no such day",
        f"{format_utc(NOW - 50)} WARN",
        "\x1b[31mgarbage",
        "",
        f"{format_utc(NOW - 40)} CRITICAL cut o",
    ]
    assert [line.text for line in parse_log("\n".join(lines), NOW, DAY)] == ["kept", "cut o"]


def test_a_time_in_the_future_counts_as_now() -> None:
    assert parse_log(f"{format_utc(NOW + 3600)} INFO later", NOW, DAY)[0].age_seconds == 0.0


def write_decision(age_seconds: float, text: str, outcome: str, read: str = "swap-in 8120 kB/s: thrashing") -> str:
    decision = Decision("swap_thrashing", "blog", read, "act", text, text, outcome)
    return f"{format_utc(NOW - age_seconds)} INFO {format_decision(decision)}"


def test_a_repair_is_told_with_how_it_turned_out() -> None:
    stop = "stop the container blog"
    lines = [
        write_decision(100, stop, "begun"),
        f"{format_utc(NOW - 95)} INFO waha_stuck[default] something else: not needed",
        write_decision(90, stop, "it helped"),
        write_decision(80, stop, "begun"),
        write_decision(70, f"{stop} (in an earlier run)", "it did not help"),
        write_decision(60, stop, "begun"),
    ]
    assert find_repairs(parse_log("\n".join(lines), NOW, DAY)) == [
        Repair(100.0, "swap_thrashing", stop, "it helped"),
        Repair(80.0, "swap_thrashing", stop, "it did not help"),
        Repair(60.0, "swap_thrashing", stop, "not known yet"),
    ]


def test_times_are_of_utc_whatever_the_zone() -> None:
    assert time.gmtime(NOW - parse_log("2027-01-15T07:00:00Z INFO x", NOW, DAY)[0].age_seconds)[:4] == (2027, 1, 15, 7)
