"""Where the container engine listens: DOCKER_HOST, docker contexts, Docker's sockets, Podman's sockets.

Apart from the client, because most of the passes on a machine without an engine need no more than this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.stack.docker.socket_path import list_usual_sockets, parse_socket, read_choice

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

        with say_plainly("DOCKER_HOST"):
            options = kwargs_from_env(environment=dict(environment))
        return Endpoint(str(options["base_url"]), "DOCKER_HOST", options.get("tls"))
    if not name:
        return None
    from docker.context import ContextAPI

    with say_plainly(f"docker context {clean(name)}"):
        context = ContextAPI.get_context(name)
    if not context or not context.Host:
        raise ReadError(f"docker context {clean(name)} does not exist: docker context ls shows which do")
    return Endpoint(context.Host, f"docker context {clean(name)}", context.TLSConfig)


@contextmanager
def say_plainly(what: str) -> Iterator[None]:
    """Whatever the library says of a broken setting becomes one line that names the setting."""
    try:
        yield
    except Exception as error:
        raise ReadError(f"{what} cannot be used: {clean(str(error), 200)}") from None
