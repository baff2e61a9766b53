"""Alerts from the real command to a Bot API on loopback: rate limit, ends, outbox, refusals, secrets."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.kit import telegram as bot_api
from tests.kit.command import ConfigValue, Workdir, started_vpsmon
from tests.kit.host import FakeMachine
from tests.kit.stack import silent_server
from tests.kit.telegram import FakeTelegram
from vpsmon.config.load import load_config
from vpsmon.passes.context import PassContext
from vpsmon.passes.heartbeat import name_failure_url
from vpsmon.passes.stack_stage import deliver, run_rest_of_pass
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.state.directory import StateDirectory
from vpsmon.system.host import Host

QUIET: dict[str, ConfigValue] = {"DISK_WARNING_PCT": 100, "DISK_CRITICAL_PCT": 100}
# Above any machine's memory, so that the check fires; DISK_* at 0 fires on every disk.
SHORT: dict[str, ConfigValue] = {**QUIET, "MEMORY_CRITICAL_MB": 100_000_000}


def configure(workdir: Workdir, telegram: FakeTelegram, **keys: ConfigValue) -> None:
    destination: dict[str, ConfigValue] = {
        "TELEGRAM_BOT_TOKEN": telegram.token,
        "TELEGRAM_CHAT_ID": str(telegram.chat_id),
        "TELEGRAM_API_BASE": telegram.url,
    }
    workdir.write_config(**{**destination, **QUIET, **keys})


def run_pass(workdir: Workdir) -> subprocess.CompletedProcess[str]:
    done = workdir.run("monitor", "--once")
    assert "Traceback" not in done.stderr
    return done


def read_outbox(workdir: Workdir) -> list[dict[str, object]]:
    path = workdir.path / ".alerts/outbox.json"
    entries = json.loads(path.read_text())["entries"] if path.exists() else []
    assert isinstance(entries, list)
    return entries


def read_history(workdir: Workdir) -> str:
    return (workdir.path / ".alerts/alert_history.log").read_text()


def test_three_findings_are_one_message_then_silence_then_a_count(workdir: Workdir, telegram: FakeTelegram) -> None:
    limits: dict[str, ConfigValue] = {
        "MEMORY_CRITICAL_MB": 100_000_000,
        "DISK_CRITICAL_PCT": 0,
        "DISK_WARNING_PCT": 0,
        "MEMORY_PRESSURE_WARNING": 0,
    }
    configure(workdir, telegram, **limits)
    for _ in range(4):
        run_pass(workdir)
    (message,) = telegram.messages
    for name in ("memory_available", "disk_usage", "memory_pressure"):
        assert name in message.text
    assert message.text.index("CRITICAL") < message.text.index("WARNING")
    assert "largest: " in message.text
    configure(workdir, telegram, **limits, ALERT_RATE_LIMIT_SEC=1)
    time.sleep(1.1)
    run_pass(workdir)
    assert "3 more of these were suppressed" in telegram.messages[1].text
    assert len(telegram.messages) == 2


def test_a_rise_to_critical_goes_out_at_once_and_the_end_once_with_its_duration(
    workdir: Workdir, telegram: FakeTelegram
) -> None:
    configure(workdir, telegram, MEMORY_WARNING_MB=100_000_000)
    run_pass(workdir)
    configure(workdir, telegram, **SHORT)
    run_pass(workdir)
    run_pass(workdir)
    configure(workdir, telegram)
    run_pass(workdir)
    run_pass(workdir)
    warning, critical, end = (message.text for message in telegram.messages)
    assert "WARNING memory_available" in warning
    assert "CRITICAL memory_available" in critical
    assert re.search(r"RESOLVED memory_available\nresolved after \d+ s: ", end)


def test_an_hour_without_network_loses_nothing_and_keeps_order_and_time(
    workdir: Workdir, telegram: FakeTelegram, machine: FakeMachine
) -> None:
    """The passes run in this process, on a simulated machine and clock; the messages go over real HTTP."""
    configure(workdir, telegram, DISK_PATHS="")
    config = load_config(str(workdir.path / "monitor.conf"), {})
    machine.change("meminfo", "MemAvailable:", 10_000)
    telegram.stop()
    expected = []
    for number in range(121):
        if number == 120:
            telegram.start()
        host = machine.host()
        context = PassContext(host, config, StateDirectory(config.state_directory, host.wall_seconds))
        if run_kernel_stage(context).notices:
            expected.append(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(machine.wall_seconds)))
        deliver(context)
        machine.sleep(30)
    assert len(expected) == 7
    assert [re.search(r"\d{4}-\S+ \S+", message.text)[0] for message in telegram.messages] == expected  # type: ignore[index]
    assert read_outbox(workdir) == []


def test_a_stack_that_is_slow_while_another_process_sends_is_judged_and_told_all_the_same(
    workdir: Workdir, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpsmon.alerts.delivery._LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with silent_server() as port:
        configure(workdir, telegram, REDIS_URL=f"redis://127.0.0.1:{port}/0", **SHORT)
        config = load_config(str(workdir.path / "monitor.conf"), {})
        context = PassContext(Host(), config, StateDirectory(config.state_directory))
        kernel = run_kernel_stage(context)
        with context.state.delivery_lock(timeout_seconds=1):
            stack = run_rest_of_pass(context, kernel.entry_id)
    assert stack.state_error is None
    assert {each.status for each in stack.findings if each.check == "redis_memory"} == {"unknown"}
    assert "stack" in json.loads((workdir.path / ".alerts/pass_state.json").read_text())["last_pass"]
    assert [entry["id"] for entry in read_outbox(workdir)] == [kernel.entry_id]


def test_an_alert_is_on_disk_before_the_first_attempt(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT)
    telegram.script(bot_api.hang(30))
    with started_vpsmon(["monitor", "--once"], cwd=workdir.path) as process:
        deadline = time.monotonic() + 20
        while not telegram.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(read_outbox(workdir)) == 1
        process.kill()
    run_pass(workdir)
    assert len(telegram.messages) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        bot_api.server_error(),
        bot_api.bad_gateway(),
        bot_api.closed_connection(),
        bot_api.redirect("http://127.0.0.1:9/elsewhere"),
    ],
    ids=["500", "502 with HTML", "connection closed", "redirect"],
)
def test_a_passing_fault_is_tried_again_by_the_next_pass(
    workdir: Workdir, telegram: FakeTelegram, trouble: bot_api.Answer
) -> None:
    configure(workdir, telegram, **SHORT)
    telegram.script(trouble)
    done = run_pass(workdir)
    assert "1 message(s) wait in the outbox" in done.stderr
    assert done.returncode == 0
    run_pass(workdir)
    assert len(telegram.messages) == 1
    assert read_outbox(workdir) == []


def test_too_many_requests_waits_as_long_as_telegram_asks(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT)
    telegram.script(bot_api.too_many_requests(1))
    run_pass(workdir)
    first, second = telegram.requests
    assert second.received_at - first.received_at >= 1
    assert len(telegram.messages) == 1


def test_a_long_wait_is_left_to_later_passes_and_is_kept(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT)
    telegram.script(bot_api.too_many_requests(300))
    run_pass(workdir)
    run_pass(workdir)
    assert len(telegram.requests) == 1
    assert len(read_outbox(workdir)) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (bot_api.blocked(), "Forbidden: bot was blocked by the user"),
        (bot_api.refusal(401, "Unauthorized"), "TELEGRAM_BOT_TOKEN is wrong"),
        (bot_api.refusal(404, "Not Found"), "TELEGRAM_BOT_TOKEN is not a bot token"),
        (bot_api.refusal(400, "Bad Request: chat not found"), "TELEGRAM_CHAT_ID is wrong"),
        (
            bot_api.refusal(400, "Bad Request: not enough rights to send text messages to the chat"),
            "let the bot send messages",
        ),
        (
            bot_api.refusal(400, "Bad Request: need administrator rights in the channel chat"),
            "make the bot an administrator of the channel",
        ),
        (bot_api.refusal(403, "Forbidden: bot was kicked from the supergroup chat"), "add the bot to the chat again"),
    ],
    ids=["403", "401", "404", "chat", "rights", "channel", "kicked"],
)
def test_a_permanent_refusal_is_said_once_and_the_alert_stays_in_the_history(
    workdir: Workdir, telegram: FakeTelegram, answer: bot_api.Answer, words: str
) -> None:
    configure(workdir, telegram, **SHORT, ALERT_RATE_LIMIT_SEC=0)
    telegram.always = answer
    assert words in run_pass(workdir).stderr
    assert words not in run_pass(workdir).stderr
    assert read_outbox(workdir) == []
    assert read_history(workdir).count("CRITICAL memory_available") == 2
    telegram.always = None
    run_pass(workdir)
    assert len(telegram.messages) == 1


def test_markup_that_telegram_rejects_is_sent_again_as_plain_text(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT)
    telegram.script(bot_api.refusal(400, "Bad Request: can't parse entities: Unexpected end tag at byte offset 5"))
    run_pass(workdir)
    (message,) = telegram.messages
    assert "parse_mode" not in message.request.parameters
    assert "memory_available" in message.text
    assert "<b>" not in message.text


def test_a_group_that_became_a_supergroup_is_followed_and_remembered(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT, ALERT_RATE_LIMIT_SEC=0)
    telegram.migrate(telegram.chat_id, -1009999)
    assert "set TELEGRAM_CHAT_ID to -1009999" in run_pass(workdir).stderr
    run_pass(workdir)
    assert [message.chat_id for message in telegram.messages] == [-1009999, -1009999]
    assert len(telegram.requests) == 3


def test_a_topic_of_a_group_gets_the_message(workdir: Workdir, telegram: FakeTelegram) -> None:
    telegram.threads.add(42)
    configure(workdir, telegram, **SHORT, TELEGRAM_THREAD_ID="42")
    run_pass(workdir)
    assert telegram.messages[0].thread_id == 42


def test_the_general_topic_is_the_group_itself(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT, TELEGRAM_THREAD_ID="1")
    run_pass(workdir)
    assert [message.thread_id for message in telegram.messages] == [None]
    assert len(telegram.requests) == 1


def test_a_topic_that_refuses_costs_no_alert_and_is_said_once(workdir: Workdir, telegram: FakeTelegram) -> None:
    telegram.threads.add(42)
    telegram.closed_threads.add(42)
    configure(workdir, telegram, **SHORT, TELEGRAM_THREAD_ID="42", ALERT_RATE_LIMIT_SEC=0)
    assert "open the topic again; meanwhile alerts go to the group" in run_pass(workdir).stderr
    assert "topic" not in run_pass(workdir).stderr
    telegram.closed_threads.clear()
    run_pass(workdir)
    assert [message.thread_id for message in telegram.messages] == [None, None, 42]
    telegram.threads.clear()
    assert "set TELEGRAM_THREAD_ID to an open topic" in run_pass(workdir).stderr
    assert telegram.messages[-1].thread_id is None
    assert not read_outbox(workdir)


def test_hostile_names_arrive_as_text(workdir: Workdir, telegram: FakeTelegram) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short_path:
        folder = Path(short_path, "</b><a href='x'>&amp;\n\x1b[2J")
        folder.mkdir(parents=True)
        configure(workdir, telegram, DISK_PATHS=str(folder), DISK_CRITICAL_PCT=0, DISK_WARNING_PCT=0)
        done = run_pass(workdir)
    (message,) = telegram.messages
    assert message.request.parameters["parse_mode"] == "HTML"
    assert "</b><a href='x'>&amp;??[2J" in message.text
    assert "\x1b" not in done.stdout


def test_a_message_that_is_too_long_arrives_in_parts(workdir: Workdir, telegram: FakeTelegram) -> None:
    # A short path: the name of an object is cut where it is long.
    with tempfile.TemporaryDirectory(dir="/tmp") as short_path:
        paths = [Path(short_path, f"disk-{number:02d}-{'é&' * 40}") for number in range(60)]
        for path in paths:
            path.mkdir()
        configure(workdir, telegram, DISK_PATHS=",".join(map(str, paths)), DISK_CRITICAL_PCT=0, DISK_WARNING_PCT=0)
        run_pass(workdir)
    assert len(telegram.messages) > 1
    text = "\n".join(message.text for message in telegram.messages)
    assert all(f"disk-{number:02d}" in text for number in range(60))
    assert text.count("CRITICAL disk_usage") == 60


def test_without_a_token_alerts_go_to_log_and_history_and_the_setup_is_explained_once(workdir: Workdir) -> None:
    workdir.write_config(**SHORT)
    done = run_pass(workdir)
    assert done.stderr.count("TELEGRAM_BOT_TOKEN") == 1
    assert "vpsmon: critical: memory_available: " in done.stderr
    assert "CRITICAL memory_available" in read_history(workdir)
    assert not (workdir.path / ".alerts/outbox.json").exists()


def test_the_heartbeat_is_sent_after_each_good_pass_only(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, HEARTBEAT_URL=f"{telegram.url}/ping/abc")
    done = run_pass(workdir)
    assert [(request.verb, request.path) for request in telegram.requests] == [("GET", "/ping/abc")]
    assert "HEARTBEAT_URL answered with HTTP status 404" in done.stderr
    (workdir.path / ".alerts").rename(workdir.path / "away")
    (workdir.path / ".alerts").write_text("in the way")
    assert workdir.run("monitor", "--once").returncode == 1
    assert len(telegram.requests) == 1


@pytest.mark.parametrize("body", [b"OK (not found)", b"OK (rate limited)", b'{"ok":false,"msg":"Monitor not found."}'])
def test_a_heartbeat_that_is_refused_with_status_200_is_said(
    workdir: Workdir, telegram: FakeTelegram, body: bytes
) -> None:
    configure(workdir, telegram, HEARTBEAT_URL=f"{telegram.url}/ping/abc")
    telegram.always = bot_api.Answer(200, body)
    assert f"HEARTBEAT_URL is refused: {body.decode()}" in run_pass(workdir).stderr
    assert "FAIL  heartbeat" in workdir.run("selftest").stdout
    telegram.always = bot_api.Answer(200, b'{"ok":true}')
    assert "HEARTBEAT_URL" not in run_pass(workdir).stderr
    assert "OK    heartbeat" in workdir.run("selftest").stdout


UUID = "5b2a1c3e-1111-4222-8333-abcdefabcdef"


def test_a_pass_whose_alerts_are_refused_is_no_good_pass(workdir: Workdir, telegram: FakeTelegram) -> None:
    """Telegram takes nothing any more, so the dead-man's switch is the only one that can notice."""
    url = f"{telegram.url}/ping/{UUID}"
    configure(workdir, telegram, HEARTBEAT_URL=url, DISK_CRITICAL_PCT=0, DISK_WARNING_PCT=0)
    token, telegram.token = telegram.token, "987654321:AAnotherTokenAltogether-0123456789abc"
    for _ in range(3):
        run_pass(workdir)
    pings = [request for request in telegram.requests if request.path.startswith("/ping")]
    assert {(ping.verb, ping.path) for ping in pings} == {("POST", f"/ping/{UUID}/fail")}
    assert b"TELEGRAM_BOT_TOKEN is wrong" in pings[0].body
    assert "ALERTS DO NOT ARRIVE: Telegram refuses the message: Unauthorized" in workdir.run("status").stdout
    assert "vpsmon_telegram_success 0\n" in workdir.run("export", "--stdout").stdout
    # Telegram takes messages again, and nothing is new: it is asked.
    telegram.token = token
    run_pass(workdir)
    assert [request.path for request in telegram.requests if request.path.startswith("/ping")][-1] == f"/ping/{UUID}"
    assert "ALERTS DO NOT ARRIVE" not in workdir.run("status").stdout
    assert "vpsmon_telegram_success 1\n" in workdir.run("export", "--stdout").stdout


