"""How the monitor starts a recovery: by a file that systemd waits for, or as a process of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from vpsmon.recovery import start


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that writes down what it is called with, as soon as the caller has returned."""
    script = tmp_path / "python"
    wait = f"n=0; until [ -e {tmp_path}/returned ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done"
    script.write_text(f'#!/bin/sh\n{wait}\necho "python $*" > {tmp_path}/calls\n')
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    return tmp_path / "calls"


def read_when_there(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.05)
    return path.read_text().strip()


def test_nobody_waits_for_it_and_no_child_is_left(recorded: Path, tmp_path: Path) -> None:
    children = {child.pid for child in psutil.Process().children()}
    environment = {name: value for name, value in os.environ.items() if name != start.REQUEST_VARIABLE}
    start.start_recovery("/etc/a file.conf", environment)
    # What was started writes only now, so whoever had waited for it would still wait.
    assert not recorded.exists()
    assert {child.pid for child in psutil.Process().children()} <= children
    (tmp_path / "returned").touch()
    assert read_when_there(recorded) == "python -m vpsmon --config /etc/a file.conf recover run-all"


def test_where_systemd_waits_for_it_a_file_asks_and_nothing_is_started(recorded: Path, tmp_path: Path) -> None:
    request = tmp_path / "a request"
    assert "vps-auto-recovery" in start.start_recovery(None, {start.REQUEST_VARIABLE: str(request)})
    assert request.exists()
    (tmp_path / "returned").touch()
    time.sleep(0.5)
    assert not recorded.exists()


def test_a_request_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        start.start_recovery(None, {start.REQUEST_VARIABLE: str(tmp_path / "missing" / "request")})
