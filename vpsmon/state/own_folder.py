"""Which folder vpsmon may take for its own, close to others, and delete: an empty one, or one that bears its mark."""

from __future__ import annotations

import os
import re
import stat

from vpsmon.state.private_file import opened_folder

MARK = ".vpsmon"
_TEXT = b"This folder belongs to vpsmon: it is closed to others, and `vpsmon uninstall --purge` removes it.\n"
# What a version without marks has left in its state directory.
_CORE = frozenset({"pass_state.json", "alert_state.json", "outbox.json", "recovery_state.json", "totals.json"})
_KNOWN = re.compile(
    r"(?:alert_state|pass_state|recovery_state|export_state|totals|outbox|commit)\.json(?:\.corrupt-.*)?"
    r"|(?:alert_history|recovery|history_\w+)\.log(?:\.1)?|(?:\w+\.)?lock|recovery_request|reports|mail|fonts|metrics"
    r"|\..*\.new"
)
# A disk of its own has this in it from the beginning.
_OF_THE_DISK = "lost+found"


def is_marked(folder: str) -> bool:
    """Return whether a folder bears vpsmon's mark, put there by the owner of the folder or by root."""
    try:
        owner, mark = os.stat(folder).st_uid, os.lstat(os.path.join(folder, MARK))
    except OSError:
        return False
    return stat.S_ISREG(mark.st_mode) and mark.st_uid in (0, owner)


def is_foreign(folder: str) -> bool:
    """Return whether a folder holds what is not vpsmon's. Raises OSError where it cannot be looked into."""
    if is_marked(folder):
        return False
    names = {name for name in os.listdir(folder) if name not in (MARK, _OF_THE_DISK)}
    return bool(names) and not _is_from_before(folder, names)


def mark(folder: str) -> None:
    """Put the mark into a folder. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with opened_folder(folder) as directory, open(os.open(MARK, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(_TEXT)


def _is_from_before(folder: str, names: set[str]) -> bool:
    """Return whether a version without marks has worked here, and no guest has only made it look so."""
    known = {name for name in names if _KNOWN.fullmatch(name)}
    if known != names and not ("lock" in known and known & _CORE):
        return False
    trusted = (0, os.stat(folder).st_uid)
    return all(os.lstat(os.path.join(folder, name)).st_uid in trusted for name in known)
