"""What goes wrong around the real command: one clear line each, no traceback, and the other checks go on."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command import Workdir, run_command, run_in_namespace, vpsmon_path
from tests.kit.telegram import FakeTelegram

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def rows_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert "Traceback" not in done.stderr
    return {row["check"]: row for row in json.loads(done.stdout)["checks"]}


def hide(path: str, text: str) -> str:
    """Return the shell commands that put a file with this text over a file of /proc or /dev."""
    return f"printf %s {shlex.quote(text)} > replacement && mount --bind replacement {path}"


@pytest.mark.parametrize(
    ("preparation", "check", "status", "words"),
    [
        (hide("/proc/pressure/memory", "rubbish"), "memory_pressure", "unknown", "not in the kernel's format"),
        ("mount -t tmpfs none /proc/pressure", "memory_pressure", "skipped", "psi=1"),
        (hide("/proc/meminfo", ""), "memory_available", "unknown", "/proc/meminfo holds no counters"),
        (hide("/proc/meminfo", "MemTotal: 5 kB\n"), "memory_available", "unknown", "no line MemAvailable"),
        (hide("/proc/vmstat", "\1\2\3"), "swap_in", "unknown", "/proc/vmstat holds no counters"),
        (hide("/proc/vmstat", "nr_free_pages 5\n"), "swap_out", "unknown", "no line pswpin"),
        (hide("/proc/vmstat", "pswpin 5\npswpout 5\n"), "file_refaults", "skipped", "3.15"),
    ],
    ids=["PSI rubbish", "no PSI", "empty meminfo", "half a meminfo", "vmstat rubbish", "half a vmstat", "old kernel"],
)
def test_a_broken_proc_file_costs_its_own_rows_only(
    workdir: Workdir, preparation: str, check: str, status: str, words: str
) -> None:
    done = run_in_namespace(workdir.path, preparation, ["monitor", "--once", "--json"])
    assert done.returncode == 0, done.stderr
    rows = rows_of(done)
    assert rows[check]["status"] == status
    assert words in rows[check]["reason"]
    assert rows["disk_usage"]["status"] in ("ok", "warning", "critical")


def test_a_mount_that_does_not_answer_costs_its_own_row_only(workdir: Workdir, telegram: FakeTelegram) -> None:
    """FUSE without a program behind it: what a file server does that is gone."""
    mount = workdir.path / "gone"
    mount.mkdir()
    workdir.write_config(
        DISK_PATHS=f"{mount},/",
        MEMORY_CRITICAL_MB=100_000_000,
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
    )
    options = "fd=3,rootmode=40000,user_id=0,group_id=0"
    hang = f"exec 3<>/dev/fuse && mount -i -t fuse -o {options} gone {shlex.quote(str(mount))}"
    for words in (["monitor", "--once"], ["export", "--stdout"]):
        done = run_in_namespace(workdir.path, hang, words)
        assert done.returncode == 0, done.stderr
        if words[0] == "monitor":
            assert re.search(r"disk_usage +\S*gone +unknown", done.stdout)
            assert re.search(r"disk_usage +/ +(ok|warning|critical)", done.stdout)
            assert "it does not answer; is the server or program of this mount away?" in done.stdout
    assert "CRITICAL memory_available" in telegram.messages[0].text


def test_without_the_kernel_log_the_other_checks_go_on(workdir: Workdir) -> None:
    preparation = "mount -t tmpfs none /dev && touch /dev/null && printf '#!/bin/sh\nexit 1' > dmesg && chmod +x dmesg"
    preparation += " && PATH=$PWD:$PATH"
    rows = rows_of(run_in_namespace(workdir.path, preparation, ["monitor", "--once", "--json"]))
    assert "CAP_SYSLOG" in rows["oom_kills"]["reason"]
    assert rows["memory_available"]["status"] in ("ok", "warning", "critical")


def test_when_nothing_can_be_read_the_command_has_failed(workdir: Workdir) -> None:
    workdir.write_config(DISK_PATHS="/no/such/path")
    done = run_in_namespace(workdir.path, "mount -t tmpfs none /proc", ["monitor", "--once", "--json"])
    assert done.returncode == 1
    assert {row["status"] for row in rows_of(done).values()} <= {"unknown", "skipped"}


@pytest.fixture
def open_workdir() -> Iterator[Workdir]:
    """A folder that any user can reach; pytest's own are closed to all but root, and closed again by every start."""
    with tempfile.TemporaryDirectory(prefix="vpsmon-") as name:
        Path(name).chmod(0o755)
        yield Workdir(Path(name))


