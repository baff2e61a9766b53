"""`vpsmon uninstall`: everything that `vpsmon install` has put on the machine, also after a half install."""

from __future__ import annotations

import contextlib
import os
import shutil
from glob import escape, glob

from vpsmon.config.trust import USER
from vpsmon.installation import systemctl
from vpsmon.installation.account import find_user, remove_user
from vpsmon.installation.files import OwnFile, remove, remove_noted_folders
from vpsmon.installation.layout import COMPLETIONS, MANUAL, UNIT_FOLDER, InstallError, Places
from vpsmon.installation.paths import is_below, is_own_environment, is_own_link
from vpsmon.installation.settings_file import is_settings_file
from vpsmon.installation.steps import Tell, list_installed_units, plan_link, stop_units
from vpsmon.installation.units import name_of
from vpsmon.state.own_folder import is_foreign
from vpsmon.state.runtime_folder import OF_THE_UNITS, find_runtime_folder
from vpsmon.system.host import Host


def require_root(places: Places) -> None:
    """Raise InstallError for anybody else."""
    if os.geteuid() != 0:
        raise InstallError(f"only root can uninstall: sudo {places.executable} uninstall")


def remove_from_system(host: Host, places: Places, tell: Tell) -> None:
    """Stop and remove units, link, completions and manual. Raises ReadError, OSError."""
    units = list_installed_units()
    if systemctl.is_running() and units:
        stop_units(host, [name_of(unit) for unit in units])
    for file in (*units, *_list_tools(places)):
        if remove(file):
            tell(f"removed {file.path}")
    for path in glob(f"{UNIT_FOLDER}/vps*.new"):
        remove(OwnFile(path.removesuffix(".new")))
    if systemctl.is_running():
        systemctl.call(host, "daemon-reload")
    remove_noted_folders(places.prefix)


def _list_tools(places: Places) -> list[OwnFile]:
    """Return where the link, the completions and the manual lie; only what vpsmon wrote there is removed."""
    return [*plan_link(places), *map(OwnFile, COMPLETIONS.values()), OwnFile(MANUAL)]


def list_own_paths(places: Places) -> list[str]:
    """Return what --purge removes, as far as it is there: only what vpsmon is known to have made."""
    state = [places.state] if _is_own_state(places) and os.path.lexists(places.state) else []
    versions = filter(is_own_environment, glob(f"{escape(places.prefix)}/venv-*"))
    # The new one: of a run that was killed.
    links = filter(is_own_link, (f"{places.prefix}/venv", f"{places.prefix}/venv.new"))
    settings = filter(is_settings_file, (places.config, f"{places.config}.new"))
    return [*versions, *links, *settings, *state]


def _is_own_state(places: Places) -> bool:
    """A STATE_DIR elsewhere, or one without vpsmon's mark, may hold files of others: it is left to its owner."""
    is_ours = os.path.basename(places.state) == ".alerts" or is_below(places.state, (places.prefix,))
    return is_ours and not (os.path.isdir(places.state) and is_foreign(places.state))


def list_left(places: Places) -> list[str]:
    """Return what is still on the machine, with why or how to remove it."""
    left = list_own_paths(places)
    if not _is_own_state(places) and os.path.isdir(places.state):
        left.append(f"{places.state} (STATE_DIR)")
    with contextlib.suppress(InstallError):
        left += [f"the user {USER}"] if find_user() else []
    if not is_below(places.executable, (places.prefix,)) and os.path.exists(places.executable):
        left.append(f"{places.executable} (remove it with what installed it: pip or pipx)")
    left += [f"{path} (changes of yours to a unit)" for path in glob(f"{UNIT_FOLDER}/vps*.d")]
    return left


def purge(host: Host, places: Places, tell: Tell) -> None:
    """Remove the installation itself, state and configuration included. Raises InstallError, ReadError, OSError."""
    paths = list_own_paths(places)
    user = find_user()
    runtime_folder = find_runtime_folder(user.pw_uid) if user else None
    if remove_user(host):
        tell(f"removed the user {USER}")
    # The environment that runs this very program comes last: what Python has not read yet is gone with it.
    for path in sorted(paths, key=lambda path: os.path.basename(path).startswith("venv")):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        tell(f"removed {path}")
    if runtime_folder == OF_THE_UNITS:
        shutil.rmtree(runtime_folder)
    with contextlib.suppress(OSError):
        os.rmdir(places.prefix)
