"""Every parser against anything: no exception but the documented ones, no time or memory without bound."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.conftest import Effort
from tests.faults.hostile import TEXTS, binary_near, change_each_part, json_like, lines_near, mutate, objects
from tests.kit.host import BOOT_ID, MEMINFO, PRESSURE, VMSTAT, FakeMachine
from vpsmon.alerts import incidents, line, message, outbox, telegram
from vpsmon.alerts.totals import Totals
from vpsmon.config.load import ConfigError, load_config
from vpsmon.config.settings import DEFAULTS, KINDS, Config
from vpsmon.core import prometheus_text as metrics
from vpsmon.core.findings import ReadError
from vpsmon.jobs.export import export
from vpsmon.jobs.status import look
from vpsmon.jobs.status_json import format_status
from vpsmon.jobs.status_text import format_screen
from vpsmon.net.http_reply import HttpReply
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.passes.context import PassContext
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.recovery import changes as status
from vpsmon.recovery.engine.memory import Book
from vpsmon.report.compose import compose
from vpsmon.report.facts import Unread
from vpsmon.report.gather import gather
from vpsmon.report.telegram import format_telegram
from vpsmon.report.text import format_text
from vpsmon.stack import waha, web
from vpsmon.stack.docker import cgroups, containers
from vpsmon.stack.docker import exit_causes as deaths
from vpsmon.stack.docker.addresses import find_addresses
from vpsmon.stack.n8n import api as n8n_api
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.shm_fallback import SparedState
from vpsmon.system import cgroup_mounts, kernel_log, proc
from vpsmon.system import largest_processes as consumers
from vpsmon.system.host import Host
from vpsmon.trends import samples

NOW = 1_800_000_000.0
# A whole pass for each input takes fifty times as long as a parser does.
a_third_of_the_inputs = settings(max_examples=settings().max_examples // 3)
KMSG = (
    "6,100,5000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/docker/a,"
    f"task_memcg=/docker/{'c' * 64},task=node,pid=7,uid=0",
    "3,101,5000001,-;Memory cgroup out of memory: Killed process 7 (node) total-vm:1kB, anon-rss:2kB, file-rss:3kB, "
    "shmem-rss:4kB, UID:0 pgtables:5kB oom_score_adj:0",
    "4,102,5000002,c;Out of memory: Killed process 9 (a b) total-vm:1kB, anon-rss:2kB, file-rss:3kB, shmem-rss:4kB",
)
GROUPS = "12:memory,cpu:/docker/abc\n0::/system.slice/docker-abc.scope\n"
PROC_FILES = ("meminfo", "vmstat", "pressure/memory", "sys/kernel/random/boot_id", "kmsg")
DMESG = "<3>[    5.000001] Out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:2kB, file-rss:3kB, shmem-rss:4kB"
INSPECT: dict[str, Any] = {
    "Id": "c" * 64,
    "Name": "/crm-n8n-1",
    "Created": "2026-11-23T08:00:00.123456789Z",
    "Path": "node",
    "Args": ["start"],
    "RestartCount": 2,
    "State": {"Status": "running", "Pid": 7, "ExitCode": 0, "OOMKilled": False, "StartedAt": "2026-11-23T08:00:00Z"},
    "Config": {"Image": "n8n", "Labels": {"com.docker.compose.service": "n8n"}, "Env": ["A=1"], "Cmd": ["x"]},
    "HostConfig": {"Memory": 1000, "MemorySwap": 2000, "NetworkMode": "bridge", "RestartPolicy": {"Name": "always"}},
    "NetworkSettings": {
        "Networks": {"a": {"IPAddress": "172.18.0.4"}},
        "Ports": {"5678/tcp": [{"HostIp": "", "HostPort": "1"}]},
    },
}
EVENT: dict[str, Any] = {
    "Action": "die",
    "Actor": {"ID": "c" * 64, "Attributes": {"exitCode": "137"}},
    "timeNano": 1_795_420_800_000_000_000,
}
SESSION: dict[str, Any] = {"name": "default", "status": "WORKING", "timestamps": {"activity": 1_763_874_000_123}}
WORKFLOW: dict[str, Any] = {"id": "a", "name": "b", "active": True, "activeVersionId": "c", "versionId": "d"}
ENTRY: dict[str, Any] = {
    "id": "0badcafe",
    "wall_seconds": NOW,
    "host": "vm",
    "notices": [["critical", "disk_usage", "/", "full", "make room", NOW, 0, False]],
    "parts_sent": 0,
}
ALERTS: dict[str, Any] = {
    "types": {
        "a/b/critical": {
            "check": "disk_usage",
            "object": "/",
            "suppressed": 0,
            "told": NOW - 700,
            "seen": NOW - 30,
            "held": ["x"],
            "since": NOW,
        }
    },
    "incidents": {
        "disk_usage//": {
            "check": "disk_usage",
            "object": "/",
            "since": NOW - 700,
            "is_told": True,
            "severity": "critical",
            "seen": NOW - 30,
        }
    },
    "told_events": ["a"],
}
RECOVERY: dict[str, Any] = {
    "clock": {"boot_id": BOOT_ID, "monotonic": 5.0, "wall": NOW, "seconds": 100.0},
    "actions": [50.0],
    "incidents": {
        "restart_loop/c": {
            "attempts": 1,
            "last": 50.0,
            "told": "act",
            "pending": {"until": 60.0, "did": "x", "read": "y"},
            "seen": 60.0,
            "name": "n",
            "touches": "c",
        }
    },
    "changes": [
        {
            "id": "a",
            "rule": "restart_loop",
            "action": ["stop_container", "c", "n", {}],
            "undo": ["start_container", "c", "n", {}],
            "calm_seconds": 60.0,
            "until": "calm",
            "since_seconds": 50.0,
            "since_wall_seconds": NOW,
        }
    ],
    "memories": {"container_unhealthy": {"c": [5.0, 6.0]}},
    "notices": [["info", "x", None, "m", None, NOW, 0, False]],
    "quiet_until": 0.0,
}


@pytest.fixture(autouse=True)
def counted(figures: Counter[str]) -> None:
    """Where the tests below count what they have tried."""
    global TRIED
    TRIED = figures


TRIED: Counter[str] = Counter()


def try_it(parse: Callable[..., Any], *arguments: Any, allowed: tuple[type[Exception], ...] = ()) -> Any:
    """Return what the parser returns; None where it raises what it is documented to raise."""
    TRIED["hostile inputs tried"] += 1
    try:
        return parse(*arguments)
    except allowed:
        return None


# --- what the kernel says --------------------------------------------------------------------------------------------


@given(lines_near(PRESSURE))
def test_pressure(text: str) -> None:
    found = try_it(proc.parse_pressure, text, allowed=(ReadError,))
    assert found is None or 0 <= found.some_average_percent <= 100


@given(lines_near(MEMINFO, VMSTAT, "Name:\tnode\nRssAnon:\t 5 kB\n"))
def test_counters(text: str) -> None:
    assert all(number >= 0 for number in try_it(proc.parse_counters, text).values())
    name, held_bytes = try_it(consumers.parse_status, text)
    assert name.isprintable()
    assert held_bytes >= 0


@given(st.lists(lines_near(*KMSG), max_size=4), lines_near(DMESG))
def test_the_kernel_log(kmsg: list[str], dmesg: str) -> None:
    records = [*try_it(lambda: list(kernel_log.parse_kmsg(kmsg))), *try_it(lambda: list(kernel_log.parse_dmesg(dmesg)))]
    try_it(kernel_log.find_kills, records)


@given(lines_near(GROUPS), lines_near("36 35 98:0 /a /b rw - cgroup2 cgroup2 rw\n"))
def test_cgroup_files(groups: str, mounts: str) -> None:
    try_it(cgroups.parse_groups, groups)
    try_it(cgroup_mounts.parse_mounts, mounts)


@a_third_of_the_inputs
@given(st.sampled_from(PROC_FILES), binary_near(MEMINFO, VMSTAT, PRESSURE, *KMSG))
def test_a_pass_over_a_proc_that_says_anything(name: str, content: bytes) -> None:
    """Each file costs its own rows only, and nothing but a row says so."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        machine = FakeMachine(Path(folder) / "proc")
        state = f"{folder}/.alerts"
        for _ in range(2):
            host = machine.host()
            context = PassContext(host, Config(DEFAULTS, None, state), SparedState(state, host.wall_seconds))
            result = try_it(run_kernel_stage, context)
            assert result.state_error is None
            assert not any("unexpected" in (each.reason or "") for each in result.findings), result.findings
            (machine.root / name).write_bytes(content)
            machine.sleep(30)


