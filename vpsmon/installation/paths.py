"""Which paths a unit can name and a sandboxed service can use. Standard library only: install.py asks this as well."""

from __future__ import annotations

import os
import re

# Quotes, backslashes and line ends would need another escape in each setting of a unit; % and $ are expanded there.
_UNFIT = re.compile(r"""["'\\%$\x00-\x1f\x7f]""")
# In an environment that vpsmon makes, from the beginning; one of a version from before has its stamp and its command.
MARK = ".vpsmon"
HOMES = ("/root", "/home", "/run/user")


def find_fault(path: str, is_written: bool = True) -> str | None:
    """Return why the services could not use this path, for writing or only for reading; None where they can."""
    if _UNFIT.search(path):
        return f"{path!r} holds a character that no unit can name: use a path of letters and spaces"
    if is_written and is_below(path, HOMES):
        return f"{path} is in a home, where the services may not write: use one below /opt, /etc or /srv"
    return None


def is_below(path: str, folders: tuple[str, ...]) -> bool:
    """Return whether a path is one of these folders or lies in one."""
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def is_own_environment(path: str) -> bool:
    """Return whether a folder is an environment that vpsmon has made, finished or not; nothing else is deleted."""
    if os.path.islink(path):
        return False
    is_finished = all(os.path.isfile(os.path.join(path, name)) for name in ("installed", "bin/vpsmon"))
    return is_finished or os.path.isfile(os.path.join(path, MARK))


def is_own_link(path: str) -> bool:
    """Return whether a link leads to an environment of vpsmon beside it, or to one that is gone."""
    if not os.path.islink(path):
        return False
    target = os.readlink(path)
    full = os.path.join(os.path.dirname(path), target)
    return "/" not in target and target.startswith("venv-") and (is_own_environment(full) or not os.path.lexists(full))
