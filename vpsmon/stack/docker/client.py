"""A client of the container engine of this machine, and what its troubles mean in one line.

The `docker` library is imported only where it is needed to find or to reach the engine: see api.py.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vpsmon.core.findings import ReadError
from vpsmon.core.text import quote_foreign
from vpsmon.stack.docker.api import ApiError, Engine, UnixTransport
from vpsmon.stack.docker.endpoint import Endpoint, find_endpoint, say_plainly

TIMEOUT_SECONDS = 4.0


def connect(endpoint: Endpoint, timeout_seconds: float = TIMEOUT_SECONDS) -> Engine:
    """Return a client of the engine; nothing is sent yet. Raises ReadError for an address that makes no sense."""
    if endpoint.socket_path:
        return Engine(UnixTransport(endpoint.socket_path), timeout_seconds)
    from vpsmon.stack.docker.library import LibraryTransport

    with say_plainly(endpoint.source):
        return Engine(LibraryTransport(endpoint.url, endpoint.tls), timeout_seconds)


@contextmanager
def open_client(timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Engine]:
    """Give a client for the engine of this machine. Raises NotApplicable (there is none) or ReadError, also later."""
    endpoint = find_endpoint()
    client = connect(endpoint, timeout_seconds)
    try:
        with _explained(endpoint):
            yield client
    finally:
        client.close()


@contextmanager
def _explained(endpoint: Endpoint) -> Iterator[None]:
    """Turn what goes wrong inside into a ReadError of one line that says how to mend it."""
    try:
        yield
    except (ApiError, OSError) as error:
        raise ReadError(_explain(error, endpoint)) from None


def _explain(error: ApiError | OSError, endpoint: Endpoint) -> str:
    place = f"{endpoint.url} ({endpoint.source})"
    if isinstance(error, ApiError):
        return f"Docker at {place} refused: {quote_foreign(error.explanation)}"
    if isinstance(error, TimeoutError):
        return f"Docker at {place} does not answer in time: it hangs; systemctl restart docker, its log tells why"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Docker at {place} may not be used by this user: run as root, or add the user to the group docker"
    if error.errno == errno.EAGAIN:
        return f"Docker at {place} takes no more connections: it hangs; systemctl restart docker, its log tells why"
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return f"Docker at {place} is not running: systemctl start docker, its log tells why it ended"
    return f"Docker at {place} cannot be reached: {error.strerror or error}"
