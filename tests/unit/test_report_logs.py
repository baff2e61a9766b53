"""What the logs say of the last two days, line by line, and what recovery did: from its events, or its old log."""

from __future__ import annotations

import json
import time
from typing import Any

from vpsmon.alerts.incidents import Notice, format_history
from vpsmon.core.text import format_utc
from vpsmon.recovery.events import format_event
from vpsmon.recovery.messages import format_line, put_into_words
from vpsmon.recovery.model import Action, Decision
from vpsmon.report.logs import LogLine, Repair, find_repairs, parse_log

NOW = 1_800_000_000.0
DAY = 86_400.0
STOP = Action("stop_container", "b" * 64, "blog")
PAUSE = Action("pause_workflows", "pause", "n8n", {"items": ["CRM: nightly sync", "LP: newsletter"]})


def test_a_line_is_read_as_the_alerts_write_it() -> None:
    notice = Notice("critical", "oom_kills", "crm-n8n-1", "OOM killer ended node", None, NOW - 3600)
    repair = notice._replace(check="recovery swap_thrashing", object="blog", severity="info", message="a [b] c")
    lines = "\n".join(map(format_history, (notice, repair, notice._replace(object=None))))
    assert parse_log(lines, NOW, DAY) == [
        LogLine(3600.0, "critical", "oom_kills", "crm-n8n-1", "OOM killer ended node"),
        LogLine(3600.0, "info", "recovery swap_thrashing", "blog", "a [b] c"),
        LogLine(3600.0, "critical", "oom_kills", None, "OOM killer ended node"),
    ]


def test_old_lines_and_what_is_no_line_are_left_out() -> None:
    lines = [
        f"{format_utc(NOW - DAY)} WARNING swap_in too old",
        f"{format_utc(NOW - 60)} WARNING swap_in kept",
        "2027-13-45T99:00:00Z WARNING no such day",
        f"{format_utc(NOW - 50)} WARN",
        "\x1b[31mgarbage",
        "",
        f"{format_utc(NOW - 40)} CRITICAL swap_in cut o",
    ]
    assert [line.message for line in parse_log("\n".join(lines), NOW, DAY)] == ["kept", "cut o"]


def test_a_time_in_the_future_counts_as_now() -> None:
    assert parse_log(f"{format_utc(NOW + 3600)} INFO swap_in later", NOW, DAY)[0].age_seconds == 0.0


def decide(action: Action, **more: Any) -> Decision:
    fields = {"rule": "swap_thrashing", "target": action.target, "name": "blog", "cause": "swap_in", "verdict": "act"}
    return Decision(**{**fields, "action": action, **more})


def write(age_seconds: float, decision: Decision) -> str:
    return format_event(decision, put_into_words(decision), NOW - age_seconds)


def test_a_repair_is_shown_with_how_it_turned_out() -> None:
    earlier = {"is_of_earlier_run": True, "recalled": {"read": "", "did": "", "done": "", "note": "", "advice": ""}}
    events = [
        write(100, decide(STOP, ending="begun")),
        write(95, decide(STOP, target="other", ending="repaired")),
        write(90, decide(STOP, ending="repaired", is_verified=True)),
        write(80, decide(STOP, ending="begun")),
        write(70, decide(STOP, ending="failing", **earlier)),
        write(60, decide(STOP, ending="begun")),
        write(50, decide(STOP, ending="begun")),
    ]
    stopped = "stop the container blog"
    assert find_repairs("\n".join(events), "", NOW, DAY) == [
        Repair(100.0, "swap_thrashing", stopped, "it helped"),
        Repair(80.0, "swap_thrashing", stopped, "it did not help"),
        Repair(60.0, "swap_thrashing", stopped, "not known"),
        Repair(50.0, "swap_thrashing", stopped, "not known yet"),
    ]


def test_names_with_any_words_in_them_are_shown_as_they_are() -> None:
    events = [write(100, decide(PAUSE, ending="begun")), write(90, decide(PAUSE, ending="repaired"))]
    (repair,) = find_repairs("\n".join(events), "", NOW, DAY)
    assert (repair.done, repair.outcome) == ("pause the n8n workflows CRM: nightly sync, LP: newsletter", "done")


def test_events_that_cannot_be_read_and_old_ones_are_left_out() -> None:
    good = write(100, decide(STOP, ending="begun"))
    record = json.loads(good)
    wrong = [
        {**record, "time": "yesterday"},
        {**record, "action": {"verb": "stop_container"}},
        {**record, "action": {**record["action"], "verb": "set_memory_limit", "details": {"memory_bytes": "x"}}},
        [record],
    ]
    lines = [good[:80], "", "\x00", write(DAY, decide(STOP, ending="begun")), *map(json.dumps, wrong), good]
    assert [each.age_seconds for each in find_repairs("\n".join(lines), "", NOW, DAY)] == [100.0]


def write_sentence(age_seconds: float, text: str, outcome: str) -> str:
    return f"{format_utc(NOW - age_seconds)} INFO swap_thrashing[blog] swap-in 8120 kB/s: thrashing: {text}: {outcome}"


def test_the_log_of_a_version_without_events_is_shown_up_to_the_first_event() -> None:
    stop = "stop the container blog"
    pause = "pause the n8n workflows CRM: nightly sync, LP: newsletter"
    log = [
        write_sentence(100, stop, "begun"),
        f"{format_utc(NOW - 95)} INFO waha_stuck[default] something else: not needed",
        write_sentence(90, stop, "it helped"),
        write_sentence(80, stop, "begun"),
        write_sentence(70, f"{stop} (in an earlier run)", "it did not help"),
        write_sentence(60, pause, "begun"),
    ]
    old = [
        Repair(100.0, "swap_thrashing", stop, "it helped"),
        Repair(80.0, "swap_thrashing", stop, "it did not help"),
        Repair(60.0, "swap_thrashing", pause, "not known yet"),
    ]
    assert find_repairs("", "\n".join(log), NOW, DAY) == old
    decision = decide(STOP, ending="begun")
    # From then on it is in both, and counts once.
    log.append(f"{format_utc(NOW - 50)} INFO {format_line(decision, put_into_words(decision))}")
    new = Repair(50.0, "swap_thrashing", stop, "not known yet")
    assert find_repairs(write(50, decision), "\n".join(log), NOW, DAY) == [*old, new]


def test_times_are_of_utc_whatever_the_zone() -> None:
    (line,) = parse_log("2027-01-15T07:00:00Z INFO swap_in x", NOW, DAY)
    assert time.gmtime(NOW - line.age_seconds)[:4] == (2027, 1, 15, 7)
