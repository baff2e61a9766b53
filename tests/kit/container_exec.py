"""Running a command in a container, with all that it prints.

`exec_run` of the docker library reads the socket behind the buffer of the HTTP reply: what comes with its head is
lost, and the rest is taken for what it is not. Seen once in some thousand commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from docker.models.containers import Container

_LONGEST_SILENCE_SECONDS = 600
# `POST /containers/{id}/attach` of the Docker Engine API: which stream, three zeros, the length of what follows.
_HEAD_BYTES = 8


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    output: str
    errors: str


def run_in(
    container: Container, words: Sequence[str], environment: Mapping[str, str] | None = None, user: str = "root"
) -> Done:
    """Run a command to its end."""
    api = container.client.api  # type: ignore[union-attr]
    identity = api.exec_create(container.id, list(words), environment=dict(environment or {}), user=user)["Id"]
    url = f"{api.base_url}/v{api.api_version}/exec/{identity}/start"
    reply = api.post(url, json={"Detach": False, "Tty": False}, timeout=_LONGEST_SILENCE_SECONDS)
    reply.raise_for_status()
    output, errors = _split(reply.content)
    return Done(api.exec_inspect(identity)["ExitCode"] or 0, output, errors)


def _split(stream: bytes) -> tuple[str, str]:
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    position = 0
    while position < len(stream):
        body = position + _HEAD_BYTES
        end = body + int.from_bytes(stream[body - 4 : body], "big")
        parts[stream[position]].append(stream[body:end])
        position = end
    output, errors = (b"".join(each).decode("utf-8", "replace") for each in parts.values())
    return output, errors
