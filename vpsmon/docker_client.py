"""How to reach the container engine: DOCKER_HOST, docker contexts, Docker's sockets, Podman's sockets.

The `docker` library (90 ms to import) is imported only when there is an endpoint to talk to.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.findings import NotApplicable, ReadError
from vpsmon.text import clean

if TYPE_CHECKING:
    import docker

TIMEOUT_SECONDS = 4.0
# Every daemon answers /_ping whatever version the client has in mind, and says in it which version it speaks itself.
# There is no version that all take: Docker 20.10 speaks up to 1.41, Docker 29 from 1.44 on.
_VERSION_BEFORE_PING = "1.41"
_NO_ENGINE = "start Docker (systemctl start docker), or set DOCKER_HOST to where the engine listens"


class Endpoint(NamedTuple):
    """Where an engine listens, how that is known, and the TLS configuration of the docker library, if any."""

    url: str
    source: str
    tls: Any = None

    @property
    def socket_path(self) -> str | None:
        """The file of a Unix socket; None for another kind of address."""
        for prefix in ("http+unix://", "unix://"):
            if self.url.startswith(prefix):
                return "/" + self.url[len(prefix) :].lstrip("/")
        return None


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
    paths = list(_list_usual_sockets(environment))
    for path in paths:
        if exists(path):
            return Endpoint(f"unix://{path}", "the usual socket")
    raise NotApplicable(f"no Docker engine on this machine (no {', no '.join(paths)}): {_NO_ENGINE}")


def _list_usual_sockets(environment: Mapping[str, str]) -> Iterator[str]:
    runtime = environment.get("XDG_RUNTIME_DIR", "").rstrip("/")
    yield "/var/run/docker.sock"
    if runtime:
        yield f"{runtime}/docker.sock"
    yield "/run/podman/podman.sock"
    if runtime:
        yield f"{runtime}/podman/podman.sock"


def _find_explicit(environment: Mapping[str, str]) -> Endpoint | None:
    """Return what DOCKER_HOST or a docker context says, in the order of the docker command; None for neither."""
    if environment.get("DOCKER_HOST"):
        from docker.utils import kwargs_from_env

        with _told_plainly("DOCKER_HOST"):
            options = kwargs_from_env(environment=dict(environment))
        return Endpoint(str(options["base_url"]), "DOCKER_HOST", options.get("tls"))
    name = environment.get("DOCKER_CONTEXT") or _read_current_context(environment)
    if not name or name == "default":
        return None
    from docker.context import ContextAPI

    with _told_plainly(f"docker context {clean(name)}"):
        context = ContextAPI.get_context(name)
    if not context or not context.Host:
        raise ReadError(f"docker context {clean(name)} does not exist: docker context ls shows which do")
    return Endpoint(context.Host, f"docker context {clean(name)}", context.TLSConfig)


def _read_current_context(environment: Mapping[str, str]) -> str:
    """Return the context that `docker context use` chose; without the library, which most machines need not load."""
    import json

    folder = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME") or "/root", ".docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            name = json.load(file).get("currentContext")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def connect(endpoint: Endpoint, timeout_seconds: float = TIMEOUT_SECONDS) -> docker.APIClient:
    """Return a client that speaks the engine's own version of the API. Raises ReadError, within the timeout."""
    import docker

    with _told_plainly(endpoint.source):
        client = _make_client(docker.APIClient, endpoint, _VERSION_BEFORE_PING, timeout_seconds)
    with _explained(endpoint):
        version = client.get(f"{client.base_url}/_ping", timeout=timeout_seconds).headers.get("Api-Version")
        if version and version != _VERSION_BEFORE_PING:
            client.close()
            client = _make_client(docker.APIClient, endpoint, version, timeout_seconds)
    return client


@contextmanager
def open_client(timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[docker.APIClient]:
    """Give a client for the engine of this machine. Raises NotApplicable (there is none) or ReadError, also later."""
    endpoint = find_endpoint()
    client = connect(endpoint, timeout_seconds)
    try:
        with _explained(endpoint):
            yield client
    finally:
        client.close()


def _make_client(
    client_type: type[docker.APIClient], endpoint: Endpoint, version: str, timeout_seconds: float
) -> docker.APIClient:
    client = client_type(
        base_url=endpoint.url,
        version=version,
        timeout=timeout_seconds,  # type: ignore[arg-type]  # a float is as good, and what requests takes
        tls=endpoint.tls or False,
    )
    # Without this, every single request looks through the environment for proxies, and for a ~/.netrc.
    client.trust_env = False
    return client


@contextmanager
def _explained(endpoint: Endpoint) -> Iterator[None]:
    """Turn what the docker library raises inside into a ReadError of one line that says how to mend it."""
    import docker.errors
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise ReadError(_explain(error, endpoint)) from None


@contextmanager
def _told_plainly(what: str) -> Iterator[None]:
    """Whatever the library says of a broken setting becomes one line that names the setting."""
    try:
        yield
    except Exception as error:
        raise ReadError(f"{what} cannot be used: {clean(str(error), 200)}") from None


def _explain(error: Exception, endpoint: Endpoint) -> str:
    import docker.errors
    import requests

    place = f"{endpoint.url} ({endpoint.source})"
    cause = _find_os_error(error)
    if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
        return f"Docker at {place} does not answer in time: it hangs; systemctl restart docker, its log tells why"
    if isinstance(error, docker.errors.APIError):
        return f"Docker at {place} refused: {clean(str(error.explanation or error), 200)}"
    if cause is None:
        return f"Docker at {place} cannot be reached: {type(error).__name__}; is the address right?"
    if cause.errno in (errno.EACCES, errno.EPERM):
        return f"Docker at {place} may not be used by this user: run as root, or add the user to the group docker"
    if cause.errno == errno.EAGAIN:
        return f"Docker at {place} takes no more connections: it hangs; systemctl restart docker, its log tells why"
    if cause.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return f"Docker at {place} is not running: systemctl start docker, its log tells why it ended"
    return f"Docker at {place} cannot be reached: {cause.strerror or type(cause).__name__}"


def _find_os_error(error: BaseException | None) -> OSError | None:
    """Return the error of the operating system below those of requests (itself an OSError) and urllib3."""
    for _ in range(10):
        if error is None:
            return None
        if isinstance(error, OSError) and (error.errno is not None or isinstance(error, TimeoutError)):
            return error
        inner = [each for each in error.args if isinstance(each, BaseException)]
        error = inner[0] if inner else error.__cause__ or error.__context__
    return None
