"""What is said decides nothing: with other words in every finding, all that follows from it stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.kit.host import FakeMachine
from vpsmon.alerts.incidents import Ledger
from vpsmon.checks import Check, load_checks
from vpsmon.checks.stack import container_state, n8n, waha
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.core.findings import Event, Finding, NotApplicable, Previous, ReadError, Status, worst_status
from vpsmon.jobs.tables import format_json, format_table
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.container_names import excuse_stopped, name_containers
from vpsmon.passes.context import PassContext
from vpsmon.passes.look import Look
from vpsmon.passes.record_history import take_samples
from vpsmon.passes.run_check import Attempt, attempt, judge_attempt
from vpsmon.prometheus.exposition import compose as expose
from vpsmon.report.compose import compose
from vpsmon.report.facts import Facts
from vpsmon.report.gather import gather
from vpsmon.stack.n8n.server import Queue
from vpsmon.state.directory import StateDirectory

NOW = 1_800_000_000.0
STATUSES: list[Status] = ["ok", "critical", "skipped", "warning", "unknown"]
CHECKS = [*load_checks("kernel"), *load_checks("stack")]
# Each mark that code has ever cut a sentence at, and words that it has looked for.
SENTENCES = [
    "at this rate memory and swap run out in 3 h; growing: n8n +25 MB/h",
    "disk / 41 % full: no Docker engine; or set POSTGRES_DSN",
    "session sales: not here, cannot be read: stopped by recovery",
    "recovery begun: it helped. critical; 0 warnings",
]


def scramble(text: str) -> str:
    """Other words without a mark; the same for the same text."""
    return f"zork{sum(text.encode())}" if text else text


def scramble_finding(finding: Finding) -> Finding:
    return finding._replace(
        message=scramble(finding.message),
        reason=finding.reason and scramble(finding.reason),
        remedy=scramble(finding.remedy),
        advice=finding.advice and scramble(finding.advice),
        events=tuple(event._replace(message=scramble(event.message)) for event in finding.events),
    )


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    (tmp_path / ".alerts").mkdir()
    return StateDirectory(str(tmp_path / ".alerts"))


@pytest.fixture
def facts(machine: FakeMachine, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """A machine whose checks have found something of every kind, each with a sentence that invites to be cut."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    gathered = gather(machine.host(), Config(DEFAULTS, None, state.path), state)
    findings = [
        each._replace(status=status, message=text, reason=None if status == "ok" else text, advice=text)
        for each, status, text in zip(gathered.findings, cycle(STATUSES), cycle(SENTENCES))
    ]
    return gathered._replace(findings=findings)


def judge_alerts(findings: list[Finding]) -> list[Any]:
    """What would be sent over four passes in which everything gets worse and better again."""
    table: dict[str, Any] = {}
    event = Event("boot:1", "n8n", "OOM killer ended node: memory", NOW)
    sent = []
    course: list[Status] = ["warning", "critical", "unknown", "ok"]
    for number, status in enumerate(course):
        rows = [each._replace(status=status) if each.status == "critical" else each for each in findings]
        rows.append(Finding(check="oom_kills", status="critical", message=event.message, events=(event,)))
        ledger = Ledger(table, NOW + 30 * number, 600)
        notices = ledger.judge(rows, {each.check for each in rows})
        sent.append([(each.severity, each.check, each.object, each.suppressed_count, each.is_end) for each in notices])
        table = ledger.to_state()
    return [sent, sorted(table["incidents"]), sorted(table["types"]), table["told_events"]]


def test_what_is_sent_and_what_lasts(facts: Facts) -> None:
    decided = judge_alerts(facts.findings)
    assert any(notices for notices in decided[0])
    assert judge_alerts([scramble_finding(each) for each in facts.findings]) == decided


