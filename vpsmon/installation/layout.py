"""Where things are on this machine, and whether a service that is not root can live with that."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from vpsmon.config.load import find_prefix, load_config
from vpsmon.config.settings import DEFAULTS
from vpsmon.config.trust import USER
from vpsmon.installation.paths import HOMES, find_fault, is_below

UNIT_FOLDER = "/etc/systemd/system"
LINK = "/usr/local/bin/vpsmon"
_SHARED = "/usr/local/share"
MANUAL = f"{_SHARED}/man/man1/vpsmon.1"
COMPLETIONS = {
    "bash": f"{_SHARED}/bash-completion/completions/vpsmon",
    "zsh": f"{_SHARED}/zsh/site-functions/_vpsmon",
    "fish": "/etc/fish/completions/vpsmon.fish",  # the one below /usr/local/share is not looked into by default
}


class InstallError(Exception):
    """Why nothing can be installed, in one line that says how to mend it."""


class Places(NamedTuple):
    """The folders and files of one installation, all of them absolute."""

    prefix: str
    executable: str
    config: str
    state: str
    # ADDRESS:PORT of the metrics.
    listen: str
    # The services need something that lies in a home: their own program, or a disk that they watch.
    needs_homes: bool = False

    @property
    def template_values(self) -> dict[str, str]:
        """What stands for what in the templates of units/."""
        return {
            "PREFIX": self.prefix,
            "VPSMON": self.executable,
            "CONFIG": self.config,
            "STATE": self.state,
            "USER": USER,
            "LISTEN": self.listen,
            "PROTECT_HOME": "read-only" if self.needs_homes else "yes",
        }


def find_places(config_option: str | None) -> Places:
    """Return the places of this installation. Raises InstallError."""
    prefix = find_prefix()
    config = os.path.abspath(config_option or os.environ.get("VPSMON_CONFIG") or os.path.join(prefix, "monitor.conf"))
    state = os.path.join(os.path.dirname(config), ".alerts")
    executable = _find_executable(prefix)
    needs_homes = any(is_below(path, HOMES) for path in (*_list_program_paths(executable), __file__))
    return Places(prefix, executable, config, state, DEFAULTS.METRICS_LISTEN, needs_homes)


def follow_config(places: Places, environment: Mapping[str, str]) -> Places:
    """Return the places that monitor.conf, if it is there, and these variables name. Raises ConfigError.

    Not those of the environment at large, which the services do not have.
    """
    is_there = os.path.lexists(places.config)
    config = load_config(places.config if is_there else os.devnull, environment)
    state = config.state_directory if is_there or config.settings.STATE_DIR else places.state
    needs_homes = places.needs_homes or any(is_below(path, HOMES) for path in config.settings.DISK_PATHS)
    return places._replace(state=state, listen=config.settings.METRICS_LISTEN, needs_homes=needs_homes)


def _find_executable(prefix: str) -> str:
    """Return the command: by the link `venv` where there is one, which an upgrade turns to the new version."""
    linked = os.path.join(prefix, "venv")
    folder = linked if os.path.realpath(linked) == os.path.realpath(sys.prefix) else sys.prefix
    return os.path.join(folder, "bin", "vpsmon")


def require_fit(places: Places) -> None:
    """Raise InstallError where a unit could not name these paths, or the service could not use them."""
    faults = [find_fault(places.config), find_fault(places.state), find_fault(places.executable, is_written=False)]
    for fault in faults:
        if fault:
            raise InstallError(fault)
    for path in _list_program_paths(places.executable):
        barrier = _find_barrier(path)
        if barrier:
            raise InstallError(
                f"the user {USER} cannot reach {path} ({barrier} is closed to others): "
                "install with `sudo python3 install.py` or `pipx install --global`"
            )


def _list_program_paths(executable: str) -> list[str]:
    """Return where the parts of the program lie."""
    return list(dict.fromkeys((executable, os.path.realpath(sys.executable), sys.prefix, sys.base_prefix)))


def _find_barrier(path: str) -> str | None:
    """Return the folder on the way to a path that lets nobody but its owner through, if there is one."""
    folder = os.path.realpath(path)
    while folder != "/":
        if not os.path.exists(folder):
            raise InstallError(f"{folder} does not exist: install vpsmon with pip, pipx or install.py first")
        if not os.stat(folder).st_mode & 0o001:
            return folder
        folder = os.path.dirname(folder)
    return None
