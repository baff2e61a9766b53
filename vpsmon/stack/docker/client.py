"""How to reach the container engine: DOCKER_HOST, docker contexts, Docker's sockets, Podman's sockets.

The `docker` library is imported only where it is needed to find or to reach the engine: see docker_api.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.stack.docker.api import ApiError, Engine, UnixTransport
from vpsmon.stack.docker.socket_path import list_usual_sockets, parse_socket, read_choice

TIMEOUT_SECONDS = 4.0
_NO_ENGINE = "start Docker (systemctl start docker), or set DOCKER_HOST to where the engine listens"


class Endpoint(NamedTuple):
    """Where an engine listens, how that is known, and the TLS configuration of the docker library, if any."""

    url: str
    source: str
    tls: Any = None

    @property
    def socket_path(self) -> str | None:
        """The file of a Unix socket; None for another kind of address."""
        return parse_socket(self.url)


def find_endpoint(
    environment: Mapping[str, str] | None = None, exists: Callable[[str], bool] = os.path.exists
) -> Endpoint:
    """Return where the engine listens, as the docker command finds it, then Podman. Raises NotApplicable, ReadError."""
    environment = os.environ if environment is None else environment
    explicit = _find_explicit(environment)
    if explicit:
        if explicit.socket_path and not exists(explicit.socket_path):
            raise NotApplicable(f"no Docker engine at {explicit.url} ({explicit.source}): {_NO_ENGINE}")
        return explicit
    paths = list(list_usual_sockets(environment))
    for path in paths:
        if exists(path):
            return Endpoint(f"unix://{path}", "the usual socket")
    raise NotApplicable(f"no Docker engine on this machine (no {', no '.join(paths)}): {_NO_ENGINE}")


def _find_explicit(environment: Mapping[str, str]) -> Endpoint | None:
    """Return what DOCKER_HOST or a docker context says, in the order of the docker command; None for neither."""
    address, name = read_choice(environment)
    if address.startswith("unix://"):
        return Endpoint(address, "DOCKER_HOST")
    if address:
        from docker.utils import kwargs_from_env

        with _told_plainly("DOCKER_HOST"):
            options = kwargs_from_env(environment=dict(environment))
        return Endpoint(str(options["base_url"]), "DOCKER_HOST", options.get("tls"))
    if not name:
        return None
    from docker.context import ContextAPI

    with _told_plainly(f"docker context {clean(name)}"):
        context = ContextAPI.get_context(name)
    if not context or not context.Host:
        raise ReadError(f"docker context {clean(name)} does not exist: docker context ls shows which do")
    return Endpoint(context.Host, f"docker context {clean(name)}", context.TLSConfig)


def connect(endpoint: Endpoint, timeout_seconds: float = TIMEOUT_SECONDS) -> Engine:
    """Return a client of the engine; nothing is sent yet. Raises ReadError for an address that makes no sense."""
    if endpoint.socket_path:
        return Engine(UnixTransport(endpoint.socket_path), timeout_seconds)
    from vpsmon.stack.docker.library import LibraryTransport

    with _told_plainly(endpoint.source):
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


@contextmanager
def _told_plainly(what: str) -> Iterator[None]:
    """Whatever the library says of a broken setting becomes one line that names the setting."""
    try:
        yield
    except Exception as error:
        raise ReadError(f"{what} cannot be used: {clean(str(error), 200)}") from None


def _explain(error: ApiError | OSError, endpoint: Endpoint) -> str:
    place = f"{endpoint.url} ({endpoint.source})"
    if isinstance(error, ApiError):
        return f"Docker at {place} refused: {clean(error.explanation, 200)}"
    if isinstance(error, TimeoutError):
        return f"Docker at {place} does not answer in time: it hangs; systemctl restart docker, its log tells why"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Docker at {place} may not be used by this user: run as root, or add the user to the group docker"
    if error.errno == errno.EAGAIN:
        return f"Docker at {place} takes no more connections: it hangs; systemctl restart docker, its log tells why"
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return f"Docker at {place} is not running: systemctl start docker, its log tells why it ended"
    return f"Docker at {place} cannot be reached: {error.strerror or error}"