# --- what services say -----------------------------------------------------------------------------------------------


@given(mutate(INSPECT) | objects(tuple(INSPECT)))
def test_a_container(inspected: Any) -> None:
    found = try_it(containers.parse_container, inspected)
    find_addresses([found], found, 5678)


@given(objects(("Id", "Names", "Image", "Labels", "State")))
def test_an_entry_of_the_list_of_containers(entry: dict[str, Any]) -> None:
    try_it(containers.parse_list_entry, entry)


@given(st.lists(mutate(EVENT).map(json.dumps) | TEXTS, max_size=3))
def test_events_of_docker(lines: list[str]) -> None:
    try_it(deaths.parse_events, lines)


@given(st.lists(mutate(SESSION) | json_like(tuple(SESSION)), max_size=3) | json_like())
def test_sessions_of_waha(content: Any) -> None:
    found = try_it(waha.parse_sessions, json.dumps(content).encode(), allowed=(ReadError,))
    for session in found or []:
        waha.show_activity(session.activity_wall_seconds, NOW)


@given(binary_near('[{"name": "default", "status": "WORKING"}]', "<html>"))
def test_answers_that_are_no_json(body: bytes) -> None:
    try_it(waha.parse_sessions, body, allowed=(ReadError,))
    try_it(web.parse_json, body, allowed=(ValueError,))