def run_as_nobody(workdir: Workdir, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command([*NOBODY, str(vpsmon_path()), *words], workdir.path)


def test_another_user_without_rights_sees_what_is_open_and_is_told_the_rest(open_workdir: Workdir) -> None:
    os.chown(open_workdir.path, 65534, 65534)
    done = run_as_nobody(open_workdir, "monitor", "--once", "--json")
    rows = rows_of(done)
    assert done.returncode == 0, done.stderr
    assert rows["memory_available"]["status"] in ("ok", "warning", "critical")


def test_a_state_directory_of_somebody_else_is_one_line(open_workdir: Workdir) -> None:
    done = run_as_nobody(open_workdir, "monitor", "--once")
    assert done.returncode == 1
    assert "Permission denied: run as its owner or with sudo, or set STATE_DIR" in done.stderr
    assert "memory_available" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_configuration_that_may_not_be_read_is_one_line(open_workdir: Workdir) -> None:
    open_workdir.write_config(DISK_WARNING_PCT=70)
    done = run_as_nobody(open_workdir, "monitor", "--once")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "user id 65534 may not read it" in done.stderr


@pytest.mark.parametrize(
    ("preparation", "words"),
    [
        (
            "mkdir .alerts && mount -t tmpfs -o size=4k none .alerts && head -c 4096 /dev/zero > .alerts/history_x.log",
            "df -h",
        ),
        ("mkdir .alerts && mount -t tmpfs -o ro none .alerts", "remount it writable, or set STATE_DIR"),
        ("touch .alerts", "Not a directory"),
        ("ln -s /nowhere/at/all .alerts", "state in"),
    ],
    ids=["full disk", "read-only", "a file in its place", "a dangling link"],
)
def test_a_state_directory_that_cannot_be_written_is_one_line_and_the_checks_go_on(
    workdir: Workdir, preparation: str, words: str
) -> None:
    done = run_in_namespace(workdir.path, preparation, ["monitor", "--once"])
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("vpsmon: error")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert "memory_available" in done.stdout


@pytest.mark.parametrize("name", ["pass_state.json", "alert_state.json", "outbox.json", "commit.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\x00garbage", b"[1]", b'{"schema": 1, "types": 5, "entries": 7, "with_alerts": []}'],
    ids=["empty", "cut", "binary", "list", "other form"],
)
def test_corrupt_state_is_survived(workdir: Workdir, name: str, content: bytes) -> None:
    workdir.write_config(MEMORY_CRITICAL_MB=100_000_000)
    workdir.run("monitor", "--once")
    (workdir.path / ".alerts" / name).write_bytes(content)
    for _ in range(2):
        done = workdir.run("monitor", "--once")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert done.stderr.count("unreadable") == 0


def test_a_configuration_with_faults_starts_nothing(workdir: Workdir) -> None:
    (workdir.path / "monitor.conf").write_text("MEMORY_WARNIN_MB=5\nWAHA_CONTAINER=waha\n")
    done = workdir.run("monitor", "--once")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert not (workdir.path / ".alerts").exists()


@pytest.mark.parametrize("words", [["--config", "/no/such/file"], ["--config", "/"]])
def test_a_configuration_that_is_none_is_one_line(workdir: Workdir, words: list[str]) -> None:
    done = workdir.run(*words, "monitor", "--once")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
