"""`vpsmon status` and `vpsmon selftest`: what was found and from where, what is missing, and never a secret."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.kit import telegram as bot_api
from tests.kit.command import ConfigValue, Workdir, run_command, vpsmon_path
from tests.kit.compose import POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY, compose_stack
from tests.kit.docker import DockerEngine
from tests.kit.telegram import FakeTelegram
from vpsmon.core.findings import Finding
from vpsmon.passes.check_memory import Memories
from vpsmon.system.host import Host

NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def keys_of(telegram: FakeTelegram) -> dict[str, ConfigValue]:
    return {
        "TELEGRAM_BOT_TOKEN": telegram.token,
        "TELEGRAM_CHAT_ID": str(telegram.chat_id),
        "TELEGRAM_API_BASE": telegram.url,
    }


def verdicts(output: str) -> dict[str, str]:
    return {line[6:].split("  ")[0].strip(): line[:4].strip() for line in output.splitlines()}


def test_both_say_what_was_found_and_from_where_without_a_secret(workdir: Workdir, engine: DockerEngine) -> None:
    with compose_stack(engine) as stack:
        stack.waha.add("default")
        selftest = workdir.run("selftest", env={"DOCKER_HOST": engine.url})
        status = workdir.run("status", env={"DOCKER_HOST": engine.url})
    assert selftest.returncode == 0, selftest.stdout
    for output in (selftest.stdout, status.stdout):
        assert re.search(r"PostgreSQL +\S+:5432 \(.*crm-postgres-1\), user owner, database n8n", output)
        assert re.search(r"Redis +\S+:6379 \(.*crm-redis-1\)", output)
        assert re.search(r"n8n +http://\S+:5678 \(.*crm-n8n-1\), queue mode, database postgresdb", output)
        assert re.search(r"WAHA +http://\S+:3000 \(.*crm-waha-1\), key from WAHA_API_KEY of its container", output)
        assert not any(secret in output for secret in (POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY))


def test_selftest_calls_the_bot_and_sends_only_when_asked(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(**keys_of(telegram))
    done = workdir.run("selftest", env=NO_DOCKER)
    assert done.returncode == 0, done.stdout
    assert verdicts(done.stdout)["Telegram"] == "OK"
    assert verdicts(done.stdout)["Docker"] == "SKIP"
    assert telegram.messages == []
    assert "sent; see the chat" in workdir.run("selftest", "--send", env=NO_DOCKER).stdout
    assert "self-test: messages arrive" in telegram.messages[0].text


def on_a_terminal(workdir: Workdir, command: str, columns: int) -> list[str]:
    """The lines that a command shows on a terminal of that width."""
    # Where pytest has set the variables, they would win over the terminal.
    shown = f"unset COLUMNS LINES; stty cols {columns}; {shlex.quote(str(vpsmon_path()))} {command}"
    environment = {**NO_DOCKER, "NO_COLOR": "1"}
    return run_command(["script", "-qec", shown, "/dev/null"], env=environment, cwd=workdir.path).stdout.splitlines()


@pytest.mark.parametrize("command", ["status", "selftest"])
@pytest.mark.parametrize("columns", [60, 80])
def test_a_terminal_shows_no_line_beyond_its_edge_and_no_text_in_the_column_of_titles(
    workdir: Workdir, command: str, columns: int
) -> None:
    lines = on_a_terminal(workdir, command, columns)
    assert len(lines) > 10
    below = [line for line in lines if line.startswith("       ")]
    assert below and len({len(line) - len(line.lstrip()) for line in below}) == 1
    # A path is never broken; the one of a test may be longer than a line.
    assert all(len(line) <= columns for line in lines if str(workdir.path) not in line), lines


def test_selftest_fails_and_says_how_to_mend_it(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(**keys_of(telegram), REDIS_URL="redis://127.0.0.1:1/0")
    telegram.always = bot_api.refusal(401, "Unauthorized")
    (workdir.path / ".alerts").write_text("in the way")
    done = workdir.run("selftest", "--send", env=NO_DOCKER)
    found = verdicts(done.stdout)
    assert done.returncode == 1
    for name in ("state directory", "Redis", "Telegram", "Telegram message"):
        assert found[name] == "FAIL", done.stdout
    assert "ask @BotFather for the token" in done.stdout
    assert telegram.token not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_selftest_names_the_new_id_of_a_group_that_has_become_another(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(**keys_of(telegram))
    telegram.migrate(telegram.chat_id, -1001234567890)
    done = workdir.run("selftest", "--send", env=NO_DOCKER)
    assert verdicts(done.stdout)["Telegram message"] == "FAIL"
    assert "set TELEGRAM_CHAT_ID to -1001234567890" in done.stdout
    assert "Traceback" not in done.stderr


def test_status_tells_the_last_pass_the_incidents_and_the_outbox(workdir: Workdir, telegram: FakeTelegram) -> None:
    limits: dict[str, ConfigValue] = {"MEMORY_CRITICAL_MB": 100_000_000, "DISK_CRITICAL_PCT": 0, "DISK_WARNING_PCT": 0}
    workdir.write_config(**keys_of(telegram), **limits)
    before = workdir.run("status", env=NO_DOCKER).stdout
    assert "none yet" in before
    telegram.stop()
    workdir.run("monitor", "--once", env=NO_DOCKER)
    output = workdir.run("status", env=NO_DOCKER).stdout
    assert re.search(r"last pass +\d{4}-\S+ \S+ \S+ \(\d+ s ago\): kernel critical, stack \w+", output)
    assert re.search(r"\n +critical memory_available: \S+", output)
    assert re.search(r"\n +critical disk_usage /: \S+", output)
    assert re.search(r"incidents .*critical memory_available since ", output)
    assert re.search(r"incidents .*critical disk_usage / since ", output)
    assert output.count("no Docker engine") == 1
    assert re.search(r"Redis +not found; set REDIS_URL", output)
    assert re.search(r"outbox +1 message waiting", output)


def test_status_tells_a_permanent_refusal(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(**keys_of(telegram), MEMORY_CRITICAL_MB=100_000_000)
    telegram.always = bot_api.blocked()
    workdir.run("monitor", "--once", env=NO_DOCKER)
    assert "bot was blocked by the user" in workdir.run("status", env=NO_DOCKER).stdout


def test_the_worst_findings_are_few_and_harmless(workdir: Workdir) -> None:
    """A container may be called anything, and a state file may come from a version that noted nothing."""
    token = "123456789:" + "A" * 35
    calm = [Finding(check=f"calm_{number}", status="ok", message="well", unit="-") for number in range(3)]
    uneasy = [
        Finding(
            check="container_state", status="warning", message=f"{token}\n{'x' * 900}", object="a\x1b[2J\nb", unit="-"
        )
    ] * 9
    memories = Memories(Host(), {}, with_alerts=True)
    memories.note_stage("kernel", 1.0, "warning", calm + uneasy)
    memories.note_stage(
        "stack", 1.0, "critical", [*calm, Finding(check="waha_session", status="critical", message="down", unit="-")]
    )
    state = memories.to_state()
    assert token not in json.dumps(state) and len(json.dumps(state)) < 2000
    state["last_pass"]["old"] = {"wall_seconds": 1.0, "status": "ok"}
    (workdir.path / ".alerts").mkdir(mode=0o700)
    (workdir.path / ".alerts" / "pass_state.json").write_text(json.dumps({"schema": 1, **state}))
    output = workdir.run("status", env=NO_DOCKER).stdout
    worst = [line.strip() for line in output.splitlines() if line.startswith("    ")]
    assert worst[0] == "critical waha_session: down"
    assert len(worst) == 5
    assert worst[1].startswith("warning container_state a?[2J?b: <token>?xxx") and len(worst[1]) < 220


def test_status_survives_a_state_of_another_form(workdir: Workdir) -> None:
    workdir.run("monitor", "--once", env=NO_DOCKER)
    for name in ("pass_state.json", "alert_state.json", "outbox.json"):
        (workdir.path / ".alerts" / name).write_text('{"schema": 1, "last_pass": 5, "incidents": [], "refusal": 7}')
    done = workdir.run("status", env=NO_DOCKER)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["selftest"]])
def test_who_only_asks_leaves_nothing_behind(workdir: Workdir, command: list[str]) -> None:
    before = sorted(workdir.path.rglob("*"))
    done = workdir.run(*command, env=NO_DOCKER)
    assert "made by the first pass" in done.stdout or command[0] == "status"
    assert sorted(workdir.path.rglob("*")) == before


def test_status_for_programs_says_what_the_screen_says(workdir: Workdir) -> None:
    workdir.write_config(MEMORY_CRITICAL_MB=100_000_000)
    workdir.run("monitor", "--once", env=NO_DOCKER)
    status = json.loads(workdir.run("status", "--json", env=NO_DOCKER).stdout)
    assert status["schema"] == 1
    assert status["incidents"][0]["check"] == "memory_available"
    assert status["incidents"][0]["since"].endswith("Z")
    kernel = next(stage for stage in status["last_pass"] if stage["stage"] == "kernel")
    assert kernel["status"] == "critical" and kernel["worst"][0]["check"] == "memory_available"
    assert [each["service"] for each in status["services"]] == ["Docker", "PostgreSQL", "Redis", "n8n", "WAHA"]
    assert {each["status"] for each in status["services"]} == {"skipped"}
    assert status["recovery"] == [] and status["outbox"] == {"waiting": 0, "oldest": None, "refusal": None}


def test_status_for_programs_says_why_a_part_is_not_known(workdir: Workdir) -> None:
    workdir.run("monitor", "--once", env=NO_DOCKER)
    (workdir.path / ".alerts" / "recovery_state.json").write_text("{")
    status = json.loads(workdir.run("status", "--json", env=NO_DOCKER).stdout)
    assert status["recovery"] is None
    assert "recovery_state.json is unreadable" in status["unknown"]["recovery"]
