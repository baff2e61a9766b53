"""Opening what lies in the state directory: never through a link that somebody may have put in its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def open_private(path: str, flags: int) -> int:
    """Open a file, made for its owner alone where it is missing, and return its descriptor. Raises OSError."""
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_plain(path: str, flags: int) -> int:
    """Open what is there, for `opener=`, unless it is a link. Raises OSError."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)


@contextlib.contextmanager
def opened_folder(path: str) -> Iterator[int]:
    """Give a descriptor of a folder that is no link, for `dir_fd=`. Raises OSError.

    What is done below the descriptor happens in this folder, whatever its name is made to mean meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
