"""`vpsmon report` as a real process: printed, kept, sent by Telegram, and what is said when that does not work."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path

import pytest

from tests.kit import telegram as bot_api
from tests.kit.command import ConfigValue, Workdir
from tests.kit.days import write_two_days
from tests.kit.multipart import read_png_size
from tests.kit.telegram import FakeTelegram
from tests.kit.telegram_html import strip_markup

NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def keys_of(telegram: FakeTelegram) -> dict[str, ConfigValue]:
    return {
        "TELEGRAM_BOT_TOKEN": telegram.token,
        "TELEGRAM_CHAT_ID": str(telegram.chat_id),
        "TELEGRAM_API_BASE": telegram.url,
    }


@pytest.fixture
def lived(workdir: Workdir) -> Workdir:
    """A folder in which vpsmon has watched for two days."""
    write_two_days(workdir.path / ".alerts", time.time())
    return workdir


def kept(workdir: Workdir, ending: str = ".txt") -> list[Path]:
    return sorted((workdir.path / ".alerts/reports").glob(f"*{ending}"))


def test_the_report_is_printed_and_kept(lived: Workdir) -> None:
    done = lived.run("report", env=NO_DOCKER)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert "watched all of the last 24 h" in done.stdout
    assert re.search(r"(?m)^ memory +[▁▂▃▄▅▆▇█]{36} .* MB .*\n yesterday [▁▂▃▄▅▆▇█]{36}", done.stdout)
    assert "2 critical, 1 warning, 2 info" in done.stdout
    assert "the day before 0 critical, 1 warning, 1 info" in done.stdout
    assert re.search(r"OOM kills +1 reported · the day before none; \d+ since the machine started", done.stdout)
    assert re.search(r"\d\d:\d\d +stop the container crm-blog-1 · it helped", done.stdout)
    (path,) = kept(lived)
    assert path.name == time.strftime("%Y-%m-%d.txt")
    assert path.read_text() == done.stdout
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)


def test_nothing_is_remembered_and_nobody_is_told(lived: Workdir) -> None:
    lived.run("monitor", "--once", env=NO_DOCKER)
    names = ("pass_state.json", "alert_state.json", "history_machine_passes.log", "alert_history.log")
    before = {name: (lived.path / ".alerts" / name).read_bytes() for name in names}
    lived.run("report", "both", env=NO_DOCKER)
    assert {name: (lived.path / ".alerts" / name).read_bytes() for name in names} == before


def test_a_machine_that_was_never_watched_says_so_instead_of_zero(workdir: Workdir) -> None:
    done = workdir.run("report", "print", env=NO_DOCKER)
    assert done.returncode == 0
    assert "nothing watched in the last 24 h" in done.stdout
    assert "none, but nothing was watched" in done.stdout
    assert re.search(r"(?m)^ memory +·{36} +\d+ MB +- +-$", done.stdout)
    for name in ("PostgreSQL", "Redis", "workflows", "executions", "n8n queue", "WhatsApp", "leads"):
        assert name in done.stdout
    assert not re.search(r"(leads|workflows|executions) +0", done.stdout)


def test_damaged_history_and_logs_are_read_as_far_as_they_are_whole(lived: Workdir) -> None:
    state = lived.path / ".alerts"
    for name in ("history_machine_passes.log", "history_machine_minutes.log", "alert_history.log", "recovery.log"):
        content = (state / name).read_bytes()
        (state / name).write_bytes(content[: len(content) // 2] + b"\xff\x00[[[\n" + content[len(content) // 2 : -9])
    (state / "recovery_state.json").write_text("{")
    (state / "alert_state.json").write_text('{"schema": 1, "incidents": 7}')
    done = lived.run("report", env=NO_DOCKER)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "recovery_state.json is unreadable" in " ".join(done.stdout.split())
    assert (state / "recovery_state.json").read_text() == "{", "it is left for recovery to find"
    assert "watched" in done.stdout


def test_a_log_that_may_not_be_read_says_so_instead_of_none(lived: Workdir) -> None:
    (lived.path / ".alerts/alert_history.log").unlink()
    (lived.path / ".alerts/alert_history.log").mkdir()
    done = lived.run("report", env=NO_DOCKER)
    assert re.search(r"\? alerts +cannot be read", done.stdout), done.stdout
    assert re.search(r"\? OOM kills +cannot be read", done.stdout)
    assert done.returncode == 0


def test_a_report_that_cannot_be_kept_is_printed_and_fails(workdir: Workdir) -> None:
    (workdir.path / ".alerts").write_text("in the way")
    done = workdir.run("report", env=NO_DOCKER)
    assert done.returncode == 1
    assert "LAST 24 HOURS" in done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the report is not kept" in done.stderr


def test_old_reports_are_dropped_and_others_stay(lived: Workdir) -> None:
    folder = lived.path / ".alerts/reports"
    folder.mkdir()
    for day in range(420):
        (folder / time.strftime("%Y-%m-%d.txt", time.gmtime(86_400 * day))).touch()
    (folder / "notes").touch()
    lived.run("report", env=NO_DOCKER)
    assert len(kept(lived)) == 400
    assert (folder / "notes").exists()


# --- Telegram ---------------------------------------------------------------------------------------------------------


def test_one_message_arrives_that_fits_a_phone(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram))
    done = lived.run("report", "telegram", env=NO_DOCKER)
    assert (done.returncode, done.stdout) == (0, "Telegram: sent\n")
    (message,) = telegram.messages
    assert bot_api.utf16_units(message.request.parameters["text"]) <= 4096
    bars = re.findall(r"<code>([▁▂▃▄▅▆▇█·]+)</code>", message.request.parameters["text"])
    assert [len(drawn) for drawn in bars] == [24, 24, 24]
    assert message.text.count("day before ") == 3
    assert "OOM kills 1 reported" in message.text
    assert len(kept(lived)) == 1


def test_hostile_names_break_neither_markup_nor_layout(lived: Workdir, telegram: FakeTelegram) -> None:
    log = lived.path / ".alerts/alert_history.log"
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    log.write_text(f"{when} CRITICAL oom_kills[<b>&\x1b[31m] {'x<' * 900}\n" * 40)
    lived.write_config(**keys_of(telegram))
    assert lived.run("report", "telegram", env=NO_DOCKER).returncode == 0
    (message,) = telegram.messages
    assert message.request.parameters["parse_mode"] == "HTML"
    assert strip_markup(message.request.parameters["text"])
    assert "oom_kills[<b>&" in message.text
    done = lived.run("report", env=NO_DOCKER)
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_without_network_it_waits_in_the_outbox_and_a_pass_sends_it(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram), DISK_WARNING_PCT=100, DISK_CRITICAL_PCT=100)
    telegram.stop()
    done = lived.run("report", "both", "--chart", env=NO_DOCKER)
    assert done.returncode == 0
    assert "Telegram: it waits in the outbox" in done.stdout
    telegram.start()
    lived.run("monitor", "--once", env=NO_DOCKER)
    text, photo = telegram.messages
    assert "daily report" in text.text
    assert read_png_size(photo.photo) is not None


def test_a_refusal_is_one_line_without_the_token_and_fails(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram))
    telegram.always = bot_api.blocked()
    done = lived.run("report", "telegram", env=NO_DOCKER)
    assert done.returncode == 1
    assert "bot was blocked by the user" in done.stderr
    assert str(kept(lived)[0]) in done.stderr
    assert telegram.token not in done.stdout + done.stderr


def test_markup_that_is_refused_goes_without(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram))
    telegram.script(bot_api.refusal(400, "Bad Request: can't parse entities: Unsupported start tag"))
    assert lived.run("report", "telegram", env=NO_DOCKER).returncode == 0
    (message,) = telegram.messages
    assert "parse_mode" not in message.request.parameters
    assert "<" not in message.text


def test_two_reports_of_a_day_are_two_messages_and_one_file(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram))
    for _ in range(2):
        lived.run("report", "telegram", env=NO_DOCKER)
    identities = {message.text.rpartition("id ")[2] for message in telegram.messages}
    assert (len(telegram.messages), len(identities), len(kept(lived))) == (2, 2, 1)


# --- what is set up and what is not -----------------------------------------------------------------------------------


def test_both_leaves_out_what_is_not_set_up(lived: Workdir, telegram: FakeTelegram) -> None:
    nothing = lived.run("report", "both", env=NO_DOCKER)
    assert nothing.returncode == 0
    assert nothing.stdout.count("left out") == 2
    lived.write_config(**keys_of(telegram))
    done = lived.run("report", "both", env=NO_DOCKER)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "Telegram: sent"
    assert "e-mail: left out" in done.stdout


@pytest.mark.parametrize(("where", "keys"), [("telegram", "TELEGRAM_BOT_TOKEN"), ("email", "EMAIL_TO and SMTP_URL")])
def test_what_is_asked_for_by_name_has_to_be_set_up(lived: Workdir, where: str, keys: str) -> None:
    done = lived.run("report", where, env=NO_DOCKER)
    assert done.returncode == 1
    assert keys in done.stderr
    assert len(kept(lived)) == 1


def test_an_unknown_way_is_wrong_usage(workdir: Workdir) -> None:
    assert workdir.run("report", "fax", env=NO_DOCKER).returncode == 2


# --- the chart --------------------------------------------------------------------------------------------------------


def test_the_chart_is_a_picture_that_follows_the_text(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram), TELEGRAM_THREAD_ID="7")
    telegram.threads.add(7)
    done = lived.run("report", "telegram", "--chart", env=NO_DOCKER)
    assert done.returncode == 0, done.stderr
    text, photo = telegram.messages
    assert (text.photo, photo.text, photo.thread_id) == (b"", "", 7)
    width, height = read_png_size(photo.photo) or (0, 0)
    assert width >= 800
    assert height >= 600
    assert kept(lived, ".png")[0].read_bytes() == photo.photo


def test_a_picture_that_failed_once_is_sent_alone_later(lived: Workdir, telegram: FakeTelegram) -> None:
    lived.write_config(**keys_of(telegram), DISK_WARNING_PCT=100, DISK_CRITICAL_PCT=100)
    telegram.script(bot_api.Answer(), bot_api.bad_gateway())
    lived.run("report", "telegram", "--chart", env=NO_DOCKER)
    lived.run("monitor", "--once", env=NO_DOCKER)
    assert [bool(message.photo) for message in telegram.messages] == [False, True]


def test_without_matplotlib_one_line_says_how_to_get_it(lived: Workdir, tmp_path: Path) -> None:
    package = tmp_path / "hidden/matplotlib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'matplotlib'\", name='matplotlib')"
    )
    done = lived.run("report", "--chart", env={**NO_DOCKER, "PYTHONPATH": str(package.parent)})
    assert done.returncode == 0
    assert "LAST 24 HOURS" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "pip install 'vpsmon[chart]'" in done.stderr
    assert kept(lived, ".png") == []
