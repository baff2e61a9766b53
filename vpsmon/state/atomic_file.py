"""Replacing a file so that after a crash it holds either the old content or the new one."""

from __future__ import annotations

import contextlib
import os

from vpsmon.state.private_file import opened_folder


def replace_file(path: str, content: bytes, mode: int = 0o600, syncs: bool = True) -> None:
    """Write a file beside the old one, and put it in its place. Raises OSError, also where its folder is a link.

    Without `syncs` only the end of this process does it no harm, not that of the machine.
    """
    folder, _, name = path.rpartition("/")
    temporary = f".{name}.new"
    with opened_folder(folder) as directory:
        try:
            _write_new(temporary, directory, content, mode, syncs)
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        if syncs:
            os.fsync(directory)


def _write_new(name: str, directory: int, content: bytes, mode: int, syncs: bool) -> None:
    flags = os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if syncs:
            os.fsync(file.fileno())


def sync_directory(path: str) -> None:
    """Wait until the disk knows which files a directory holds. Raises OSError."""
    with opened_folder(path) as descriptor:
        os.fsync(descriptor)
