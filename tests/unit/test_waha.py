"""WAHA's sessions: what is parsed of its answer, and how each session is judged from pass to pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vpsmon.checks.stack import waha as check
from vpsmon.checks.stack.waha import Reading, Trouble
from vpsmon.config.settings import DEFAULTS, Settings
from vpsmon.core.findings import Finding, Previous, ReadError
from vpsmon.stack import waha
from vpsmon.stack.docker.addresses import Address
from vpsmon.stack.docker.containers import Container, parse_container
from vpsmon.stack.waha import Broken, Session, Waha, describe_waha, is_connected, parse_sessions
from vpsmon.stack.web import Site, site_of_addresses

NOW = 1_800_000_000.0
HOUR = 3600.0
STARTED = NOW - 5 * HOUR
HOSTILE = ['de"fault', "line\nbreak", "x" * 4096, "🙂", "\x1b[31mred", "\ud83d", "../../etc", "<b>"]


class Story:
    """A series of passes over one WAHA."""

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        self.settings = settings
        self.now = NOW
        self.started: float | None = STARTED
        self.memory: dict[str, Any] | None = None

    def pass_with(self, after_seconds: float, trouble: Trouble | None = None, **statuses: str) -> list[Finding]:
        """Let time pass, then judge and remember; the sessions are name=status."""
        self.now += after_seconds
        sessions = None if trouble else [Session(name, status, None) for name, status in statuses.items()]
        reading = Reading(self.now, sessions, trouble, self.started, False)
        previous = None if self.memory is None else Previous(self.memory, after_seconds)
        findings = check.judge(reading, self.settings, previous)
        self.memory = json.loads(json.dumps(check.remember(reading, previous)))
        return findings

    def status_after(self, after_seconds: float, status: str) -> str:
        """The status of the row of a session named default."""
        (finding,) = self.pass_with(after_seconds, default=status)
        return finding.status


def test_a_working_session_is_ok_and_says_when_it_was_last_used() -> None:
    reading = Reading(NOW, [Session("default", "WORKING", NOW - 3 * HOUR)], None, STARTED, False)
    (finding,) = check.judge(reading, DEFAULTS, None)
    assert (finding.status, finding.object, finding.value) == ("ok", "default", None)
    assert finding.message == "connected, last sent 3 h ago"


def test_a_session_that_was_last_used_days_ago_is_no_less_ok() -> None:
    reading = Reading(NOW, [Session("default", "WORKING", NOW - 99 * HOUR)], None, STARTED, False)
    assert check.judge(reading, DEFAULTS, None)[0].status == "ok"


@pytest.mark.parametrize("status", ["STARTING", "FAILED", "UNKNOWN", "SOMETHING_NEW"])
def test_a_session_that_is_down_is_a_warning_and_critical_after_the_limit(status: str) -> None:
    story = Story()
    assert story.status_after(0, status) == "warning"
    assert story.status_after(HOUR - 1, status) == "warning"
    assert story.status_after(1, status) == "critical"
    assert story.status_after(30, "WORKING") == "ok"
    assert story.status_after(30, status) == "warning"


def test_failed_and_starting_in_turns_do_not_reset_the_clock() -> None:
    story = Story()
    for position in range(60):
        story.status_after(60, "FAILED" if position % 2 else "STARTING")
    (finding,) = story.pass_with(60, default="STARTING")
    assert finding.status == "critical"
    assert finding.message == "not connected (STARTING) for 1 h, critical after 1 h"


@pytest.mark.parametrize("status", ["SCAN_QR_CODE", "PASSKEY_REQUIRED", "PASSKEY_CONFIRMATION_REQUIRED"])
def test_a_session_that_waits_for_a_person_never_gets_critical(status: str) -> None:
    story = Story()
    assert story.status_after(0, status) == "warning"
    (finding,) = story.pass_with(99 * HOUR, default=status)
    assert finding.status == "warning"
    assert status in finding.message
    assert "Linked devices" in (finding.advice or "")


def test_a_session_that_somebody_stopped_is_ok_for_good() -> None:
    story = Story()
    story.status_after(0, "WORKING")
    assert story.status_after(30, "STOPPED") == "ok"
    assert story.status_after(99 * HOUR, "STOPPED") == "ok"


def test_a_session_that_is_stopped_since_its_container_restarted_is_not_stopped_by_hand() -> None:
    story = Story()
    story.status_after(0, "WORKING")
    story.started = NOW + 10
    (finding,) = story.pass_with(30, default="STOPPED")
    assert finding.status == "warning"
    assert finding.message == "stopped since WAHA restarted, for 0 s"
    assert story.status_after(HOUR, "STOPPED") == "critical"
    assert story.status_after(30, "WORKING") == "ok"
    assert story.status_after(30, "STOPPED") == "ok"


def test_a_session_that_was_stopped_by_hand_before_the_container_restarted_stays_so() -> None:
    story = Story()
    story.status_after(0, "STOPPED")
    story.started = NOW + 10
    assert story.status_after(30, "STOPPED") == "ok"


def test_a_silent_pass_during_the_restart_does_not_hide_it() -> None:
    story = Story()
    story.status_after(0, "WORKING")
    story.started = NOW + 10
    story.pass_with(30, Trouble("silent", "refused"))
    answering, session = story.pass_with(30, default="STOPPED")
    assert (answering.status, answering.object) == ("ok", None)
    assert session.status == "warning"


def test_a_session_that_is_gone_since_the_restart_is_told_for_a_day() -> None:
    story = Story()
    story.status_after(0, "WORKING")
    story.started = NOW + 10
    (finding,) = story.pass_with(30)
    assert finding.message == "gone since WAHA restarted, for 0 s"
    assert "volume" in (finding.advice or "")
    assert story.pass_with(HOUR)[0].status == "critical"
    (none_left,) = story.pass_with(24 * HOUR)
    assert (none_left.object, none_left.status) == (None, "skipped")


def test_a_session_that_somebody_deleted_has_no_row_any_more() -> None:
    story = Story()
    story.pass_with(0, default="WORKING", sales="WORKING")
    assert [finding.object for finding in story.pass_with(30, sales="WORKING")] == ["sales"]


def test_nothing_is_critical_while_waha_starts() -> None:
    story = Story()
    story.status_after(0, "FAILED")
    story.started = NOW + 2 * HOUR - 60
    assert story.status_after(2 * HOUR, "STARTING") == "warning"
    assert story.status_after(120, "STARTING") == "critical"


def test_a_limit_shorter_than_a_start_is_taken_at_its_word() -> None:
    story = Story(DEFAULTS._replace(WAHA_STUCK_AFTER_SEC=1))
    story.started = NOW - 20
    assert [story.status_after(seconds, "FAILED") for seconds in (0, 2)] == ["warning", "critical"]


def test_a_time_in_the_future_counts_as_now() -> None:
    story = Story()
    story.status_after(0, "FAILED")
    story.now -= 10 * HOUR  # the clock was set back
    assert story.status_after(30, "FAILED") == "warning"
    assert story.status_after(HOUR, "FAILED") == "critical"


def test_an_api_that_does_not_answer_is_a_stuck_waha() -> None:
    story = Story()
    story.pass_with(0, default="WORKING", sales="FAILED")
    silent = Trouble("silent", "http://10.0.0.2:3000: no answer in time")
    api, *sessions = story.pass_with(30, silent)
    assert (api.object, api.status) == (None, "warning")
    assert [(each.object, each.status) for each in sessions] == [("default", "unknown"), ("sales", "unknown")]
    assert all(each.reason for each in sessions)
    assert story.pass_with(HOUR - 1, silent)[0].status == "warning"
    assert story.pass_with(1, silent)[0].status == "critical"
    api, default, sales = story.pass_with(30, default="WORKING", sales="FAILED")
    assert (api.status, api.message) == ("ok", "WAHA's API answers again")
    assert (default.status, sales.status) == ("ok", "critical")
    assert len(story.pass_with(30, default="WORKING", sales="FAILED")) == 2


def test_an_api_that_answers_nonsense_is_unknown_and_after_the_limit_critical() -> None:
    story = Story()
    broken = Trouble("broken", "it answers with HTTP 500: look into its log")
    (finding,) = story.pass_with(0, broken)
    assert (finding.status, finding.reason) == ("unknown", "WAHA: it answers with HTTP 500: look into its log")
    assert story.pass_with(HOUR, broken)[0].status == "critical"


def test_a_refused_key_is_unknown_however_long_it_lasts_and_resets_no_clock() -> None:
    story = Story()
    story.status_after(0, "FAILED")
    refused = Trouble("refused", "the key is refused")
    assert story.pass_with(2 * HOUR, refused)[0].status == "unknown"
    assert story.status_after(30, "FAILED") == "critical"


def test_waha_without_a_session_still_has_a_row() -> None:
    (finding,) = Story().pass_with(0)
    assert (finding.object, finding.status) == (None, "skipped")
    assert finding.reason is not None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_session_name_is_one_printable_line(name: str) -> None:
    (session,) = parse_sessions(json.dumps([{"name": name, "status": "FAILED\n\x1b[0m"}]).encode())
    (finding,) = check.judge(Reading(NOW, [session], None, STARTED, False), DEFAULTS, None)
    assert finding.object is not None and finding.object.isprintable() and len(finding.object) <= 80
    assert finding.message.isprintable() and len(finding.message) < 300
    finding.message.encode()


@pytest.mark.parametrize(
    ("timestamps", "activity"),
    [
        *[({"activity": 1763874000123}, 1763874000.123), ({}, None), ({"activity": None}, None), (None, None)],
        *[({"activity": "soon"}, None), ({"activity": True}, None), ({"activity": -1}, None), ([1], None)],
        *[({"activity": 10**30}, None), ({"activity": float("nan")}, None)],
    ],
)
def test_the_last_activity_is_known_only_where_it_is_a_time(timestamps: Any, activity: float | None) -> None:
    body = json.dumps([{"name": "default", "status": "WORKING", "timestamps": timestamps}]).encode()
    assert parse_sessions(body) == [Session("default", "WORKING", activity)]


def test_a_session_of_an_old_version_is_read() -> None:
    body = b'[{"name":"default","status":"STOPPED","config":null,"me":null}]'
    assert parse_sessions(body) == [Session("default", "STOPPED", None, is_linked=False)]


@pytest.mark.parametrize("entry", ["{}", "null", "[]", '"x"', '{"name":5}', '{"name":""}'])
def test_an_entry_without_a_name_is_no_session(entry: str) -> None:
    assert parse_sessions(f'[{entry},{{"name":"a","status":5}}]'.encode()) == [Session("a", "UNKNOWN", None)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ReadError),
        (b"<html></html>", ReadError),
        (b"{}", ReadError),
        (b"null", ReadError),
        (b"\xff\xfe", ReadError),
        (b'[{"name":"def', Broken),
        (b"[" * 100_000, Broken),
        (b'[{"name":"\xff"}]', Broken),
    ],
)
def test_an_answer_that_is_no_list_of_sessions_says_so(body: bytes, kind: type[ReadError]) -> None:
    with pytest.raises(ReadError) as caught:
        parse_sessions(body)
    assert type(caught.value) is kind


def test_connected_is_working_and_nothing_else() -> None:
    sessions = [Session("a", "WORKING", None), Session("b", "STOPPED", None), Session("c", "working", None)]
    reading = Reading(NOW, sessions, None, STARTED, False)
    assert check.count_connections(reading) == {"connected": 1, "disconnected": 2}
    assert check.count_connections(reading._replace(sessions=None)) is None
    assert not is_connected("SCAN_QR_CODE")


def test_what_was_found_is_said_without_a_secret() -> None:
    site = Site(("http://10.0.0.2:3000",), "WAHA_URL in monitor.conf")
    waha = Waha(site, "the-key", "WAHA_API_KEY of its container", make_container(WAHA_API_KEY="the-key"))
    assert "the-key" not in describe_waha(waha) + repr(waha)
    assert describe_waha(waha).startswith("http://10.0.0.2:3000 (WAHA_URL in monitor.conf), key from WAHA_API_KEY")


def test_an_ipv6_address_makes_a_url() -> None:
    site = site_of_addresses([Address("fd00::2", 3000, "address of container waha")])
    assert site.urls == ("http://[fd00::2]:3000",)


def make_container(**environment: str) -> Container:
    pairs = [f"{name}={value}" for name, value in environment.items()]
    return parse_container({"Id": "a" * 64, "Name": "/waha", "Config": {"Env": pairs}, "State": {"Status": "running"}})


def test_a_code_that_nobody_has_scanned_still_waits_for_a_person_when_the_session_fails() -> None:
    def look(body: str, previous: Previous | None) -> tuple[str, str, Previous]:
        reading = check.Reading(NOW, parse_sessions(body.encode()), None, None, False)
        row = check.judge(reading, DEFAULTS._replace(WAHA_STUCK_AFTER_SEC=1), previous)[0]
        return row.status, row.message, Previous(check.remember(reading, previous), 7200.0)

    code = '[{"name": "a", "status": "SCAN_QR_CODE", "me": null}]'
    failed = '[{"name": "a", "status": "FAILED", "me": null}]'
    status, _, previous = look(code, None)
    status, message, previous = look(failed, previous)
    assert (status, "manual action needed (FAILED)" in message) == ("warning", True)
    # One that was connected has lost its connection, whatever WAHA knows of its phone.
    working = '[{"name": "a", "status": "WORKING", "me": {"id": "1@c.us"}}]'
    _, _, previous = look(working, None)
    assert "not connected (FAILED)" in look(failed, previous)[1]
    assert "not connected (FAILED)" in look('[{"name": "a", "status": "FAILED"}]', None)[1]


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
def test_a_clock_that_is_set_makes_no_session_stuck_and_none_well(jump: float) -> None:
    story = Story()
    story.status_after(0, "STARTING")
    story.now += jump
    (finding,) = story.pass_with(5, default="STARTING")
    assert (finding.status, finding.message) == ("warning", "not connected (STARTING) for 5 s")
    assert story.status_after(HOUR - 6, "STARTING") == "warning"
    assert story.status_after(1, "STARTING") == "critical"
    story.now += jump
    assert story.status_after(1, "STARTING") == "critical"


def test_how_long_an_api_does_not_answer_goes_with_the_clock_that_nobody_sets() -> None:
    story, trouble = Story(), Trouble("silent", "no answer")
    story.pass_with(0, trouble)
    story.now += 2 * HOUR
    assert story.pass_with(5, trouble)[0].status == "warning"


def test_over_a_reboot_the_time_of_day_counts() -> None:
    story = Story()
    story.status_after(0, "STARTING")
    reading = Reading(NOW + 2 * HOUR, [Session("default", "STARTING", None)], None, STARTED, False)
    assert story.memory is not None
    assert check.judge(reading, DEFAULTS, Previous(story.memory, 0.0))[0].status == "critical"


def test_a_waha_with_https_is_asked_by_tls() -> None:
    assert waha._find_scheme(make_container(WAHA_HTTPS_ENABLED="true")) == "https"
    assert waha._find_scheme(make_container()) == "http"


@pytest.mark.parametrize(
    ("url", "leads"),
    [
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
        ("http://172.18.0.5:3000", True),
        ("http://198.51.100.7:3000", False),
        ("https://waha.example.org", False),
    ],
)
def test_the_key_of_a_container_goes_to_no_other_machine(url: str, leads: bool) -> None:
    assert waha._leads_to(url, make_container(WAHA_API_KEY="k")._replace(addresses=("172.18.0.5",))) is leads
