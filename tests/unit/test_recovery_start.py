"""How the monitor starts a recovery: through systemd where its unit is installed, else as a process of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from vpsmon.recovery.engine import start


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl and a Python that write down what they are called with."""
    for name in ("systemctl", "python"):
        script = tmp_path / name
        wait = f"n=0; until [ -e {tmp_path}/returned ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done"
        script.write_text(f'#!/bin/sh\n{wait}\necho "{name} $*" > {tmp_path}/calls\n')
        script.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / name))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    return tmp_path / "calls"


def read_when_there(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.05)
    return path.read_text().strip()


@pytest.mark.parametrize("is_installed", [True, False])
def test_nobody_waits_for_it_and_no_child_is_left(recorded: Path, tmp_path: Path, is_installed: bool) -> None:
    if is_installed:
        (tmp_path / start.UNIT).touch()
    children = {child.pid for child in psutil.Process().children()}
    start.start_recovery("/etc/a file.conf", os.environ, (str(tmp_path),))
    # What was started writes only now, so whoever had waited for it would still wait.
    assert not recorded.exists()
    assert {child.pid for child in psutil.Process().children()} <= children
    (tmp_path / "returned").touch()
    call = read_when_there(recorded)
    own = "python -m vpsmon --config /etc/a file.conf recover run-all"
    assert call == (f"systemctl start --no-block {start.UNIT}" if is_installed else own)
