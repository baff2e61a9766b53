"""State files with numbers, times, names and offsets that no vpsmon wrote: set aside or bounded, and work goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.line import Line
from vpsmon.alerts.outbox import list_entries
from vpsmon.alerts.totals import load_totals
from vpsmon.core.prometheus_text import parse_samples
from vpsmon.core.text import format_local, format_utc
from vpsmon.recovery.engine.memory import QUIET_SECONDS, Book
from vpsmon.recovery.engine.store import DryStore
from vpsmon.state import own_folder
from vpsmon.state.content import WRONG_FORM, parse_content
from vpsmon.state.directory import StateDirectory
from vpsmon.state.folder import Folder
from vpsmon.state.shm_fallback import SparedState

NOW = 1_800_000_000.0
IMPOSSIBLE = ["9" * 400, "9" * 5000, "-" + "9" * 30, str(2**64), "1e999", "-1e999", "1e300", "NaN", "-Infinity"]


@pytest.mark.parametrize("number", IMPOSSIBLE)
def test_a_number_that_nothing_real_has_makes_a_file_unusable(tmp_path: Path, number: str) -> None:
    text = f'{{"schema": 1, "clock": {{"seconds": [{number}]}}}}'
    with pytest.raises(ValueError, match="which nothing real has"):
        parse_content(text)
    state = StateDirectory(str(tmp_path))
    (tmp_path / "recovery_state.json").write_text(text)
    assert DryStore(state).load() == ({}, True)
    assert state.load("recovery_state.json") == {}
    assert "nothing real has" in state.notices[0]


def test_numbers_of_the_kernel_and_of_clocks_are_taken() -> None:
    numbers = [0, -1, 2**64 - 1, 1.8e9, 0.1, -0.0, 1e-300]
    assert parse_content(json.dumps({"schema": 1, "a": numbers})) == {"a": numbers}


@pytest.mark.parametrize("seconds", [-1e18, -1.0, 1e12, 1e17, 1e19, 1e300])
def test_any_time_can_be_shown(seconds: float) -> None:
    assert format_utc(seconds)[:4] in ("1970", "9999")
    assert format_local(seconds)[:4] in ("1970", "9999")


@pytest.mark.parametrize(
    "journal",
    [
        {"appends": {"a.log": {"offset": -1, "text": "x\n"}}, "files": {}},
        {"appends": {"gone/a.log": {"offset": 0, "text": "x\n"}}, "files": {}},
        {"appends": {}, "files": {"gone/a.json": "{}"}},
        {"appends": {}, "files": {f"{'a' * 300}.json": "{}"}},
        {"appends": {}, "files": {"": "{}"}},
    ],
)
def test_a_journal_that_can_never_be_finished_does_not_stop_all_later_runs(
    tmp_path: Path, journal: dict[str, Any]
) -> None:
    own_folder.mark(str(tmp_path))
    (tmp_path / "commit.json").write_text(json.dumps({"schema": 1, **journal}))
    (tmp_path / "a.log").write_text("one\n")
    state = StateDirectory(str(tmp_path))
    with state.lock():
        state.commit({"a.json": {"x": 1}})
    assert state.load("a.json") == {"x": 1}
    assert (tmp_path / "a.log").read_text() == "one\n"
    assert "commit.json was unreadable" in state.notices[0]


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"schema": 1, "a": 1e999}', '{"schema": 1'])
def test_a_file_in_a_journal_that_waits_for_the_disk_may_be_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "alerts"
    path.mkdir(mode=0o700)
    (path / "commit.json").write_text(json.dumps({"schema": 1, "appends": {}, "files": {"a.json": text}}))
    assert SparedState(str(path)).load("a.json") == {}


@pytest.mark.parametrize("name", ["..", ".", "a\0b.png", "\ud800.png", f"{'a' * 300}.png", ".2026-11-25.png.new"])
def test_a_chart_of_no_name_that_a_chart_has_does_not_hold_up_the_outbox(name: str) -> None:
    entry = {
        "id": "a",
        "wall_seconds": NOW,
        "host": "vm",
        "notices": [],
        "parts_sent": 0,
        "lines": [list(Line("a", "a"))],
    }
    good = {**entry, "photo": "2026-11-25.png"}
    assert list_entries({"entries": [{**entry, "photo": name}, good]}) == [good]


def book_of(**content: Any) -> Book:
    clock = {"boot_id": "a", "monotonic": 100.0, "wall": NOW, "seconds": 500.0}
    return Book({"clock": clock, **content}, "a", 100.0, NOW)


def test_a_pause_of_recovery_until_the_end_of_days_is_ten_minutes() -> None:
    assert book_of(quiet_until=1e15).quiet_until == 500.0 + QUIET_SECONDS
    assert book_of(quiet_until=510.0).quiet_until == 510.0


def test_an_incident_that_was_seen_and_treated_in_the_future_was_so_now() -> None:
    record = {"attempts": 5, "last": 1e15, "told": "", "alerted": [], "pending": None, "seen": 1e15}
    book = book_of(incidents={"rule/t": {**record, "name": "n", "touches": "t"}})
    assert (book.incidents["rule/t"]["last"], book.incidents["rule/t"]["seen"]) == (500.0, 500.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"severity": "grave"},
        {"message": 5},
        {"wall_seconds": "x"},
        {"wall_seconds": 1e15},
        {"wall_seconds": -1.0},
        {"suppressed_count": -1},
    ],
)
def test_what_recovery_has_still_to_tell_must_be_a_notice(changed: dict[str, Any]) -> None:
    notice = Notice("info", "recovery x", None, "m", None, NOW)
    assert book_of(notices=[list(notice)]).notices == [notice]
    with pytest.raises(WRONG_FORM):
        book_of(notices=[list(notice._replace(**changed))])


def test_a_file_that_another_process_has_moved_or_removed_already_is_no_fault(tmp_path: Path) -> None:
    state = StateDirectory(str(tmp_path))
    assert state.set_aside("a.json", "it is no JSON") == {}
    assert state.notices == []
    Folder(state, "mail").remove("gone.eml")


def test_counters_are_not_taken_from_metrics_that_are_no_numbers_of_a_counter(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    values = ("inf", "nan", "1e999", "1e300")
    for value in values:
        text = f'alerts_total{{severity="critical"}} {value}\nvpsmon_oom_kills_total 3\n'
        (tmp_path / "metrics" / "metrics.prom").write_text(text)
        totals = load_totals(StateDirectory(str(tmp_path)))
        assert (totals.alerts["critical"], totals.oom_kills) == (0, 3)
        assert parse_samples(text, "alerts_total") == {}