@given(mutate(WORKFLOW) | json_like(tuple(WORKFLOW)))
def test_a_workflow_of_n8n(entry: Any) -> None:
    try_it(n8n_api._parse, entry, allowed=(ReadError,))


@given(
    st.sampled_from([200, 301, 400, 401, 403, 404, 429, 500, 502]),
    objects(("ok", "result", "description", "parameters", "retry_after", "migrate_to_chat_id", "error_code"))
    .map(json.dumps)
    .map(str.encode)
    | binary_near('{"ok": false}'),
)
def test_answers_of_telegram(status_code: int, body: bytes) -> None:
    documented = (telegram.Refused, telegram.TryLater, telegram.MarkupRejected, telegram.ChatMoved)
    destination = telegram.Destination("http://127.0.0.1", "1:a", "1", "")
    try_it(telegram._check_reply, HttpReply(status_code, body), destination, allowed=documented)


# --- what stands in .alerts/ -----------------------------------------------------------------------------------------


@given(st.lists(mutate(ENTRY), max_size=3) | json_like(tuple(ENTRY)), json_like())
def test_the_outbox(entries: Any, other: Any) -> None:
    """What is taken for a message can be sent, and what is not is left out."""
    content = {"entries": entries, "not_before_seconds": other, "refusal": other, "moved_chat": other}
    waiting = try_it(outbox.list_entries, json.loads(json.dumps(content)))
    for entry in waiting:
        notices = [incidents.Notice(*notice) for notice in entry["notices"]]
        for part in message.render_alert(entry["host"], entry["wall_seconds"], entry["id"], notices):
            line.join_lines(part, as_html=True).encode("utf-8", "replace")
    added = try_it(
        outbox.add_entry, content, "vm", NOW, "0badcafe", [incidents.Notice("info", "a", None, "b", None, NOW)]
    )
    json.dumps(outbox.take_out(outbox.list_entries(added), "0badcafe", 1))


def run_with_state(name: str, content: Any) -> None:
    """Run a pass on a machine that is short of memory, with this file in the state: it works, whatever stands there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        machine = FakeMachine(Path(folder) / "proc", wall_seconds=NOW)
        machine.change("meminfo", "MemAvailable:", 10_000)
        path = Path(folder) / ".alerts"
        path.mkdir(mode=0o700)
        (path / name).write_text(json.dumps({"schema": 1, **content}))
        host = machine.host()
        settings = DEFAULTS._replace(TELEGRAM_BOT_TOKEN="1:a", TELEGRAM_CHAT_ID="1")
        context = PassContext(host, Config(settings, None, str(path)), SparedState(str(path), host.wall_seconds))
        result = try_it(run_kernel_stage, context)
        assert result.state_error is None
        rows = {each.check: each for each in result.findings}
        assert rows["memory_available"].status == "critical"
        assert not any("unexpected" in (each.reason or "") for each in result.findings), result.findings


@a_third_of_the_inputs
@given(mutate(ALERTS) | objects(tuple(ALERTS)))
def test_the_state_of_alerts(content: Any) -> None:
    run_with_state("alert_state.json", content)


@a_third_of_the_inputs
@given(mutate({"entries": [ENTRY]}) | objects(("entries",)))
def test_the_outbox_in_a_pass(content: Any) -> None:
    run_with_state("outbox.json", content)


def _remembered() -> dict[str, Any]:
    """Return what the checks of a pass remember."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        machine = FakeMachine(Path(folder) / "proc", wall_seconds=NOW - 30, monotonic_seconds=9970.0)
        state = f"{folder}/.alerts"
        host = machine.host()
        run_kernel_stage(PassContext(host, Config(DEFAULTS, None, state), SparedState(state, host.wall_seconds)))
        content: dict[str, Any] = json.loads(Path(state, MEMORIES_FILE).read_text())
        return content


