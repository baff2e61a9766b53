"""Names that others choose reach Telegram, terminal, log, Prometheus, SQL and command lines, and stay names."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.hostile import TEXTS
from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir
from tests.kit.engine import FakeEngine, PretendContainer
from tests.kit.stack import postgres_server
from tests.kit.telegram import FakeTelegram
from tests.kit.telegram_html import strip_markup
from vpsmon.alerts.incidents import Notice, format_history
from vpsmon.alerts.line import LONGEST_MESSAGE, join_lines
from vpsmon.alerts.message import render_alert
from vpsmon.core.findings import Finding, MetricSample
from vpsmon.core.prometheus_text import format_metrics
from vpsmon.core.text import clean
from vpsmon.jobs.tables import format_table
from vpsmon.stack.n8n.server import _quote

# Everything that an escape of a terminal or a line of a log begins with.
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "</b><a href='http://x'>&lt;",
    "\x1b[2J\x1b]0;owned\x07",
    "line\n2026-01-01T00:00:00Z CRITICAL forged",
    "\r<3>forged",
    'quote"} 1\nforged{a="',
    "back\\slash",
    "'; DROP TABLE x; --",
    "$(touch /tmp/owned)`id`",
    "--help",
    "\u202egnp.exe",
    "x" * 5000,
    "🐘" * 300,
)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6), TEXTS)
def test_no_text_breaks_out_of_a_telegram_message(texts: list[tuple[str, str, str]], host_name: str) -> None:
    notices = [Notice("critical", "container_state", name, words, advice, 5.0) for name, words, advice in texts]
    for part in render_alert(host_name, 5.0, "0badcafe", notices):
        html = join_lines(part, as_html=True)
        shown = strip_markup(html)  # refuses what Telegram refuses
        assert len(html.encode("utf-16-le", "surrogatepass")) // 2 <= LONGEST_MESSAGE
        assert set(re.findall(r"</?[a-z]+", html)) <= {"<b", "</b", "<i", "</i"}
        assert not CONTROLS.search(shown)


@given(TEXTS, TEXTS)
def test_no_text_breaks_out_of_a_line(name: str, words: str) -> None:
    line = clean(format_history(Notice("critical", "container_state", name, words, None, 5.0)), 2000)
    assert not CONTROLS.search(line)
    assert "\n" not in line
    table = format_table(
        "vm",
        5.0,
        0.1,
        [Finding(check="a", status="ok", message=clean(words), object=clean(name), value=1.0, unit="count")],
        False,
    )
    assert not CONTROLS.search(table)
    assert len(table.splitlines()) == 4


LABEL = r'"(?:[^"\\\n]|\\["\\n])*"'
SERIES = re.compile(rf"[a-z_]+(?:\{{[a-z_]+={LABEL}(?:,[a-z_]+={LABEL})*\}})? \S+")


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_no_label_breaks_out_of_the_metrics(names: list[str]) -> None:
    samples = [MetricSample("container_memory_bytes", 1.0, (("container", name),)) for name in names]
    text = format_metrics({"container_memory_bytes": "Memory of a container."}, samples)
    lines = text.encode("utf-8").decode("utf-8").rstrip("\n").split("\n")
    assert lines[:2] == [
        "# HELP container_memory_bytes Memory of a container.",
        "# TYPE container_memory_bytes gauge",
    ]
    assert all(SERIES.fullmatch(line) for line in lines[2:]), lines
    assert "\r" not in text


def test_no_identifier_breaks_out_of_sql() -> None:
    """PostgreSQL itself reads the quoted name back, whatever is in it."""
    import psycopg2

    with postgres_server() as server, psycopg2.connect(server.dsn()) as connection:
        cursor = connection.cursor()
        for name in HOSTILE:
            short = name.replace("\0", "").encode()[:60].decode("utf-8", "ignore")
            cursor.execute(f"SELECT 1 AS {_quote(short)}")
            assert cursor.description is not None
            assert cursor.description[0].name == short


def test_hostile_containers_reach_every_output_as_names(
    workdir: Workdir, telegram: FakeTelegram, figures: Counter[str]
) -> None:
    """The whole way, through the real commands. Docker allows no such names; labels and sessions have no limit."""
    bench = Installation(workdir, telegram)
    containers = [
        PretendContainer(f"{number:064x}", name, labels={"com.docker.compose.service": name})
        for number, name in enumerate(HOSTILE)
    ]
    with FakeEngine(*containers) as engine:
        bench.have_a_new_alert()
        bench.workdir.run(*ONCE, env={"DOCKER_HOST": engine.host})
        for each in containers:
            each.stop()  # what has ended before the first look is no alert
        outputs = []
        for words in (ONCE, ["recover"], ["recover", "--dry-run"], ["status"], ["export", "--stdout"], ["report"]):
            done = bench.workdir.run(*words, env={"DOCKER_HOST": engine.host})
            assert "Traceback" not in done.stderr
            outputs += [done.stdout, done.stderr]
        as_json = bench.workdir.run(*ONCE, "--json", env={"DOCKER_HOST": engine.host}).stdout
    assert len(as_json.splitlines()) == 1
    rows = [row for row in json.loads(as_json)["checks"] if row["check"] == "container_state"]
    assert len(rows) == len(HOSTILE)
    for text in [*outputs, (bench.state / "alert_history.log").read_text()]:
        assert not CONTROLS.search(text.replace("\t", " ")), text
        assert not re.search(r"(?m)^(2026-01-01T00:00:00Z CRITICAL )?forged", text)
    sent = "\n".join(message.text for message in telegram.messages)
    assert "</b><a href='http://x'>&lt;" in sent
    assert all(message.request.parameters["parse_mode"] == "HTML" for message in telegram.messages)
    assert subprocess.run(["ls", "/tmp/owned"], capture_output=True, check=False).returncode != 0
    figures["hostile names through every command"] += len(HOSTILE)
