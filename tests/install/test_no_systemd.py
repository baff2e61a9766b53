"""Where systemd does not run the machine, nothing is installed, and one line says so."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((str(ROOT / "install.py"), "--prefix", "{}/prefix"), "install.py: systemd does not run this"),
        (("-m", "vpsmon", "--config", "{}/monitor.conf", "install"), "vpsmon: error: systemd does not run this"),
    ],
)
def test_the_refusal(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    """With a /run of its own, in which there is no systemd whatever runs this machine.

    The rest is read-only there: without the refusal, the machine of the tests would be installed into.
    """
    command = shlex.join([sys.executable, *(word.format(tmp_path) for word in words)])
    script = f"mount -o remount,ro,bind /; mount -t tmpfs tmpfs /run; exec {command}"
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(told) and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []
