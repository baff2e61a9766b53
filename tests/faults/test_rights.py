"""What other users of the machine can do: nothing. And what one without root can: look."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir, clean_environment, vpsmon_path
from tests.kit.docker import DockerEngine, run_container
from tests.kit.telegram import FakeTelegram
from vpsmon.system.host import Host

NOBODY = 65534
DOCKER_GROUP = 64321


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder like /tmp, that every user can reach and write to."""
    folder = Path(f"/var/tmp/vpsmon-test-{os.getpid()}")
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def run_as(user: int, words: list[str], cwd: Path, groups: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    rights = [f"--groups={groups}"] if groups else ["--clear-groups"]
    return subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", *rights, *words],
        cwd=cwd,
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_others_may_read_is_mended_and_stays_closed(workdir: Workdir, telegram: FakeTelegram) -> None:
    bench = Installation(workdir, telegram)
    bench.have_a_new_alert()
    bench.finish()
    bench.state.chmod(0o777)
    for path in bench.state.iterdir():
        path.chmod(0o666)
    bench.have_a_new_alert()
    bench.finish()
    assert stat.S_IMODE(bench.state.stat().st_mode) & 0o066 == 0
    rewritten = [bench.state / name for name in ("alert_state.json", "outbox.json", "pass_state.json")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in rewritten} == {0o600}


@pytest.mark.parametrize("trap", ["folder", "link", "link to nowhere"])
def test_a_state_directory_that_another_user_has_put_there_is_refused(open_folder: Path, trap: str) -> None:
    """The name is known, so whoever comes first could have root write where he likes, or read what he wrote."""
    target = open_folder / "target"
    target.mkdir(mode=0o755)
    place = open_folder / ".alerts"
    if trap == "folder":
        place.mkdir()
    else:
        place.symlink_to(target if trap == "link" else "/etc/vpsmon-test-nowhere")
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    done = Workdir(open_folder).run(*ONCE)
    assert done.returncode == 1
    assert "belongs to another user" in done.stderr
    assert "memory_available" in done.stdout
    assert list(target.iterdir()) == []
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert trap != "folder" or list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["lock", ".alert_state.json.new", ".commit.json.new", "alert_history.log"])
def test_a_link_in_the_state_directory_is_never_written_through(
    workdir: Workdir, telegram: FakeTelegram, name: str
) -> None:
    bench = Installation(workdir, telegram)
    victim = bench.path / "victim"
    victim.write_text("precious")
    bench.state.mkdir(mode=0o700)
    (bench.state / name).symlink_to(victim)
    bench.have_a_new_alert()
    done = bench.workdir.run(*ONCE)
    assert "Traceback" not in done.stderr
    assert victim.read_text() == "precious"


def test_commands_that_vpsmon_runs_do_not_get_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELEGRAM_BOT_TOKEN", "POSTGRES_DSN", "WAHA_API_KEY"):
        monkeypatch.setenv(name, "a-secret")
    monkeypatch.setenv("HARMLESS", "kept")
    output = Host().run(["env"], 5.0)
    assert "a-secret" not in output
    assert "HARMLESS=kept" in output


@contextmanager
def reachable(path: Path) -> Iterator[None]:
    """Let any user pass through the folders above a file."""
    modes = {folder: folder.stat().st_mode for folder in path.parents if folder != Path("/")}
    for folder, mode in modes.items():
        folder.chmod(mode | 0o011)
    try:
        yield
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)


def test_a_user_of_the_docker_group_sees_the_containers(engine: DockerEngine, open_folder: Path) -> None:
    socket = Path(engine.url.removeprefix("unix://"))
    before = socket.stat()
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    with run_container(engine, "crm-blog-1", ["sleep", "60"]), reachable(socket):
        os.chown(socket, 0, DOCKER_GROUP)
        socket.chmod(0o660)
        try:
            words = [str(vpsmon_path()), *ONCE, "--json"]
            done = run_as(NOBODY, words, home, str(DOCKER_GROUP), DOCKER_HOST=engine.url)
            refused = run_as(NOBODY, words, home, DOCKER_HOST=engine.url)
        finally:
            os.chown(socket, before.st_uid, before.st_gid)
            socket.chmod(before.st_mode)
    assert done.returncode == 0, done.stderr
    rows = {(row["check"], row["object"]): row for row in json.loads(done.stdout)["checks"]}
    assert rows["container_state", "crm-blog-1"]["status"] == "ok"
    assert rows["container_memory", "crm-blog-1"]["value"] > 0
    assert stat.S_IMODE((home / ".alerts").stat().st_mode) == 0o700
    assert "add the user to the group docker" in refused.stdout


def list_owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in folder.rglob("*")}


@pytest.fixture
def theirs(open_folder: Path) -> Path:
    """An installation whose state is another user's, as that of the services is; the rest is root's."""
    prefix = open_folder / "prefix"
    state = prefix / ".alerts"
    state.mkdir(parents=True)
    prefix.chmod(0o755)
    os.chown(state, NOBODY, NOBODY)
    return prefix


COMMANDS = (ONCE, ["export"], ["report", "print"], ["recover"], ["selftest"], ["status"])


def test_root_by_hand_leaves_every_file_to_the_owner_of_the_state(theirs: Path) -> None:
    write_quiet(theirs)
    for words in COMMANDS:
        done = Workdir(theirs).run(*words)
        assert "Traceback" not in done.stderr, done.stderr
    assert (theirs / ".alerts/pass_state.json").exists()
    assert (theirs / ".alerts/metrics/metrics.prom").exists()
    assert list_owners(theirs / ".alerts") == {NOBODY}


def test_root_by_hand_has_no_more_rights_than_the_services(theirs: Path) -> None:
    write_quiet(theirs)
    trace = theirs / "trace"
    words = ["strace", "-f", "-o", str(trace), "-e", "trace=setresuid,openat,mkdir,chmod,fchmod,rename", "--"]
    done = subprocess.run([*words, str(vpsmon_path()), *ONCE], cwd=theirs, env=clean_environment(), timeout=60)
    assert done.returncode == 0
    calls = trace.read_text().splitlines()
    drop = next(number for number, call in enumerate(calls) if "setresuid(65534, 65534, 65534)" in call)
    touching = [number for number, call in enumerate(calls) if ".alerts" in call]
    assert touching, "nothing of the state was touched"
    assert min(touching) > drop


@pytest.mark.parametrize("name", ["reports", "metrics", "mail"])
def test_a_link_to_a_folder_of_root_s_is_not_followed(theirs: Path, name: str) -> None:
    write_quiet(theirs)
    victim = theirs.parent / "victim"
    victim.mkdir(mode=0o700)
    (victim / "2020-01-01.txt").write_text("precious")
    (theirs / ".alerts" / name).symlink_to(victim)
    for words in COMMANDS:
        done = Workdir(theirs).run(*words)
        assert "Traceback" not in done.stderr, done.stderr
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    assert [path.name for path in victim.iterdir()] == ["2020-01-01.txt"]


def test_a_link_below_the_state_of_one_s_own_is_not_followed_either(workdir: Workdir) -> None:
    victim = workdir.path / "victim"
    victim.mkdir(mode=0o700)
    state = workdir.path / ".alerts"
    state.mkdir()
    for name in ("reports", "metrics"):
        (state / name).symlink_to(victim)
    for words in (["export"], ["report", "print"]):
        done = workdir.run(*words)
        assert "must be a folder, and no symbolic link" in done.stderr
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    assert list(victim.iterdir()) == []


def write_quiet(folder: Path) -> None:
    path = Workdir(folder).write_config()
    path.chmod(0o644)


@pytest.mark.parametrize("mode", [0o1777, 0o755])
def test_a_folder_with_files_of_others_is_no_state_directory(open_folder: Path, mode: int) -> None:
    shared = open_folder / "shared"
    shared.mkdir()
    shared.chmod(mode)
    (shared / "thesis.tex").write_text("precious")
    # A guest may make it look like one.
    for name in ("lock", "pass_state.json", ".vpsmon"):
        (shared / name).touch()
        os.chown(shared / name, NOBODY, NOBODY)
    config = Workdir(open_folder).write_config(STATE_DIR=str(shared))
    before = {path: path.stat().st_mtime_ns for path in (shared, *shared.iterdir())}
    for words in (ONCE, ["recover"], ["export"]):
        done = Workdir(open_folder).run("--config", str(config), *words)
        assert done.returncode == 1
        assert f"{shared} holds files of others: give vpsmon a folder of its own with STATE_DIR" in done.stderr
    assert stat.S_IMODE(shared.stat().st_mode) == mode
    assert {path: path.stat().st_mtime_ns for path in (shared, *shared.iterdir())} == before


def read_incidents(bench: Installation) -> set[str]:
    return set(json.loads((bench.state / "alert_state.json").read_text())["incidents"])


def test_a_state_directory_of_a_version_without_marks_goes_on(workdir: Workdir, telegram: FakeTelegram) -> None:
    bench = Installation(workdir, telegram)
    bench.have_a_new_alert()
    bench.finish()
    before = read_incidents(bench)
    (bench.state / ".vpsmon").unlink()
    # What its owner keeps there as well is no reason to do without all that is remembered.
    (bench.state / "notes.txt").touch()
    bench.finish()
    assert read_incidents(bench) == before
    assert (bench.state / ".vpsmon").exists()
