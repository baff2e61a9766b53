"""What wakes the resident monitor between two passes: the kernel's pressure trigger, OOM kills in the kernel log, and a
container that is started, ends, or becomes unhealthy.

A bell only says that it is worth looking now; what happened is read by the checks. Where the kernel does not give one,
the interval remains.

Formats: Documentation/accounting/psi.rst ("Monitoring for pressure thresholds"); Documentation/ABI/testing/dev-kmsg;
`GET /events` of the Docker Engine API.
"""

from __future__ import annotations

# What `socket` adds to it is half a megabyte of enumerations, for as long as the monitor lives.
import _socket as socket
import contextlib
import errno
import os
import select

from vpsmon.stack.docker.socket_path import START_EVENT

# Rings when some tasks waited for memory for 150 of 2000 ms, at most once in 2000 ms. A window that is a multiple of
# 2 s needs no privilege since Linux 6.4; before, CAP_SYS_RESOURCE. The kernel replaces the last byte by a NUL: without
# the newline that would be a digit.
_TRIGGER = b"some 150000 2000000\n"
_LARGEST_RECORD_BYTES = 8192
_OOM_WORDS = b"Killed process"
# Some machines log every refused packet: they wake the watcher five times a second, and no more.
_PAUSE_SECONDS = 0.2
_MOST_RECORDS = 5000
# {"type":["container"],"event":["start","die","health_status"]}
_WATCH_CONTAINERS = (
    b"GET /events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C"
    b"%22event%22%3A%5B%22start%22%2C%22die%22%2C%22health_status%22%5D%7D HTTP/1.1\r\nHost: docker\r\n\r\n"
)
# A container that loops is started again and again, and `docker compose up` starts many.
_PAUSE_AFTER_EVENT_SECONDS = 5.0
_MOST_EVENT_BYTES = 65_536


class PressureWakeup:
    """Rings when tasks begin to wait for memory."""

    poll_mask = select.POLLPRI
    is_deaf_until = 0.0

    def __init__(self, path: str = "/proc/pressure/memory") -> None:
        """Raises OSError where the kernel has no pressure triggers, or not for this user."""
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(self.descriptor, _TRIGGER)
        except OSError:
            os.close(self.descriptor)
            raise

    def has_rung(self, now: float) -> bool:
        """Return whether there is something to look at: the event itself says so."""
        return True


class KernelLogWakeup:
    """Rings when the OOM killer has written whom it killed."""

    poll_mask = select.POLLIN
    # Seconds of the monotonic clock.
    is_deaf_until = 0.0

    def __init__(self, path: str = "/dev/kmsg") -> None:
        """Raises OSError where the kernel log may not be read."""
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.lseek(self.descriptor, 0, os.SEEK_END)
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                if not os.read(self.descriptor, _LARGEST_RECORD_BYTES):
                    # A container may have /dev/null in its place, which would ring without end.
                    raise OSError(errno.ENODEV, "it is empty")
        except OSError:
            os.close(self.descriptor)
            raise

    def has_rung(self, now: float) -> bool:
        """Read what is new and return whether a kill is among it."""
        self.is_deaf_until = now + _PAUSE_SECONDS
        is_kill = False
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(self.descriptor, _LARGEST_RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # Records were overwritten before they were read; a kill may have been among them.
                is_kill = True
                continue
            if not record:
                break
            is_kill = is_kill or _OOM_WORDS in record
        return is_kill


class EngineWakeup:
    """Rings when something becomes of a container.

    What was started is worth noting at once: on a machine that thrashes the engine may be silent before the next pass.
    """

    poll_mask = select.POLLIN
    is_deaf_until = 0.0

    def __init__(self, path: str) -> None:
        """Raises OSError where no engine takes connections there."""
        kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._connection = socket.socket(socket.AF_UNIX, kind)
        try:
            self._connection.connect(path)
            self._connection.send(_WATCH_CONTAINERS)
        except OSError:
            self._connection.close()
            raise
        self.descriptor = self._connection.fileno()
        self._has_answered = False
        self.is_broken = False
        # What the engine said last.
        self.events = b""

    def has_rung(self, now: float) -> bool:
        """Read what is new and return whether it tells of a container; `is_broken` says that no more will come."""
        try:
            data = self._connection.recv(_MOST_EVENT_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.is_broken = True
            self._connection.close()
            return False
        # First comes the head of the answer.
        is_event = self._has_answered
        self._has_answered = True
        if is_event:
            self.events = data
            self.is_deaf_until = now + _PAUSE_AFTER_EVENT_SECONDS
        return is_event

    @property
    def is_start(self) -> bool:
        """Return whether a start is among the latest events."""
        return START_EVENT in self.events


Wakeup = PressureWakeup | KernelLogWakeup | EngineWakeup


def explain_silence(error: OSError, what: str) -> str:
    """Return why a bell is missing, and what follows."""
    reasons = {
        errno.ENOENT: "this kernel does not have it",
        errno.EOPNOTSUPP: "it is switched off (boot with psi=1)",
        errno.EPERM: "this kernel gives it to root only (any user: Linux 6.4)",
        errno.EACCES: "this user may not use it",
    }
    reason = reasons.get(error.errno or 0) or error.strerror
    return f"the kernel does not wake vpsmon for {what}: {reason}; it is noticed at the interval"