def test_the_rows_of_the_report(facts: Facts) -> None:
    def list_rows(facts: Facts) -> list[Any]:
        report = compose(facts)
        rows = [("attention", row.label, row.status) for row in report.attention]
        rows += [(section.title, row.label, row.status) for section in report.sections for row in section.rows]
        return [report.status, [trend.now for trend in report.trends], rows]

    absent = [each._replace(status="skipped", reason=SENTENCES[1]) for each in facts.findings]
    for findings in (facts.findings, absent):
        scrambled = facts._replace(findings=[scramble_finding(each) for each in findings])
        assert list_rows(scrambled) == list_rows(facts._replace(findings=findings))


def test_the_screen_and_the_object_for_programs(facts: Facts) -> None:
    def list_rows(findings: list[Finding]) -> list[Any]:
        document = json.loads(format_json("vm", NOW, 0.1, findings))
        keys = ("check", "object", "status", "value", "unit")
        table = format_table("vm", NOW, 0.1, findings, False).partition("\n\n")[2]
        return [worst_status(findings), [[row[key] for key in keys] for row in document["checks"]], table.count("\n")]

    assert list_rows([scramble_finding(each) for each in facts.findings]) == list_rows(facts.findings)


def test_what_is_remembered_and_measured(facts: Facts, machine: FakeMachine, state: StateDirectory) -> None:
    attempts = [attempt(check, machine.host(), DEFAULTS, None) for check in load_checks("kernel")]

    def decide(findings: list[Finding]) -> list[Any]:
        memories = Memories(machine.host(), {}, with_alerts=True)
        memories.note_stage("kernel", NOW, worst_status(findings), findings)
        worst = memories.to_state()["last_pass"]["kernel"]["worst"]
        context = PassContext(machine.host(), Config(DEFAULTS, None, state.path), state)
        return [
            [(each["check"], each["object"], each["status"]) for each in worst],
            take_samples(Look(NOW, attempts, findings)),
            expose(context, Look(NOW, [], findings), with_own=False),
            [(each.check, each.status) for each in name_containers(findings, {"0123456789ab": "n8n"})],
            [(each.check, each.status) for each in excuse_stopped(findings, {"n8n"})],
        ]

    assert decide([scramble_finding(each) for each in facts.findings]) == decide(facts.findings)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.rpartition(".")[2])
@pytest.mark.parametrize("kind", [NotApplicable, ReadError, OSError])
def test_why_there_is_no_reading(check: Check, kind: type[Exception]) -> None:
    def judge(text: str) -> list[Any]:
        outcome = judge_attempt(Attempt(check, None, kind(text)), DEFAULTS, None)
        return [outcome.memory, [row._replace(message="", reason="") for row in outcome.findings]]

    for text in SENTENCES:
        assert judge(scramble(text)) == judge(text)


READINGS: dict[str, tuple[Any, Callable[[str], Any], Previous | None]] = {
    "WAHA in trouble": (
        waha,
        lambda text: waha.Reading(NOW, None, waha.Trouble("broken", text), None, False),
        Previous({"trouble_since": NOW - 5000, "sessions": {}}, 30.0),
    ),
    "Docker in trouble": (
        container_state,
        lambda text: container_state.Reading([], NOW, text),
        Previous({"names": {"0123456789ab": "n8n"}, "trouble_since": NOW - 500}, 30.0),
    ),
    "n8n's queue": (
        n8n,
        lambda text: n8n.Reading(n8n.Missing("unknown", text), n8n.Missing("skipped", text), False, False),
        None,
    ),
    "n8n's health": (
        n8n,
        lambda text: n8n.Reading(Queue(True, 3, 0, "7", None), n8n.Missing("unknown", text), True, False),
        Previous({"waiting": 3, "oldest": "7", "stuck_seconds": 900.0}, 30.0),
    ),
}


@pytest.mark.parametrize("name", READINGS)
def test_what_others_say_in_a_reading(name: str) -> None:
    check, make, previous = READINGS[name]

    def judge(text: str) -> list[Any]:
        reading = make(text)
        rows = check.judge(reading, DEFAULTS, previous)
        decisions = [(row.check, row.object, row.status, row.value, row.is_clear) for row in rows]
        return [decisions, check.remember(reading, previous)]

    for text in SENTENCES:
        assert judge(scramble(text)) == judge(text)
