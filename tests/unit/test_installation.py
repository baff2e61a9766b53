"""What installing writes: units for a version of systemd, keys of monitor.conf, files that are known again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import install
from tests.kit.command import Workdir
from vpsmon.config.load import load_config
from vpsmon.installation.files import (
    MARK,
    OwnFile,
    describe_change,
    is_ours,
    list_noted_folders,
    remove,
    remove_noted_folders,
    require_ours,
    write,
)
from vpsmon.installation.layout import InstallError, Places, follow_config
from vpsmon.installation.paths import find_fault
from vpsmon.installation.settings_file import make_settings_file, write_keys
from vpsmon.installation.steps import _give, require_own_folder
from vpsmon.installation.uninstall import list_own_paths
from vpsmon.installation.units import is_started, name_of, render, render_units
from vpsmon.state.own_folder import mark

PLACES = Places("/opt/vps mon", "/opt/vps mon/venv/bin/vpsmon", "/etc/monitor.conf", "/opt/state", "127.0.0.1:9")


@pytest.mark.parametrize(("version", "is_kept"), [(253, False), (254, True), (257, True)])
def test_a_line_for_a_newer_systemd_is_left_out_of_an_older_one(version: int, is_kept: bool) -> None:
    text = render("A=1\n#:since 254\nB=2\nC=@VALUE@\n", {"VALUE": "3"}, version)
    assert text == ("A=1\nB=2\nC=3\n" if is_kept else "A=1\nC=3\n")


def test_every_unit_is_filled_marked_and_a_name_with_a_space_is_quoted() -> None:
    units = render_units(PLACES, 252)
    assert {"vps-monitor.service", "vps-auto-recovery.path", "vpsmon.slice"} <= {name_of(unit) for unit in units}
    for unit in units:
        assert unit.text.startswith(f"# {MARK}")
        assert "@VPSMON@" not in unit.text and "@STATE@" not in unit.text and "#:since" not in unit.text
        for line in unit.text.splitlines():
            assert "/opt/vps mon" not in line or '"/opt/vps mon' in line or line.startswith("#"), line
    assert not is_started(next(unit for unit in units if unit.path.endswith("vps-auto-recovery.service")))
    assert is_started(next(unit for unit in units if unit.path.endswith("vps-monitor.service")))


@pytest.mark.parametrize(
    ("disk_paths", "line"),
    [("/", "ProtectHome=yes"), ("/,/home", "ProtectHome=read-only"), ("/root/data", "ProtectHome=read-only")],
)
def test_homes_are_hidden_where_no_disk_in_them_is_watched(tmp_path: Path, disk_paths: str, line: str) -> None:
    config = tmp_path / "monitor.conf"
    config.write_text(f'DISK_PATHS="{disk_paths}"\nSTATE_DIR="/opt/state"\n')
    config.chmod(0o600)
    units = render_units(follow_config(PLACES._replace(config=str(config)), {}), 252)
    lines = [each for unit in units for each in unit.text.splitlines() if each.startswith("ProtectHome=")]
    assert len(lines) == 5 and set(lines) == {line}


def test_homes_are_not_hidden_from_a_program_that_lies_in_one() -> None:
    texts = [unit.text for unit in render_units(PLACES._replace(needs_homes=True), 252)]
    assert any("ProtectHome=read-only" in text for text in texts)
    assert not any("ProtectHome=yes" in text for text in texts)


def test_a_state_directory_of_others_is_not_taken_over(tmp_path: Path) -> None:
    require_own_folder(str(tmp_path / "missing"))
    require_own_folder(str(tmp_path))
    (tmp_path / "syslog").touch()
    with pytest.raises(InstallError, match="holds files of others"):
        require_own_folder(str(tmp_path))
    (tmp_path / "lock").touch()
    with pytest.raises(InstallError, match="holds files of others"):
        require_own_folder(str(tmp_path))
    # What a version without marks has left is known by its files.
    (tmp_path / "pass_state.json").touch()
    require_own_folder(str(tmp_path))
    os.chown(tmp_path / "pass_state.json", 65534, 65534)
    with pytest.raises(InstallError, match="holds files of others"):
        require_own_folder(str(tmp_path))
    mark(str(tmp_path))
    require_own_folder(str(tmp_path))


def make_environment(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_purge_lists_nothing_that_is_not_vpsmon_s(tmp_path: Path) -> None:
    """As in /opt, where others have their environments, settings and folders as well."""
    places = PLACES._replace(prefix=str(tmp_path), config=f"{tmp_path}/monitor.conf", state=f"{tmp_path}/.alerts")
    make_environment(tmp_path / "venv-x", "bin/python", "pyvenv.cfg")
    make_environment(tmp_path / "venv-y", "installed", "bin/python")
    make_environment(tmp_path / ".alerts", "somebody.txt")
    (tmp_path / "monitor.conf").write_text("[monitor]\nposition=left\n")
    (tmp_path / "venv").symlink_to("venv-x")
    assert list_own_paths(places) == []
    make_environment(tmp_path / "venv-made", "installed", "bin/vpsmon")
    make_environment(tmp_path / "venv-begun", ".vpsmon")
    (tmp_path / "venv-link").symlink_to("venv-made")
    (tmp_path / "venv").unlink()
    (tmp_path / "venv").symlink_to("venv-made")
    (tmp_path / ".alerts/somebody.txt").unlink()
    (tmp_path / "monitor.conf").write_text("MONITOR_INTERVAL_SEC=5\n")
    names = {os.path.basename(path) for path in list_own_paths(places)}
    assert names == {"venv-made", "venv-begun", "venv", "monitor.conf", ".alerts"}


@pytest.mark.parametrize("target", ["venv-x", "/usr", "elsewhere", None])
def test_an_environment_of_somebody_else_is_not_replaced(tmp_path: Path, target: str | None) -> None:
    make_environment(tmp_path / "venv-x", "bin/python")
    link = tmp_path / "venv"
    link.symlink_to(target) if target else link.mkdir()
    with pytest.raises(install.InstallError, match="there already and not vpsmon's: choose another folder"):
        install.require_own_link(str(link))


def test_an_environment_of_ours_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "venv"
    install.require_own_link(str(link))
    link.symlink_to("venv-made")
    install.require_own_link(str(link))  # what it led to is gone
    install.empty_environment(tmp_path / "venv-made")
    install.require_own_link(str(link))


def test_what_is_linked_into_the_state_directory_stays_whose_it_is(tmp_path: Path) -> None:
    state, secret = tmp_path / "state", tmp_path / "secret"
    state.mkdir()
    secret.touch()
    os.link(secret, state / "outbox.json")
    (state / "reports").mkdir()
    (state / "reports/2026-01-01.txt").touch()
    (state / "mail").symlink_to(tmp_path)
    _give(str(state), 65534, 65534)
    assert (secret.stat().st_uid, tmp_path.stat().st_uid) == (0, 0)
    assert {(state / name).stat().st_uid for name in (".", "reports", "reports/2026-01-01.txt")} == {65534}


def test_a_settings_file_is_root_s_and_no_link_of_others_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "monitor.conf"
    target.write_text("precious")
    target.chmod(0o600)
    link.symlink_to(target)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(OSError, match="symbolic links"):
        make_settings_file(str(link), 65534)
    assert (target.stat().st_mode & 0o777, target.stat().st_gid) == (0o600, 0)
    # Root's own link is root's word; and a file that was the services' is so no more.
    os.chown(link, 0, 0, follow_symlinks=False)
    os.chown(target, 65534, 65534)
    assert not make_settings_file(str(link), 65534)
    facts = target.stat()
    assert (facts.st_mode & 0o777, facts.st_uid, facts.st_gid) == (0o640, 0, 65534)


def test_keys_are_written_where_they_stand_and_the_rest_stays(workdir: Workdir) -> None:
    path = str(workdir.path / "monitor.conf")
    assert make_settings_file(path, os.getgid())
    before = Path(path).read_text(encoding="utf-8").splitlines()
    write_keys(path, {"TELEGRAM_BOT_TOKEN": 'a"b\\c', "METRICS_LISTEN": "0.0.0.0:1"})
    write_keys(path, {"TELEGRAM_BOT_TOKEN": 'd"e\\f'})
    after = Path(path).read_text(encoding="utf-8").splitlines()
    assert len(after) == len(before)
    assert [old for old, new in zip(before, after, strict=True) if old != new] == [
        'TELEGRAM_BOT_TOKEN=""',
        next(line for line in before if line.startswith("#METRICS_LISTEN=")),
    ]
    settings = load_config(path, {}).settings
    assert (settings.TELEGRAM_BOT_TOKEN, settings.METRICS_LISTEN) == ('d"e\\f', "0.0.0.0:1")
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert not make_settings_file(path, os.getgid())
    assert Path(path).read_text(encoding="utf-8").splitlines() == after


def test_a_key_that_is_in_force_wins_over_its_comment(workdir: Workdir) -> None:
    path = workdir.path / "monitor.conf"
    path.write_text('#METRICS_LISTEN="127.0.0.1:1"\n METRICS_LISTEN = "127.0.0.1:2"\n')
    write_keys(str(path), {"METRICS_LISTEN": "127.0.0.1:3", "N8N_URL": "http://n8n"})
    assert path.read_text() == '#METRICS_LISTEN="127.0.0.1:1"\nMETRICS_LISTEN="127.0.0.1:3"\nN8N_URL="http://n8n"\n'


def test_files_come_and_go_with_the_folders_that_they_needed(tmp_path: Path) -> None:
    file = OwnFile(f"{tmp_path}/a/b/unit", f"# {MARK}\ntext\n")
    prefix = str(tmp_path / "prefix")
    os.mkdir(prefix)
    assert write(file, prefix)
    assert not write(file, prefix)
    assert list_noted_folders(prefix) == [f"{tmp_path}/a", f"{tmp_path}/a/b"]
    changed = file._replace(text=f"# {MARK}\nother\n")
    assert "-text\n+other\n" in describe_change(changed)
    assert remove(changed)
    assert not remove(changed)
    remove_noted_folders(prefix)
    assert sorted(os.listdir(tmp_path)) == ["prefix"]
    assert os.listdir(prefix) == []


def test_what_somebody_else_wrote_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "vps-monitor.service"
    path.write_text("[Service]\n")
    file = OwnFile(str(path), f"# {MARK}\n")
    with pytest.raises(InstallError, match="is there already and not vpsmon's"):
        require_ours(file)
    assert not remove(file)
    link = OwnFile(str(tmp_path / "vpsmon"), link="/opt/vpsmon/venv/bin/vpsmon")
    os.symlink("/elsewhere/bin/vpsmon", link.path)
    assert not is_ours(link)
    with pytest.raises(InstallError, match="is a link to /elsewhere/bin/vpsmon already"):
        require_ours(link)
    assert sorted(os.listdir(tmp_path)) == ["vps-monitor.service", "vpsmon"]


@pytest.mark.parametrize("path", ["/opt/100%", "/opt/a$b", '/opt/a"b', "/opt/a\nb", "/home/me/vpsmon", "/root"])
def test_paths_that_no_service_can_use(path: str) -> None:
    assert find_fault(path)


@pytest.mark.parametrize("path", ["/opt/vpsmon", "/srv/vps mon", "/homes/vpsmon", "/opt/ünïcode"])
def test_paths_that_services_can_use(path: str) -> None:
    assert find_fault(path) is None


def test_a_dry_run_shows_everything_and_needs_no_rights(workdir: Workdir) -> None:
    done = workdir.run("install", "--dry-run", "--listen", "127.0.0.1:4321")
    assert done.returncode == 0, done.stderr
    for part in ("+++ /etc/systemd/system/vps-monitor.service", "+ListenStream=127.0.0.1:4321", "+.TH VPSMON 1"):
        assert part in done.stdout
    assert list(workdir.path.iterdir()) == []


def test_a_listen_address_that_is_none(workdir: Workdir) -> None:
    done = workdir.run("install", "--dry-run", "--listen", "nonsense")
    assert done.returncode == 1
    assert "METRICS_LISTEN: " in done.stderr
    assert "Traceback" not in done.stderr
