"""Replacing a file so that after a crash it holds either the old content or the new one."""

from __future__ import annotations

import contextlib
import os

from vpsmon.state.private_file import open_private


def replace_file(path: str, content: bytes, mode: int = 0o600, syncs: bool = True) -> None:
    """Write a file beside the old one, and put it in its place. Raises OSError.

    Without `syncs` only the end of this process does it no harm, not that of the machine.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.new"
    descriptor = open_private(temporary, os.O_WRONLY | os.O_TRUNC)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            if syncs:
                os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if syncs:
        sync_directory(folder)


def sync_directory(path: str) -> None:
    """Wait until the disk knows which files a directory holds. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
