"""Copies of the resident monitor: processes that do one piece of work and end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def fork(work: Callable[[], int], timeout_seconds: int = 60) -> int:
    """Start a copy that does the work and exits with the status it returns; return its process id. Raises OSError.

    The time is its whole life; every step of the work has a shorter limit of its own.
    """
    # A signal in between would find the parent's handlers in the copy, and be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        child_id = os.fork()
        if child_id == 0:
            _be_child(work, timeout_seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return child_id


def _be_child(work: Callable[[], int], timeout_seconds: int) -> None:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # Without a handler the alarm ends the process, also when it hangs in a library.
        signal.alarm(timeout_seconds)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        status = work()
    except BaseException:
        # It must not go on as a second resident monitor, whatever happens.
        sys.excepthook(*sys.exc_info())
    finally:
        # At once: a reader that still hangs in its thread must not delay the end or die with noise.
        os._exit(status)


def name_end(exit_status: int) -> str:
    """Return in words how a copy ended that a signal has ended; `exit_status` is the signal's number, negative."""
    if exit_status == -signal.SIGALRM:
        return "took too long and was ended"
    return f"was ended by signal {-exit_status}"