@a_third_of_the_inputs
@given(mutate(_remembered()) | objects(("with_alerts", "without_alerts", "last_pass", "absent_stack")))
def test_what_the_checks_remember(content: Any) -> None:
    run_with_state(MEMORIES_FILE, content)


@a_third_of_the_inputs
@given(mutate(RECOVERY) | objects(tuple(RECOVERY)))
def test_the_state_of_recovery(content: Any) -> None:
    run_with_state("recovery_state.json", content)
    book = try_it(Book, content, BOOT_ID, 10_000.0, NOW, allowed=WRONG_FORM)
    try_it(status.list_emergencies, content, allowed=WRONG_FORM)
    if book is not None:
        book.count_actions(book.at(10_000.0))
        json.dumps(book.to_content(10_000.0, NOW))


TOTALS: dict[str, Any] = {
    "alerts": {"critical": 1, "warning": 2, "info": 3},
    "oom_kills": 4,
    "actions": {"swap_thrashing/repaired": 1},
}
STATE_FILES: dict[str, dict[str, Any]] = {
    "alert_state.json": ALERTS,
    "outbox.json": {"entries": [ENTRY], "not_before_seconds": NOW, "refusal": {"reason": "x", "wall_seconds": NOW}},
    MEMORIES_FILE: _remembered(),
    "export_state.json": _remembered(),
    "recovery_state.json": RECOVERY,
    "totals.json": TOTALS,
}


@pytest.fixture
def without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine says is not what is tried here."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///dev/null/docker.sock")


@pytest.mark.usefixtures("without_docker")
@a_third_of_the_inputs
@given(st.data())
def test_a_report_an_export_and_the_status_over_any_state(data: st.DataObject) -> None:
    """What only looks finds the same files as a pass does, and ends neither for them."""
    name = data.draw(st.sampled_from(sorted(STATE_FILES)))
    look_at_all(name, data.draw(mutate(STATE_FILES[name]) | objects(tuple(STATE_FILES[name]))))


@pytest.mark.usefixtures("without_docker")
def test_a_report_an_export_and_the_status_over_a_state_with_any_part_of_another_kind(effort: Effort) -> None:
    """What is drawn above comes to a given place too seldom."""
    changed = [(name, content) for name, sound in STATE_FILES.items() for content in change_each_part(sound)]
    for name, content in effort.some(changed, 100):
        look_at_all(name, content)


