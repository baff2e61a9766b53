"""Machines that are nearly Linux as we know it, on this kernel: guests of lxcfs, hidden processes, used-up inodes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command import QUIET_LIMITS, Workdir, run_in_namespace, vpsmon_path
from tests.kit.kernel import kill_by_out_of_memory, wait_until

ONCE = ["monitor", "--once", "--json"]


def read_row(done: subprocess.CompletedProcess[str], check: str, name: str | None = None) -> dict[str, Any]:
    rows = [row for row in json.loads(done.stdout)["checks"] if row["check"] == check]
    return dict(next(row for row in rows if name is None or row["object"] == name))


@pytest.fixture
def lxcfs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "lxcfs"
    folder.mkdir()
    with subprocess.Popen(["lxcfs", "-f", "--pidfile", str(tmp_path / "pid"), str(folder)]) as process:
        wait_until((folder / "proc/meminfo").exists, 20, "lxcfs serves")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        process.terminate()


@pytest.mark.alone
def test_a_kill_elsewhere_on_the_host_is_no_alert_of_the_guest(workdir: Workdir, lxcfs: Path) -> None:
    workdir.write_config(**QUIET_LIMITS)
    guest = f"mount --bind {lxcfs}/proc/meminfo /proc/meminfo"
    run_in_namespace(workdir.path, guest, ONCE)
    kill_by_out_of_memory()
    row = read_row(run_in_namespace(workdir.path, guest, ONCE), "oom_kills")
    assert (row["status"], row["value"]) == ("ok", 0)
    assert "guest" in row["reason"]
    assert read_row(workdir.run(*ONCE), "oom_kills")["value"] >= 1, "the host itself has seen it"


def test_hidden_processes_are_said_instead_of_naming_oneself(workdir: Workdir) -> None:
    workdir.write_config(**QUIET_LIMITS, MEMORY_WARNING_MB=900_000_000, MEMORY_CRITICAL_MB=0)
    for path in (workdir.path, workdir.path / "monitor.conf"):
        os.chown(path, 65534, 65534)  # a folder of the user below
    for folder in [path for path in workdir.path.parents if str(path).startswith("/tmp/")]:
        os.chmod(folder, 0o755)  # noqa: S103 - likewise
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    script = f"mount -t proc -o hidepid=2 proc /proc && exec {user} {vpsmon_path()} {' '.join(ONCE)}"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-ec", script],
        cwd=workdir.path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    message = read_row(done, "memory_available")["message"]
    assert "hidepid=0" in message
    assert "largest" not in message


def test_a_disk_without_free_inodes_is_full(workdir: Workdir) -> None:
    disk = workdir.path / "disk"
    disk.mkdir()
    workdir.write_config(**(QUIET_LIMITS | {"DISK_CRITICAL_PCT": 99}), DISK_PATHS=str(disk))
    mount = f"mount -t tmpfs -o nr_inodes=500 tmpfs {disk}"
    fill = f"{mount} && cd {disk} && (seq 600 | xargs touch || true) 2>/dev/null && cd .."
    row = read_row(run_in_namespace(workdir.path, fill, ONCE), "disk_usage", str(disk))
    assert (row["status"], row["value"]) == ("critical", 100)
    assert "room for 0 more files" in row["message"]
