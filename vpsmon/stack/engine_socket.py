"""Where a container engine of this machine listens: Docker's socket, then Podman's, and a word of what it tells there.

The resident monitor imports this, and nothing else of the stack.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

# In the line of the event of a container that was started (`GET /events` of the Docker Engine API).
START_EVENT = b'"Action":"start"'
_LOCAL = "unix://"


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
    address = environment.get("DOCKER_HOST", "")
    if address or environment.get("DOCKER_CONTEXT"):
        return address[len(_LOCAL) :] if address.startswith(_LOCAL) else None
    return next((path for path in list_usual_sockets(environment) if os.path.exists(path)), None)
