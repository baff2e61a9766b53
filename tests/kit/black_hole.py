"""An address that swallows every packet: a port of loopback with a full queue, so that the kernel drops what comes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# One more than a queue of length 0 takes, and one for the kernel's rounding.
_FILLING = 3


@contextmanager
def black_hole() -> Iterator[int]:
    """Give a port of 127.0.0.1 at which connecting neither succeeds nor fails."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(_FILLING):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
