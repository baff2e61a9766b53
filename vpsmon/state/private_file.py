"""Files for their owner alone, also when root makes them: the services are another user."""

from __future__ import annotations

import os


def open_private(path: str, flags: int) -> int:
    """Open a file of the state directory, made where it is missing, and return its descriptor. Raises OSError.

    Root, working by hand, leaves it to the owner of the directory: the service is not root, and has to go on with it.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    # A file with a second name may be one of root's own that somebody linked here.
    if os.geteuid() == 0 and os.fstat(descriptor).st_nlink == 1:
        leave_to_owner(path)
    return descriptor


def leave_to_owner(path: str) -> None:
    """Give what root has made to the owner of the folder that it is in. Raises OSError."""
    if os.geteuid() == 0:
        folder, made = os.stat(os.path.dirname(path)), os.lstat(path)
        if made.st_uid == 0 != folder.st_uid:
            os.lchown(path, folder.st_uid, folder.st_gid)
