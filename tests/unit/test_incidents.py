"""What is told and when: rate limit, escalation, suppressed counts, ends, and events that are told exactly once."""

from __future__ import annotations

from typing import Any

from vpsmon.alerts.incidents import Ledger, Notice, format_history
from vpsmon.core.findings import Event, Finding, Status

LIMIT_SECONDS = 600


class Story:
    """A machine's life, pass by pass; the state goes through a round of JSON-like tables in between."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.now = 1_000_000.0

    def tell(
        self, *findings: Finding, after: float = 30, checks: tuple[str, ...] = ("memory_available",)
    ) -> list[Notice]:
        self.now += after
        ledger = Ledger(self.state, self.now, LIMIT_SECONDS)
        notices = ledger.judge(findings, {*checks, *(finding.check for finding in findings)})
        self.state = ledger.to_state()
        return notices


def memory(status: Status, is_clear: bool = True, name: str | None = None) -> Finding:
    message = f"memory is {status}"
    return Finding(
        check="memory_available",
        status=status,
        message=message,
        object=name,
        value=1,
        unit="bytes",
        advice="act",
        is_clear=is_clear,
    )


def kill(key: str, victim: str = "node") -> Finding:
    event = Event(key, victim, f"killed {victim} {key}", 5.0)
    return Finding(check="oom_kills", status="critical", message="", value=1, unit="count", events=(event,))


def kinds(notices: list[Notice]) -> list[tuple[str, int]]:
    return [(notice.severity, notice.suppressed_count) for notice in notices]


def test_an_alert_is_told_once_within_the_limit_and_the_next_one_counts_the_rest() -> None:
    story = Story()
    assert kinds(story.tell(memory("warning"))) == [("warning", 0)]
    for _ in range(19):
        assert story.tell(memory("warning")) == []
    (notice,) = story.tell(memory("warning"))
    assert (notice.severity, notice.suppressed_count) == ("warning", 19)
    assert notice.message == "memory is warning (for 10 min)"


def test_a_rise_to_critical_is_told_at_once() -> None:
    story = Story()
    story.tell(memory("warning"))
    assert kinds(story.tell(memory("critical"))) == [("critical", 0)]


def test_a_fall_from_critical_to_warning_is_no_news() -> None:
    story = Story()
    story.tell(memory("critical"))
    assert story.tell(memory("warning")) == []
    assert kinds(story.tell(memory("warning"), after=600)) == [("warning", 1)]


def test_the_end_is_told_once_with_its_duration() -> None:
    story = Story()
    story.tell(memory("critical"))
    story.tell(memory("critical"), after=3600)
    (notice,) = story.tell(memory("ok"))
    assert (notice.severity, notice.is_end) == ("info", True)
    assert notice.message == "resolved after 1 h: memory is ok"
    assert story.tell(memory("ok")) == []


def test_a_value_within_the_margin_neither_ends_nor_repeats_an_incident() -> None:
    story = Story()
    story.tell(memory("warning"))
    for _ in range(50):
        assert story.tell(memory("ok", is_clear=False)) == []
        assert len(story.tell(memory("warning"))) <= 1
    assert [notice.is_end for notice in story.tell(memory("ok"))] == [True]


def test_flapping_gives_one_alert_and_one_end_in_the_limit() -> None:
    story = Story()
    told = [notice for _ in range(9) for status in ("critical", "ok") for notice in story.tell(memory(status))]
    assert kinds(told) == [("critical", 0), ("info", 0)]


def test_a_check_that_cannot_be_read_keeps_its_incident_open() -> None:
    story = Story()
    story.tell(memory("critical"))
    assert story.tell(memory("unknown")) == []
    assert len(story.tell(memory("ok"))) == 1


def test_an_object_that_vanishes_ends_its_incident_and_no_other() -> None:
    story = Story()
    story.tell(memory("critical", name="a"), memory("critical", name="b"))
    (notice,) = story.tell(memory("critical", name="b"))
    assert (notice.object, notice.message) == ("a", "resolved after 30 s: it is no longer there")
    assert story.tell(checks=("disk_usage",)) == []


def test_a_check_that_cannot_look_ends_no_incident_of_its_objects() -> None:
    story = Story()
    story.tell(memory("critical", name="a"))
    for status in ("unknown", "skipped"):
        assert story.tell(memory(status)) == []
    assert len(story.tell(memory("ok", name="b"))) == 1


def test_an_incident_that_nobody_could_look_at_for_a_week_is_forgotten() -> None:
    story = Story()
    story.tell(memory("critical", name="a"))
    story.tell(memory("unknown"), after=8 * 86_400)
    assert story.state["incidents"] == {}


def test_objects_and_checks_do_not_hold_each_other_back() -> None:
    story = Story()
    assert len(story.tell(memory("warning", name="a"))) == 1
    assert len(story.tell(memory("warning", name="a"), memory("warning", name="b"))) == 1


def test_an_event_is_told_exactly_once_however_often_it_is_seen() -> None:
    story = Story()
    assert kinds(story.tell(kill("boot:1"))) == [("critical", 0)]
    for _ in range(100):
        assert story.tell(kill("boot:1")) == []


def test_events_that_are_held_back_are_told_when_the_limit_is_over() -> None:
    story = Story()
    story.tell(kill("boot:1"))
    for number in range(2, 7):
        assert story.tell(kill(f"boot:{number}")) == []
    quiet = Finding(check="oom_kills", status="ok", message="no OOM kill", value=0, unit="count")
    assert story.tell(quiet) == []
    (notice,) = story.tell(quiet, after=600)
    assert notice.message == "killed node boot:4; killed node boot:5; killed node boot:6; 2 more before"
    assert notice.suppressed_count == 5
    assert story.tell(quiet, after=600) == []


def test_another_victim_is_told_at_once() -> None:
    story = Story()
    story.tell(kill("boot:1"))
    assert len(story.tell(kill("boot:2", "postgres"))) == 1


def test_a_clock_that_is_set_back_blocks_nothing_for_longer_than_the_limit() -> None:
    story = Story()
    story.tell(memory("critical"))
    assert story.tell(memory("critical"), after=-86_400) == []
    assert kinds(story.tell(memory("critical"), after=600)) == [("critical", 1)]


def test_the_gravest_comes_first() -> None:
    story = Story()
    story.tell(memory("warning", name="z"))
    notices = story.tell(memory("ok", name="z"), memory("warning", name="a"), memory("critical", name="b"))
    assert [notice.severity for notice in notices] == ["critical", "warning", "info"]


def test_the_state_does_not_grow_with_objects_that_come_and_go() -> None:
    story = Story()
    for number in range(500):
        findings = memory("critical", name=f"container-{number}"), kill(f"boot:{number}", f"victim-{number}")
        story.tell(*findings, after=3600)
    assert len(story.state["types"]) < 110
    assert len(story.state["incidents"]) == 1
    assert len(story.state["told_events"]) <= 200


def test_a_line_of_the_history_holds_time_severity_check_and_message() -> None:
    notice = Notice("critical", "disk_usage", "/", "disk / 95 % full", None, 0.0, 3)
    assert format_history(notice) == (
        "1970-01-01T00:00:00Z CRITICAL disk_usage[/] disk / 95 % full (3 suppressed before)"
    )
