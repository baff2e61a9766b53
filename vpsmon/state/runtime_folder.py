"""A folder in memory that lives until the machine is switched off: for the state while its own disk is broken.

The units have /run/vpsmon (RuntimeDirectory=, preserved when they end). What is started by hand makes one: root below
/run, where nobody else can write; others in a folder that all users share, under a name that cannot be taken away from
them: one that somebody else has made is passed over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

OF_THE_UNITS = "/run/vpsmon"
_OF_ROOT = "/run/vpsmon-0"
# In this order: what lies in /dev/shm is removed by logind when its user has logged out (RemoveIPC= of logind.conf(5)).
_SHARED = ("/run/lock", "/dev/shm")  # noqa: S108


def name_runtime_folder(environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of the units' folder, whether it is there or not; systemd names it to them (systemd.exec(5))."""
    return environment.get("RUNTIME_DIRECTORY") or OF_THE_UNITS


def find_runtime_folder(owner_id: int) -> str | None:
    """Return the folder of a user if there is one: it belongs to this user and is open to nobody else."""
    return next((path for path in _list_candidates(owner_id) if _is_private(path, owner_id)), None)


def make_runtime_folder(owner_id: int) -> str:
    """Return the folder of a user, made where it is missing. Raises OSError with the last reason why it cannot be."""
    found = find_runtime_folder(owner_id)
    if found:
        return found
    if owner_id == 0:
        os.mkdir(_OF_ROOT, 0o700)
        return _OF_ROOT
    import tempfile  # with what it imports 3 ms, and hardly ever needed

    reason: OSError = FileNotFoundError(2, "No such file or directory")
    for shared in filter(_is_shared, _SHARED):
        try:
            return tempfile.mkdtemp(prefix=f"vpsmon-{owner_id}-", dir=shared)
        except OSError as error:
            reason = error
    raise reason


def _list_candidates(owner_id: int) -> Iterator[str]:
    yield name_runtime_folder()
    if owner_id == 0:
        yield _OF_ROOT
        return
    for shared in filter(_is_shared, _SHARED):
        prefix = f"vpsmon-{owner_id}-"
        yield from sorted(f"{shared}/{name}" for name in os.listdir(shared) if name.startswith(prefix))


def _is_shared(folder: str) -> bool:
    """Return whether everybody may make files in a folder and nobody can rename those of others."""
    try:
        return os.stat(folder).st_mode & 0o1003 == 0o1003
    except OSError:
        return False


def _is_private(folder: str, owner_id: int) -> bool:
    try:
        facts = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == owner_id and not facts.st_mode & 0o077
