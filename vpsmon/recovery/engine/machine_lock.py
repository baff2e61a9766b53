"""One recovery at a time on a machine, whatever installations there are and whoever runs them.

The lock is an abstract Unix socket (unix(7)): it needs no folder that all of them can write to, leaves nothing behind,
and ends with its process. Any user of the machine could take the name, so whoever holds it is asked who it is: nobody
but root, the services, and those who may use Docker has a recovery to run.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import struct
import time
from collections.abc import Iterator

from vpsmon.config.trust import USER
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.stack.docker.endpoint import find_endpoint
from vpsmon.state.runtime_folder import name_runtime_folder
from vpsmon.system.log import say

# Between bind(2) and listen(2) the rightful holder cannot be asked; that takes microseconds.
_TRIES = 10
_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def machine_lock() -> Iterator[bool]:
    """Give True to the only recovery of this machine, False where another one runs."""
    # The folder of the units stands in it: who runs with another one, as a test does, is another machine.
    address = f"\0{name_runtime_folder()}/recovery"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as lock:
        for _ in range(_TRIES):
            with contextlib.suppress(OSError):
                lock.bind(address)
                lock.listen()
                break
            holder = _find_holder(address)
            if holder in _list_trusted():
                yield False
                return
            if holder is not None:
                break
            time.sleep(_PAUSE_SECONDS)
        # Two recoveries at once are bad; none, because some user of the machine wants it so, is worse.
        if lock.getsockname() != address.encode():
            say("warning", "somebody without a right to it holds the name of the recovery lock: ignored")
        yield True


def _find_holder(address: str) -> int | None:
    """Return the user id of whoever holds the lock; None where nobody answers to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as caller:
        # Or one with a full queue would hold us as well.
        caller.setblocking(False)
        try:
            caller.connect(address)
            credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    return int(struct.unpack("3i", credentials)[1])


def _list_trusted() -> set[int]:
    """Return the ids of the users who may run a recovery."""
    names = {USER}
    with contextlib.suppress(NotApplicable, ReadError, OSError, KeyError):
        path = find_endpoint().socket_path
        names |= set(grp.getgrgid(os.stat(path).st_gid).gr_mem) if path else set()
    trusted = {0, os.geteuid()}
    for name in names:
        with contextlib.suppress(KeyError):
            trusted.add(pwd.getpwnam(name).pw_uid)
    return trusted
