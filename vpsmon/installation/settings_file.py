"""monitor.conf as the installer leaves it: made from the one that comes with vpsmon, or with single keys changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Mapping

from vpsmon.config.load import ConfigError, load_config
from vpsmon.installation.files import read_text, write_new
from vpsmon.installation.units import find_data

# Root's own: the services read it, and cannot change whom they obey.
_MODE = 0o640


def make_settings_file(path: str, group_id: int) -> bool:
    """Make monitor.conf where there is none, else only close it to others; return whether it was made.

    The group may read it. Raises OSError, also for a link that is not root's.
    """
    is_new = not os.path.lexists(path)
    if is_new:
        _replace(path, find_data("monitor.conf").read_text(encoding="utf-8"), _MODE, group_id)
    if os.path.islink(path) and os.lstat(path).st_uid == 0:
        path = os.path.realpath(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, 0, group_id)
        os.fchmod(descriptor, _MODE)
    finally:
        os.close(descriptor)
    return is_new


def is_settings_file(path: str) -> bool:
    """Return whether a file is vpsmon's: made from its own, or one that it can read; another program's is neither."""
    text = read_text(path)
    if text is None:
        return False
    if text.startswith(find_data("monitor.conf").read_text(encoding="utf-8").split(":")[0]):
        return True
    try:
        load_config(path, {})
    except ConfigError:
        return False
    return True


def write_keys(path: str, values: Mapping[str, str]) -> None:
    """Give keys of monitor.conf another value, each where it stands, or at the end. Raises OSError."""
    if not values:
        return
    path = os.path.realpath(path)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for key, value in values.items():
        line = f"{key}={json.dumps(value, ensure_ascii=False)}"
        # One that is in force rather than one in a comment.
        found = re.search(rf"(?m)^[ \t]*{key}[ \t]*=.*$", text) or re.search(rf"(?m)^#{key}=.*$", text)
        text = text[: found.start()] + line + text[found.end() :] if found else f"{text.rstrip()}\n{line}\n"
    facts = os.stat(path)
    _replace(path, text, stat.S_IMODE(facts.st_mode), facts.st_gid)


def _replace(path: str, text: str, mode: int, group_id: int) -> None:
    """Write the file so that it holds the old text or the new one, and never a secret that others can read."""
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    write_new(temporary, text, 0o600)
    os.chown(temporary, 0, group_id)
    os.chmod(temporary, mode)
    os.replace(temporary, path)
