"""`vpsmon install`: user, configuration, units, link, completions and manual, each only where it is not there yet.

Everything is looked at before anything is changed, and every step can be done again: after a run that was killed
anywhere, the next one finishes the work.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Callable, Sequence
from glob import glob

import click

from vpsmon.config.trust import USER
from vpsmon.core.findings import ReadError
from vpsmon.installation import systemctl
from vpsmon.installation.account import allow_docker, allow_journal, find_user, make_user
from vpsmon.installation.completion import make_completions
from vpsmon.installation.files import OwnFile, describe_change, is_marked, remove, require_ours, write
from vpsmon.installation.layout import LINK, UNIT_FOLDER, InstallError, Places, require_fit
from vpsmon.installation.manual import make_manual
from vpsmon.installation.paths import is_below
from vpsmon.installation.settings_file import make_settings_file
from vpsmon.installation.units import is_started, name_of, render_units
from vpsmon.state.own_folder import is_foreign, mark
from vpsmon.system.host import Host

MONITOR = "vps-monitor.service"
# What is assumed of a machine without systemd, for a look at the units: that of Debian 12.
_USUAL_SYSTEMD_VERSION = 252
# The exit status of systemctl and its like, where a unit does not start, is no more than 1; its journal knows why.
_WHY = "see why with: journalctl --unit {}"

Tell = Callable[[str], None]


def plan_units(host: Host, places: Places) -> list[OwnFile]:
    """Return the units for this machine. Raises ReadError."""
    version = systemctl.read_version(host) if systemctl.is_running() else _USUAL_SYSTEMD_VERSION
    return render_units(places, version)


def plan_tools(places: Places, main: click.Group) -> list[OwnFile]:
    """Return the link, the completions and the manual of the command line `main`."""
    return [*plan_link(places), *make_completions(main), make_manual(main, places)]


def plan_link(places: Places) -> list[OwnFile]:
    """Return the link to the command, where the command lies below the prefix: pip and pipx have their own place."""
    return [OwnFile(LINK, link=places.executable)] if is_below(places.executable, (places.prefix,)) else []


def preview(host: Host, places: Places, tools: Sequence[OwnFile]) -> str:
    """Return what installing would write, as a diff. Raises ReadError."""
    changes = [describe_change(file) for file in (*plan_units(host, places), *tools)]
    return "".join(changes) or "nothing would change"


def require_machine(places: Places) -> None:
    """Raise InstallError where nothing can be installed at all: not by root, or without systemd."""
    if os.geteuid() != 0:
        raise InstallError(f"only root can install: sudo {places.executable} install")
    if not systemctl.is_running():
        raise InstallError("systemd does not run this machine: start `vpsmon monitor` by what does, as any user")


def require_installable(host: Host, places: Places, units: Sequence[OwnFile], tools: Sequence[OwnFile]) -> None:
    """Raise InstallError or ReadError for whatever else stands in the way; nothing is changed before that."""
    require_fit(places)
    require_own_folder(places.state)
    find_user()
    for file in (*units, *tools):
        require_ours(file)
    faults = systemctl.verify(host, units)
    if faults:
        raise InstallError("; ".join(faults))


def prepare_account(host: Host, places: Places, tell: Tell) -> None:
    """Make the user, monitor.conf and the state directory, and let the user have them. Raises ReadError, OSError."""
    os.makedirs(places.prefix, 0o755, exist_ok=True)
    user = make_user(host, places.prefix)
    group = allow_docker(host)
    allow_journal(host)
    tell(f"user {USER}, " + (f"in group {group}" if group else "without Docker: install again when Docker is there"))
    os.makedirs(os.path.dirname(places.config), exist_ok=True)
    made = make_settings_file(places.config, user.pw_gid)
    tell(f"{places.config} {'made' if made else 'kept'}")
    os.makedirs(places.state, 0o700, exist_ok=True)
    state = os.path.realpath(places.state)
    mark(state)
    _give(state, user.pw_uid, user.pw_gid)


def require_own_folder(folder: str) -> None:
    """Raise InstallError where the state directory is one that others use: it is given to the user of the services."""
    if os.path.islink(folder) and os.lstat(folder).st_uid != 0:
        raise InstallError(f"{folder} is a link that is not root's: set STATE_DIR to the folder itself")
    if os.path.isdir(folder) and is_foreign(folder):
        raise InstallError(f"{folder} holds files of others: give vpsmon a folder of its own with STATE_DIR")


def _give(folder: str, user_id: int, group_id: int) -> None:
    """Give a folder and all that is in it to a user; what root has left there by hand included.

    The user may be at work in it: everything is named from its open folder, and a file with a second name, which may be
    one of root's own that was linked here, stays whose it is.
    """
    for _, _, files, directory in os.fwalk(folder):
        os.fchown(directory, user_id, group_id)
        for name in files:
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_nlink == 1:
                os.chown(name, user_id, group_id, dir_fd=directory, follow_symlinks=False)


def write_files(places: Places, files: Sequence[OwnFile], tell: Tell) -> None:
    """Write what is not there yet. Raises OSError."""
    for file in files:
        if write(file, places.prefix):
            tell(f"wrote {file.path}")


def start_units(host: Host, units: Sequence[OwnFile], known: set[str], tell: Tell) -> None:
    """Have systemd run the units as they are now. Raises ReadError, InstallError.

    `known` are the paths of the units that were there before. What is unchanged is started anew as well: a run that was
    killed may have written it and never started it.
    """
    started = [name_of(unit) for unit in units if is_started(unit)]
    # The monitor is the last to be enabled: where it is, an earlier install was finished, and its owner knew better.
    names = [*(name for name in started if name != MONITOR), MONITOR]
    states = {state.name: state for state in systemctl.read_states(host, names)}
    was_finished = states[MONITOR].enabled == "enabled"
    may_be_off = known if was_finished else set()
    off = [name for name in names if f"{UNIT_FOLDER}/{name}" in may_be_off and states[name].enabled == "disabled"]
    on = [name for name in names if name not in off]
    _drop_stale_units(host, units)
    systemctl.call(host, "daemon-reload")
    systemctl.call(host, "enable", *on)
    for name in on:
        _restart(host, name)
    tell(f"started: {', '.join(on)}")
    for name in off:
        tell(f"{name} stays off")


def _restart(host: Host, name: str) -> None:
    # Or systemd refuses one that was started five times within 10 s, by runs that were killed. It may not know it yet.
    with contextlib.suppress(ReadError):
        systemctl.call(host, "reset-failed", name)
    try:
        systemctl.call(host, "restart", name)
    except ReadError as error:
        raise InstallError(f"{name} does not start ({error}); {_WHY.format(name)}") from None


def _drop_stale_units(host: Host, units: Sequence[OwnFile]) -> None:
    """Remove the units of an older version that this one has no more."""
    current = {unit.path for unit in units}
    for unit in list_installed_units():
        if unit.path not in current:
            stop_units(host, [name_of(unit)])
            remove(unit)


def stop_units(host: Host, names: Sequence[str]) -> None:
    """Stop and disable units, and let systemd forget what failed and when a timer ran last. Raises ReadError."""
    # The slice is last: stopping it would kill what stops in order. Of a template, the instances are stopped.
    ordered = sorted(names, key=lambda name: name.endswith(".slice"))
    systemctl.call(host, "stop", *(name.replace("@.", "@*.") for name in ordered))
    enabled = [name for name in ordered if "@." not in name]
    if enabled:
        systemctl.call(host, "disable", *enabled)
    for words in (["reset-failed", *enabled], ["clean", "--what=state", *fnmatch.filter(enabled, "*.timer")]):
        # Refused where there is nothing to forget.
        with contextlib.suppress(ReadError):
            systemctl.call(host, *words)


def list_installed_units() -> list[OwnFile]:
    """Return the units on this machine that vpsmon has written."""
    return [OwnFile(path) for path in sorted(glob(f"{UNIT_FOLDER}/vps*.*")) if is_marked(path)]
