"""kill -9 of a report and of an export at every call, and at random moments: whole files, and what waits arrives."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.conftest import Effort
from tests.faults.installation import Installation
from tests.kit.command import Workdir, started_vpsmon
from tests.kit.mail import MailServer, mail_server
from tests.kit.strace import Call, record_calls, run_killed
from tests.kit.telegram import FakeTelegram

NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
REPORT = ["report", "both"]
EXPORT = ["export"]


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    bench = Installation(workdir, telegram)
    bench.have_a_new_alert()
    bench.finish()
    return bench


def kill_at(bench: Installation, words: Sequence[str], call: Call) -> bool:
    return run_killed(words, call, bench.path, NO_DOCKER).returncode == -signal.SIGKILL


def kill_at_random(bench: Installation, words: Sequence[str], effort: Effort) -> bool:
    """Kill it wherever it is then; return whether it had not ended before."""
    with started_vpsmon(words, NO_DOCKER, bench.path) as process:
        time.sleep(effort.chance.uniform(0.05, 0.6))
        process.kill()
        return process.wait() == -signal.SIGKILL


def list_calls(bench: Installation, words: Sequence[str]) -> list[Call]:
    calls = record_calls(words, bench.path, NO_DOCKER)
    assert {"write", "renameat", "fsync"} <= {call.name for call in calls}
    return calls


def list_ids_that_wait(bench: Installation) -> set[str]:
    """Return the ids of the reports that are written down, in the outbox or in a journal that is to be finished."""
    texts = [(bench.state / "outbox.json").read_text()]
    journal = bench.state / "commit.json"
    if journal.exists():
        texts += [json.loads(journal.read_text())["files"].get("outbox.json", "{}")]
    return {entry["id"] for text in texts for entry in json.loads(text).get("entries", [])}


def finish(bench: Installation) -> None:
    """Run a pass in peace; a mail that waits is old enough to be tried again."""
    for mail in (bench.state / "mail").glob("[!.]*"):
        os.utime(mail, (0, 0))
    bench.finish()
    bench.expect_sound_state()
    assert list((bench.state / "mail").glob("[!.]*")) == []


def expect_whole_report(folder: Path) -> None:
    """The text that is kept goes from the first section to the last; a half one would end before."""
    for path in folder.glob("[!.]*.txt"):
        text = path.read_text()
        assert text.endswith("\n")
        assert "SERVICES" in text


def count_lost(bench: Installation, waiting: set[str]) -> int:
    texts = "".join(message.text for message in bench.telegram.messages)
    return sum(identity not in texts for identity in waiting)


def expect_delivered(
    bench: Installation, server: MailServer, waiting: set[str], has_mail: bool, is_killed: bool
) -> None:
    """What was written down arrives; twice only what was in flight, by Telegram under the same id."""
    texts = [message.text for message in bench.telegram.messages if "report" in message.text.lower()]
    for identity in waiting:
        assert 1 <= sum(identity in text for text in texts) <= 1 + is_killed, texts
    assert len({text.rpartition("id ")[2] for text in texts}) <= 1, texts
    assert len(texts) <= 1 + is_killed
    assert has_mail <= len(server.mails) <= 1 + is_killed


def set_up_mail(bench: Installation, server: MailServer) -> None:
    bench.have_a_new_alert(EMAIL_TO="owner@example.org", SMTP_URL=server.url())
    bench.finish()
    bench.telegram.messages.clear()


def expect_survived(
    bench: Installation, server: MailServer, is_killed: bool, was_mail_written: bool, figures: Counter[str]
) -> None:
    """See what the report has left, run a pass in peace, and forget what has arrived."""
    expect_whole_report(bench.state / "reports")
    waiting = list_ids_that_wait(bench)
    has_mail = was_mail_written or any((bench.state / "mail").glob("[!.]*"))
    finish(bench)
    figures["reports lost by kills"] += count_lost(bench, waiting) + (has_mail and not server.mails)
    expect_delivered(bench, server, waiting, has_mail, is_killed)
    figures["kills of a report survived"] += is_killed
    bench.telegram.messages.clear()
    server.mails.clear()


def test_a_report_that_is_killed_at_any_call_is_whole_and_arrives_once_it_was_written_down(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    with mail_server() as server:
        set_up_mail(bench, server)
        # From here on the mail has been on disk; only what delivers it may take it out again.
        written = record_calls(REPORT, bench.path, NO_DOCKER, "renameat", "/mail>")[0]
        calls = list_calls(bench, REPORT)
        assert len(server.mails) == 2
        bench.telegram.messages.clear()
        server.mails.clear()
        for call in effort.some(calls, 5):
            is_killed = kill_at(bench, REPORT, call)
            expect_survived(bench, server, is_killed, calls.index(call) > calls.index(written), figures)


def test_a_report_that_is_killed_at_a_random_moment_is_whole_and_arrives_once_it_was_written_down(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    with mail_server() as server:
        set_up_mail(bench, server)
        for _ in range(effort.times(3, 100)):
            expect_survived(bench, server, kill_at_random(bench, REPORT, effort), False, figures)


def expect_whole_metrics(bench: Installation) -> None:
    """Whole files are there, also before the next export, which works."""
    metrics = bench.state / "metrics"
    text = (metrics / "metrics.prom").read_text()
    assert text.endswith("\n")
    assert "vpsmon_outbox_messages 0\n" in text
    assert json.loads((metrics / "targets.json").read_text())
    done = bench.workdir.run(*EXPORT, env=NO_DOCKER)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in metrics.iterdir()) == ["metrics.prom", "targets.json"]
    bench.expect_sound_state()


def test_an_export_that_is_killed_at_any_call_leaves_whole_metrics_and_the_next_one_works(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    assert bench.workdir.run(*EXPORT, env=NO_DOCKER).returncode == 0
    calls = list_calls(bench, EXPORT)
    for call in effort.some(calls, 5):
        figures["kills of an export survived"] += kill_at(bench, EXPORT, call)
        expect_whole_metrics(bench)


def test_an_export_that_is_killed_at_a_random_moment_leaves_whole_metrics_and_the_next_one_works(
    bench: Installation, effort: Effort, figures: Counter[str]
) -> None:
    assert bench.workdir.run(*EXPORT, env=NO_DOCKER).returncode == 0
    for _ in range(effort.times(3, 100)):
        figures["kills of an export survived"] += kill_at_random(bench, EXPORT, effort)
        expect_whole_metrics(bench)
