"""One run at a time changes the units of this machine, wherever its own program and configuration are."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from vpsmon.installation.layout import UNIT_FOLDER
from vpsmon.system.log import say


@contextlib.contextmanager
def locked_units() -> Iterator[None]:
    """Hold the units for as long as the context lasts; waits for another run that holds them.

    The lock is on the folder itself, so it leaves no file, and ends with the process however that ends. install.py
    waits for this run with another one, on the folder of the program, that it took before.
    """
    try:
        descriptor = os.open(UNIT_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield  # no systemd, no units: there is nothing to hold
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("info", "waiting for another installation on this machine")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
