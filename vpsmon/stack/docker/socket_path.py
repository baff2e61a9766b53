"""Where a container engine of this machine listens, as the docker command finds it, then Docker's and Podman's sockets.

And a word of what it tells there. The resident monitor imports this, and nothing else of the stack.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

# In the line of the event of a container that was started (`GET /events` of the Docker Engine API).
START_EVENT = b'"Action":"start"'


def read_choice(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return what counts for the docker command: DOCKER_HOST, DOCKER_CONTEXT, what `docker context use` chose.

    That is the address of an engine or the name of a docker context, and twice nothing where the usual sockets count.
    """
    if environment.get("DOCKER_HOST"):
        return environment["DOCKER_HOST"], ""
    name = environment.get("DOCKER_CONTEXT") or _read_current_context(environment)
    return "", "" if name == "default" else name


def _read_current_context(environment: Mapping[str, str]) -> str:
    folder = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME") or "/root", ".docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            # Where there is no such file, the resident monitor is 0.3 MB smaller for as long as it lives.
            import json

            name = json.load(file).get("currentContext")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def parse_socket(address: str) -> str | None:
    """Return the file of the Unix socket of an address; None for another kind of address."""
    for prefix in ("http+unix://", "unix://"):
        if address.startswith(prefix):
            return "/" + address[len(prefix) :].lstrip("/")
    return None


def list_usual_sockets(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield where an engine may listen, the likeliest first."""
    runtime = environment.get("XDG_RUNTIME_DIR", "").rstrip("/")
    yield "/var/run/docker.sock"
    if runtime:
        yield f"{runtime}/docker.sock"
    yield "/run/podman/podman.sock"
    if runtime:
        yield f"{runtime}/podman/podman.sock"


def find_socket(environment: Mapping[str, str]) -> str | None:
    """Return the socket of the engine; None where there is none, or a context or address of another machine is set."""
    address, context = read_choice(environment)
    if address or context:
        return parse_socket(address)
    return next((path for path in list_usual_sockets(environment) if os.path.exists(path)), None)
