"""Ending a container by signals to its first process, as its engine would do it: for an engine that does not answer."""

from __future__ import annotations

import os
import select
import signal

from vpsmon.core.findings import ReadError
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.docker.remembered import is_in_container
from vpsmon.system.host import Host

# A killed process gives its memory back before it has ended; on a machine that thrashes that takes a while.
_KILLED_SECONDS = 30


def end_first_process(host: Host, container: Container, grace_seconds: int) -> None:
    """Send the container's stop signal, and SIGKILL where it has not ended in time.

    All other processes of the container end with its first one (pid_namespaces(7)). Nothing where it has ended. Raises
    ReadError where it may not be done.
    """
    try:
        descriptor = os.pidfd_open(container.pid)
    except ProcessLookupError:
        return
    except OSError as error:
        raise ReadError(f"its process {container.pid} cannot be reached: {error.strerror}") from None
    try:
        # From here on the number cannot become another process's unnoticed.
        if not is_in_container(host, container.pid, container.id):
            return
        for number, seconds in ((_find_stop_signal(container), grace_seconds), (signal.SIGKILL, _KILLED_SECONDS)):
            signal.pidfd_send_signal(descriptor, number)
            if _has_ended(descriptor, seconds):
                return
    except ProcessLookupError:
        return
    except OSError as error:
        raise ReadError(f"its process {container.pid} may not be ended: {error.strerror}") from None
    finally:
        os.close(descriptor)
    raise ReadError(f"its process {container.pid} has not ended {_KILLED_SECONDS} s after SIGKILL")


def _has_ended(descriptor: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _find_stop_signal(container: Container) -> int:
    """Return the signal by name (`SIGINT`, `INT`), by number, or SIGTERM, which is what engines send."""
    text = container.stop_signal.upper()
    if text.isdecimal() and text.isascii() and 0 < int(text) < signal.NSIG:
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    return int(signal.Signals.__members__.get(name, signal.SIGTERM))
