"""monitor.conf as the installer leaves it: made from the one that comes with vpsmon, or with single keys changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping

from vpsmon.installation.files import write_new
from vpsmon.installation.units import find_data

_MODE = 0o600


def make_settings_file(path: str, owner_id: int, group_id: int) -> bool:
    """Make monitor.conf where there is none, else only close it to others; return whether it was made."""
    is_new = not os.path.lexists(path)
    if is_new:
        _replace(path, find_data("monitor.conf").read_text(encoding="utf-8"), owner_id, group_id)
    os.chown(path, owner_id, group_id)
    os.chmod(path, _MODE)
    return is_new


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
    owner = os.stat(path)
    _replace(path, text, owner.st_uid, owner.st_gid)


def _replace(path: str, text: str, owner_id: int, group_id: int) -> None:
    """Write the file so that it holds the old text or the new one, and never a secret that others can read."""
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    write_new(temporary, text, _MODE)
    os.chown(temporary, owner_id, group_id)
    os.replace(temporary, path)
