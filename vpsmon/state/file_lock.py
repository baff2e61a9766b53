"""Waiting for a lock on an open file; it ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import time

_PAUSE_SECONDS = 0.02


def wait_for_lock(descriptor: int, timeout_seconds: float) -> bool:
    """Take the lock and return whether it could be had in time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