def test_a_service_without_a_place_for_failures_gets_nothing_after_a_bad_pass(
    workdir: Workdir, telegram: FakeTelegram
) -> None:
    configure(workdir, telegram, HEARTBEAT_URL=f"{telegram.url}/beat", DISK_CRITICAL_PCT=0, DISK_WARNING_PCT=0)
    telegram.script(bot_api.refusal(403, "Forbidden: bot was blocked by the user"))
    run_pass(workdir)
    assert not [request for request in telegram.requests if request.path.startswith("/beat")]


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        (f"https://hc-ping.com/{UUID}", f"https://hc-ping.com/{UUID}/fail"),
        ("https://hc-ping.com/key/slug", "https://hc-ping.com/key/slug/fail"),
        (f"https://hc.example.org/ping/{UUID}/?rid=1", f"https://hc.example.org/ping/{UUID}/fail"),
        ("https://status.example.org/api/push/abc?status=up", None),
        ("https://hc-ping.com.example.org/key/slug", None),
    ],
)
def test_where_a_failure_is_told(url: str, failure: str | None) -> None:
    assert name_failure_url(url) == failure


def test_the_token_is_nowhere_but_in_the_configuration(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT, ALERT_RATE_LIMIT_SEC=0)
    outputs = []
    for trouble in (bot_api.blocked(), bot_api.server_error(), bot_api.closed_connection(), None):
        if trouble:
            telegram.script(trouble)
        done = run_pass(workdir)
        outputs.append(done.stdout + done.stderr)
    telegram.stop()
    done = run_pass(workdir)
    outputs.append(done.stdout + done.stderr)
    telegram.start()
    telegram.script(bot_api.hang(30))
    with started_vpsmon(["monitor", "--interval", "1"], cwd=workdir.path) as process:
        deadline = time.monotonic() + 20
        while len(telegram.requests) < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        outputs.append(subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout)
        process.terminate()
        outputs += process.communicate(timeout=20)
    secret = telegram.token.partition(":")[2]
    assert not any(secret in output for output in outputs)
    files = [path for path in workdir.path.rglob("*") if path.is_file()]
    holders = [path for path in files if secret in path.read_text(errors="replace")]
    assert holders == [workdir.path / "monitor.conf"]


def test_a_message_reads_as_in_the_readme(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT)
    run_pass(workdir)
    (message,) = telegram.messages
    host = re.escape(os.uname().nodename.split(".")[0])
    pattern = rf"""{host} · \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \S+
🔴 CRITICAL memory_available
.* memory available, critical below .*; largest: .*
→ .*
id [0-9a-f]{{8}}"""
    assert re.fullmatch(pattern, html.unescape(message.text))


def test_two_passes_at_once_send_an_alert_once(workdir: Workdir, telegram: FakeTelegram) -> None:
    configure(workdir, telegram, **SHORT)
    telegram.script(bot_api.Answer(wait_seconds=0.5))
    with (
        started_vpsmon(["monitor", "--once"], cwd=workdir.path) as first,
        started_vpsmon(["monitor", "--once"], cwd=workdir.path) as second,
    ):
        assert (first.wait(30), second.wait(30)) == (0, 0)
    assert len(telegram.messages) == 1
    assert Path(workdir.path, ".alerts/outbox.json").exists()
