"""How much room a filesystem has (statvfs(3)).

One whose server is away, or whose program (FUSE) hangs, never answers: it is asked in a thread that nobody waits for.
"""

from __future__ import annotations

import errno
import os
import stat

# As in host.py: `threading` costs every pass 2 ms.
from _thread import allocate_lock, start_new_thread
from typing import NamedTuple

# A filesystem that is well answers in microseconds, one in a network in milliseconds.
_TIMEOUT_SECONDS = 1.0


class DiskSpace(NamedTuple):
    """The size of a filesystem in bytes and in inodes; what is available is what is left for users other than root.

    A filesystem that makes inodes as it needs them (btrfs) has none of a fixed number: both are 0.
    """

    total_bytes: int
    used_bytes: int
    available_bytes: int
    used_inodes: int = 0
    available_inodes: int = 0


def read_disk_space(path: str) -> DiskSpace:
    """Return the space of the filesystem that holds the path. Raises OSError, also where there is no answer in time."""
    if path == "/":
        return _read(path)  # where this one hangs, so does everything else
    answers: list[DiskSpace | Exception] = []
    is_pending = allocate_lock()
    is_pending.acquire()

    def work() -> None:
        try:
            answers.append(_read(path))
        except (OSError, ValueError) as error:
            answers.append(error)
        finally:
            is_pending.release()

    try:
        start_new_thread(work, ())
    except RuntimeError:
        raise BlockingIOError(errno.EAGAIN, "no thread to read it could be started: see ulimit -u, free") from None
    if not is_pending.acquire(timeout=_TIMEOUT_SECONDS):
        raise TimeoutError(errno.ETIMEDOUT, "it does not answer; is the server or program of this mount away?")
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


def _read(path: str) -> DiskSpace:
    """Return the space of a filesystem.

    Also where a sandbox hides the path (ProtectHome=yes of systemd): what can be seen instead, with no permission for
    anybody, lies on another filesystem.
    """
    if not stat.S_IMODE(os.stat(path).st_mode):
        raise PermissionError(errno.EACCES, "it is hidden from this service")
    space = os.statvfs(path)
    used_blocks = space.f_blocks - space.f_bfree
    return DiskSpace(
        total_bytes=space.f_blocks * space.f_frsize,
        used_bytes=used_blocks * space.f_frsize,
        available_bytes=space.f_bavail * space.f_frsize,
        used_inodes=space.f_files - space.f_ffree,
        available_inodes=space.f_favail,
    )
