"""One recovery on a machine, whoever starts it, and nobody without a right to it can prevent it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vpsmon.recovery.engine.machine_lock import machine_lock
from vpsmon.recovery.engine.store import hold_recovery_lock
from vpsmon.state.directory import StateDirectory
from vpsmon.state.runtime_folder import name_runtime_folder

SQUAT = """
import os, socket, sys
os.setresuid(*[int(sys.argv[1])] * 3)
squatter = socket.socket(socket.AF_UNIX)
squatter.bind(sys.argv[2].replace("@", chr(0)))
backlog = int(sys.argv[3])
if backlog >= 0:
    squatter.listen(backlog)
held = []
for _ in range(8 if backlog == 0 else 0):
    caller = socket.socket(socket.AF_UNIX)
    caller.setblocking(False)
    try:
        caller.connect(sys.argv[2].replace("@", chr(0)))
    except OSError:
        pass
    held.append(caller)
print("here", flush=True)
sys.stdin.read()
"""


@contextmanager
def squatter(user: int, backlog: int) -> Iterator[None]:
    """Somebody who holds the name: listens with a queue of that length, or does not listen at all."""
    words = [sys.executable, "-c", SQUAT, str(user), f"@{name_runtime_folder()}/recovery", str(backlog)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        yield
        process.communicate("")


def test_two_installations_recover_one_after_the_other(tmp_path: Path) -> None:
    one, other = StateDirectory(str(tmp_path / "one")), StateDirectory(str(tmp_path / "other"))
    with hold_recovery_lock(one) as is_first:
        assert is_first
        with hold_recovery_lock(other) as is_second:
            assert not is_second
    with hold_recovery_lock(other) as is_second:
        assert is_second


def test_root_s_recovery_is_respected() -> None:
    with squatter(0, 5), machine_lock() as is_only_one:
        assert not is_only_one


@pytest.mark.parametrize("backlog", [5, 0, -1])
def test_a_user_without_a_right_to_it_cannot_prevent_recovery(backlog: int, capsys: pytest.CaptureFixture[str]) -> None:
    with squatter(65534, backlog), machine_lock() as is_only_one:
        assert is_only_one
    assert "somebody without a right to it holds the name of the recovery lock: ignored" in capsys.readouterr().err
    assert os.geteuid() == 0
