"""The readiness protocol of systemd, sd_notify(3): a datagram to $NOTIFY_SOCKET. Nothing where that is not set."""

from __future__ import annotations

# What `socket` adds to it is half a megabyte of enumerations, for as long as the monitor lives.
import _socket as socket
import contextlib
import os
from collections.abc import Mapping


class Notifier:
    """Tells systemd how the service does; every failure is ignored, because the service goes on without systemd."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _parse_watchdog(environment)

    def send(self, message: str) -> None:
        """Send assignments such as `READY=1` or `STATUS=text`, one a line."""
        if not self._address:
            return
        with contextlib.suppress(OSError):
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            connection = socket.socket(socket.AF_UNIX, kind)
            try:
                connection.sendto(message.encode("utf-8", "replace"), self._address)
            finally:
                connection.close()


def _parse_watchdog(environment: Mapping[str, str]) -> float | None:
    """Return the seconds within which systemd wants a sign of life, or None where it wants none."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_for_us = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
    return int(microseconds) / 1e6 if is_for_us and microseconds.isdecimal() and int(microseconds) else None