def look_at_all(name: str, content: Any) -> None:
    """Report, export and show the status where this file holds this, and each other one what it should."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        machine = FakeMachine(Path(folder) / "proc", wall_seconds=NOW)
        path = Path(folder) / ".alerts"
        path.mkdir(mode=0o700)
        settings = DEFAULTS._replace(TELEGRAM_BOT_TOKEN="1:a", TELEGRAM_CHAT_ID="1")
        config = Config(settings, None, str(path))
        for look in (look_at_report, look_at_export, look_at_status):
            for each, sound in STATE_FILES.items():
                (path / each).write_text(json.dumps({"schema": 1, **(content if each == name else sound)}))
            try_it(look, machine.host(), config)


def look_at_report(host: Host, config: Config) -> None:
    state = SparedState(config.state_directory, host.wall_seconds)
    facts = gather(host, config, state)
    assert not [each for each in facts if isinstance(each, Unread) and "unexpected" in each.reason], facts
    report = compose(facts)
    assert format_text(report, with_colour=False)
    json.dumps(outbox.add_report(state.load("outbox.json"), "vm", NOW, "a", format_telegram(report, "a"), ""))


def look_at_export(host: Host, config: Config) -> None:
    context = PassContext(
        host, config, SparedState(config.state_directory, host.wall_seconds), False, "export_state.json"
    )
    text, look = export(context, None, publishes=False)
    assert look.state_error is None
    assert "vpsmon_outbox_messages" in text


def look_at_status(host: Host, config: Config) -> None:
    state = SparedState(config.state_directory, host.wall_seconds)
    overview = look(host, config, state, services={})
    assert format_screen(overview)
    assert json.loads(format_status(overview))["schema"] == 1


@given(objects(("alerts", "oom_kills", "actions", "critical", "warning")))
def test_the_counters(content: Any) -> None:
    totals = try_it(Totals, content, allowed=WRONG_FORM)
    if totals is not None:
        totals.measure(["swap"])


@given(st.lists(binary_near('[1800000000,5.0,"11111111",[1,2,3],{"disk:/":5}]'), max_size=4))
def test_the_history(lines: list[bytes]) -> None:
    for sample in try_it(samples.decode, lines):
        json.dumps(sample)


@given(lines_near('alerts_total{severity="critical"} 5\nvpsmon_oom_kills_total 3\n'))
def test_metrics_that_are_read_back(text: str) -> None:
    try_it(metrics.parse_samples, text, "alerts_total")


# --- monitor.conf and the environment --------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)) | TEXTS, TEXTS), max_size=4),
    st.sampled_from(['{}="{}"\n', "{}={}\n", "{} = '''{}'''\n"]),
    binary_near("A=[1,"),
)
def test_the_configuration(pairs: list[tuple[str, str]], form: str, garbage: bytes) -> None:
    text = "".join(form.format(key, value) for key, value in pairs)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "monitor.conf"
        for content in (text.encode("utf-8", "surrogatepass"), garbage):
            path.write_bytes(content)
            try:
                TRIED["hostile inputs tried"] += 1
                load_config(str(path), {})
            except ConfigError as error:
                assert all("\n" not in line and "\x1b" not in line for line in error.lines), error.lines


@given(st.sampled_from(sorted(KINDS)), TEXTS)
def test_the_environment(key: str, value: str) -> None:
    try:
        TRIED["hostile inputs tried"] += 1
        load_config(None, {key: value})
    except ConfigError as error:
        assert all("\n" not in line and "\x1b" not in line for line in error.lines), error.lines


# --- time ------------------------------------------------------------------------------------------------------------

LONG = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "6,1,1,-;oom-kill:constraint=A," + "oom_memcg=" * (LONG // 10),
        "6,1,1,-;oom-kill:constraint=A,oom_memcg=" + ",task_memcg=,task=" * (LONG // 18),
        "6,1,1,-;Out of memory" + ": Killed process 1 (" * (LONG // 20),
        "6,1,1,-;Memory cgroup out of memory: Killed process 1 (" + ") total-vm:1kB, anon-rss:" * (LONG // 25),
        "<3>[" + " " * LONG,
    ],
    ids=["memcg", "task", "killed", "total", "spaces"],
)
def test_no_line_of_the_kernel_log_takes_long(text: str) -> None:
    """Two hundred kilobytes; a pattern that goes back over what it has read would take hours. Killed after a minute."""
    started = time.process_time()
    records = [*kernel_log.parse_kmsg([text]), *kernel_log.parse_dmesg(text)]
    kernel_log.find_kills([*records, kernel_log.Record(1, 1, text)])
    assert time.process_time() - started < 60


MANY_DIGITS = "9" * 5000


def test_numbers_of_five_thousand_digits_and_parts_of_another_type_are_passed_over() -> None:
    """Python refuses to read such a number, with a ValueError."""
    assert proc.parse_counters(f"MemFree: {MANY_DIGITS} kB\n") == {}
    assert list(kernel_log.parse_kmsg([f"6,{MANY_DIGITS},1,-;text"])) == []
    assert list(kernel_log.parse_dmesg(f"<6>[{MANY_DIGITS}.000000] text")) == []
    ports = {f"{MANY_DIGITS}/tcp": [{"HostPort": "1"}], "80/tcp": [{"HostPort": MANY_DIGITS}], "81/tcp": [None]}
    inspected = {"NetworkSettings": {"Ports": ports}, "Config": {"Env": True}, "Path": "a", "Args": 1}
    container = containers.parse_container(inspected)
    assert container.published_ports == {}
    assert container.environment == {}
    with pytest.raises(ReadError):
        proc.parse_pressure(PRESSURE.replace("1000000", MANY_DIGITS))
