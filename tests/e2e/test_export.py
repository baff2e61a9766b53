"""`vpsmon export` as a command: its file, its exit status, and what must not harm it."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kit.command import Workdir, vpsmon_path
from tests.kit.prometheus import check
from tests.kit.telegram import FakeTelegram
from vpsmon.core.prometheus_text import parse_samples

NOWHERE = {"DOCKER_HOST": "unix:///nowhere.sock"}


def metrics_of(workdir: Workdir) -> Path:
    return workdir.path / ".alerts/metrics/metrics.prom"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_others_can_read_the_metrics_and_nothing_else(workdir: Workdir) -> None:
    workdir.write_config()
    command = f"umask 077; exec {vpsmon_path()} export"
    subprocess.run(["sh", "-c", command], cwd=workdir.path, check=True, timeout=60)
    state = workdir.path / ".alerts"
    assert (mode_of(state), mode_of(state / "metrics")) == (0o711, 0o755)
    assert mode_of(metrics_of(workdir)) == mode_of(state / "metrics/targets.json") == 0o644
    assert workdir.run("monitor", "--once").returncode == 0
    assert mode_of(state) == 0o711
    others = [path for path in state.iterdir() if path.is_file()]
    assert others
    assert {mode_of(path) for path in others} == {0o600}


def test_an_export_tells_nobody_and_hides_nothing_from_the_monitor(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        MEMORY_CRITICAL_MB=100_000_000,
    )
    assert workdir.run("export").returncode == 0
    assert telegram.messages == []
    text = metrics_of(workdir).read_text()
    assert parse_samples(text, "alerts_total") == {("critical",): 0, ("warning",): 0, ("info",): 0}
    assert parse_samples(text, "vpsmon_check_severity")["memory_available",] == 2
    assert workdir.run("monitor", "--once").returncode == 0
    assert "memory_available" in telegram.messages[0].text
    assert workdir.run("export").returncode == 0
    assert parse_samples(metrics_of(workdir).read_text(), "alerts_total")["critical",] == 1


def test_stdout_prints_the_metrics_and_leaves_the_file_alone(workdir: Workdir) -> None:
    workdir.write_config()
    done = workdir.run("export", "--stdout")
    assert (done.returncode, done.stderr) == (0, "")
    assert check("promtool", "check", "metrics", text=done.stdout) == ""
    assert parse_samples(done.stdout, "vpsmon_memory_total_bytes")
    assert not metrics_of(workdir).exists()


def test_only_one_subject_is_read_and_says_why_it_is_not_there(workdir: Workdir) -> None:
    workdir.write_config()
    done = workdir.run("export", "--only", "waha", "--stdout", env=NOWHERE)
    assert "waha_session" in done.stderr
    assert "memory_pressure_score" not in done.stdout
    assert "alerts_total" not in done.stdout
    assert "vpsmon_last_pass_timestamp_seconds" in done.stdout


def test_a_subject_that_cannot_be_read_fails_the_command(workdir: Workdir) -> None:
    workdir.write_config(POSTGRES_DSN="host=127.0.0.1 port=1 user=x password=s3cret dbname=x")
    done = workdir.run("export", "--only", "leads")
    assert done.returncode == 1
    assert "lead_count" in done.stderr
    assert "s3cret" not in done.stderr
    assert parse_samples(metrics_of(workdir).read_text(), "vpsmon_check_success") == {("lead_count",): 0}


@pytest.mark.parametrize("words", [("--only", "redis"), ("--only",), ("extra",), ("--serve",)])
def test_wrong_usage(workdir: Workdir, words: tuple[str, ...]) -> None:
    done = workdir.run("export", *words)
    assert done.returncode == 2
    assert not (workdir.path / ".alerts").exists()


@pytest.mark.parametrize(
    "preparation",
    [
        "mkdir -p .alerts && mount -t tmpfs -o ro none .alerts",
        "mkdir -p .alerts && mount -t tmpfs -o size=4k none .alerts && head -c 4096 /dev/zero > .alerts/history_x.log",
    ],
    ids=["read-only", "full disk"],
)
def test_a_state_directory_that_cannot_be_written_is_one_clear_line(workdir: Workdir, preparation: str) -> None:
    workdir.write_config()
    script = f"{preparation}; exec {vpsmon_path()} export"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=workdir.path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_full_disk_the_old_file_stays(workdir: Workdir) -> None:
    """The disk is filled between two exports; what was published before can still be scraped, whole."""
    workdir.write_config(DISK_PATHS=",".join(f"/nowhere/{number}" for number in range(400)))
    script = f"""
mkdir .alerts && mount -t tmpfs -o size=1m none .alerts && {vpsmon_path()} export || exit 9
cp .alerts/metrics/metrics.prom before
head -c 2000000 /dev/zero > .alerts/x
{vpsmon_path()} export
echo "exit status $?"
cmp before .alerts/metrics/metrics.prom && ls -A .alerts/metrics
"""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=workdir.path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["exit status 1", "metrics.prom", "targets.json"], done.stderr
    assert "No space left on device" in done.stderr


def test_exports_at_once_and_readers_in_between_see_only_whole_files(workdir: Workdir) -> None:
    workdir.write_config()
    workdir.run("export")
    path, is_over, texts = metrics_of(workdir), threading.Event(), set()

    def read() -> None:
        while not is_over.is_set():
            texts.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda _: workdir.run("export").returncode, range(8)))
    finally:
        is_over.set()
        reader.join()
    assert statuses == [0] * 8
    assert len(texts) >= 2
    for text in texts:
        assert text.startswith("# HELP ")
        assert text.endswith('vpsmon_build_info{version="0.1.0"} 1\n')
    assert sorted(os.listdir(path.parent)) == ["metrics.prom", "targets.json"]


def test_an_export_that_was_killed_leaves_nothing_behind_for_long(workdir: Workdir) -> None:
    workdir.write_config()
    workdir.run("export")
    litter = metrics_of(workdir).parent / ".metrics.prom.new"
    litter.write_text("half a fi")
    assert workdir.run("export").returncode == 0
    assert not litter.exists()


@pytest.mark.parametrize(
    ("listen", "target"),
    [
        ("127.0.0.1:19633", "127.0.0.1:19633"),
        ("10.0.0.5:9", "10.0.0.5:9"),
        ("0.0.0.0:8080", "HOST:8080"),
        ("[::]:1", "HOST:1"),
        ("[fd00::1]:443", "[fd00::1]:443"),
    ],
)
def test_the_target_file_names_where_the_endpoint_listens(workdir: Workdir, listen: str, target: str) -> None:
    workdir.write_config(METRICS_LISTEN=listen)
    assert workdir.run("export").returncode == 0
    name = os.uname().nodename.split(".")[0]
    expected = f'[{{"targets": ["{target.replace("HOST", name)}"], "labels": {{"host": "{name}"}}}}]\n'
    assert (workdir.path / ".alerts/metrics/targets.json").read_text() == expected


@pytest.mark.parametrize(
    "listen", ["19633", "127.0.0.1", "host:80", "127.0.0.1:0", "127.0.0.1:65536", "1.2.3.4:80\n[x]"]
)
def test_an_address_that_nothing_can_listen_on_is_refused(workdir: Workdir, listen: str) -> None:
    workdir.write_config(METRICS_LISTEN=listen)
    done = workdir.run("export")
    assert done.returncode == 1
    assert "METRICS_LISTEN: expected an address and a port" in done.stderr
