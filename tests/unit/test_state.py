"""The state directory: whole writes, one lock, unreadable files moved aside."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.shm_fallback import SparedState


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(str(tmp_path / "alerts"))


def test_what_was_committed_is_loaded_again(state: StateDirectory) -> None:
    with state.lock():
        state.commit({"a.json": {"x": [1, "ü"]}, "b.json": {}}, {"a.log": ["one", "two"]})
    assert state.load("a.json") == {"x": [1, "ü"]}
    assert state.load("b.json") == {}
    assert state.load("never-written.json") == {}
    assert Path(state.path, "a.log").read_text() == "one\ntwo\n"
    assert "commit.json" not in os.listdir(state.path)


@pytest.mark.parametrize("kind", [StateDirectory, SparedState])
def test_what_must_last_is_on_the_disk_and_the_rest_unless_there_is_a_hurry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[StateDirectory]
) -> None:
    state = kind(str(tmp_path / "alerts"))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    def count_syncs(must_last: bool) -> int:
        synced.clear()
        with state.lock():
            state.commit({"a.json": {"x": os.urandom(4).hex()}, "b.json": {}}, {"a.log": ["one"]}, must_last)
        return len(synced)

    assert count_syncs(must_last=False) > 0
    state.waits_for_disk = False
    assert count_syncs(must_last=False) == 0
    assert count_syncs(must_last=True) > 0


def test_directory_and_files_are_the_owner_s_alone(state: StateDirectory) -> None:
    os.makedirs(state.path, mode=0o755)
    with state.lock():
        state.commit({"a.json": {}}, {"a.log": ["line"]})
    assert stat.S_IMODE(os.stat(state.path).st_mode) == 0o700
    modes = {name: stat.S_IMODE(os.stat(Path(state.path, name)).st_mode) for name in os.listdir(state.path)}
    assert modes == {"a.json": 0o600, "a.log": 0o600, "lock": 0o600, ".vpsmon": 0o600}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 99}', b'"text"', b"[" * 100_000])
def test_an_unreadable_file_is_moved_aside_and_named_once(state: StateDirectory, content: bytes) -> None:
    with state.lock():
        path = Path(state.path, "a.json")
        path.write_bytes(content)
        assert state.load("a.json") == {}
        assert state.load("a.json") == {}
    (aside,) = Path(state.path).glob("a.json.corrupt-*")
    assert aside.read_bytes() == content
    assert len(state.notices) == 1
    assert "a.json was unreadable" in state.notices[0]


def test_only_the_newest_corrupt_files_are_kept(state: StateDirectory) -> None:
    clock = iter(range(1_000_000, 2_000_000, 10))
    state = StateDirectory(state.path, wall_clock=lambda: float(next(clock)))
    with state.lock():
        for _ in range(15):
            Path(state.path, "a.json").write_text("broken")
            state.load("a.json")
    assert len(list(Path(state.path).glob("*.corrupt-*"))) == 10


def test_a_journal_that_was_left_behind_is_finished(state: StateDirectory) -> None:
    with state.lock():
        state.commit({"a.json": {"n": 1}}, {"a.log": ["first"]})
    journal = {
        "schema": 1,
        "files": {"a.json": json.dumps({"schema": 1, "n": 2}), "b.json": json.dumps({"schema": 1, "m": 1})},
        "appends": {"a.log": {"offset": 6, "text": "second\n"}},
    }
    Path(state.path, "commit.json").write_text(json.dumps(journal))
    Path(state.path, "a.log").write_text("first\nsec")  # it was killed in the middle of the append
    with state.lock():
        assert state.load("a.json") == {"n": 2}
        assert state.load("b.json") == {"m": 1}
    assert Path(state.path, "a.log").read_text() == "first\nsecond\n"


def test_a_log_is_rotated_by_size(state: StateDirectory) -> None:
    with state.lock():
        for _ in range(3):
            state.commit({}, {"a.log": ["x" * 1900] * 400})
    sizes = [os.stat(Path(state.path, name)).st_size for name in ("a.log", "a.log.1")]
    assert all(0 < size < 2_000_000 for size in sizes)


def test_a_log_line_cannot_contain_another(state: StateDirectory) -> None:
    with state.lock():
        state.commit({}, {"a.log": ["evil\n2026-01-01 CRITICAL forged\x1b[2J"]})
    assert Path(state.path, "a.log").read_text().count("\n") == 1
    assert "\x1b" not in Path(state.path, "a.log").read_text()


def test_a_lock_that_is_held_gives_up_with_a_clear_line(state: StateDirectory) -> None:
    with state.lock():
        other = StateDirectory(state.path)
        with pytest.raises(StateError, match=r"locked by another vpsmon.*fuser"), other.lock(timeout_seconds=0.1):
            pass


def test_the_lock_of_a_killed_process_is_free(state: StateDirectory) -> None:
    program = f"""
import os, signal
from vpsmon.state.directory import StateDirectory
with StateDirectory({state.path!r}).lock():
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    with state.lock(timeout_seconds=0.1):
        pass


def test_a_symbolic_link_in_place_of_a_file_is_not_followed(state: StateDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with state.lock():
        pass
    Path(state.path, "a.log").symlink_to(victim)
    with pytest.raises(StateError, match="symbolic link"), state.lock():
        state.commit({}, {"a.log": ["line"]})
    assert victim.read_text() == "precious"


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "alerts").write_text("")
    with pytest.raises(StateError, match="Not a directory"), StateDirectory(str(tmp_path / "alerts")).lock():
        pass


def test_two_unreadable_files_of_one_name_and_second_are_both_kept(state: StateDirectory) -> None:
    state = StateDirectory(state.path, wall_clock=lambda: 1_700_000_000.0)
    with state.lock():
        pass
    for content in ("first", "second", "third"):
        Path(state.path, "a.json").write_text(content)
        state.load("a.json")
    kept = sorted(Path(state.path).glob("a.json.corrupt-*"))
    assert [path.read_text() for path in kept] == ["first", "second", "third"]
