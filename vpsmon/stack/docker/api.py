"""What vpsmon asks of a container engine, and no more: `Engine` has the names of docker.APIClient.

Through a Unix socket, which is what nearly all machines have, a request is a few lines of HTTP: the docker library
takes 90 ms and 20 MB to be imported, a third of what a whole pass cost, and many seconds on a machine that thrashes.
For TCP with TLS, and for ssh, it is the library that carries the requests.

No version is named in a request, and so each engine answers in its own. There is none that all take: Docker 20.10
speaks up to 1.41, Docker 29 from 1.44 on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from vpsmon.core.strict_json import parse_strictly
from vpsmon.net.http_reply import HttpReply

# The list of 1,200 containers has some megabytes; an engine is trusted as root is.
_LARGEST_REPLY_BYTES = 16_000_000
_UPDATE_PAUSES_SECONDS = (0.3, 1.0, 2.0)
# What Docker, containerd and runc say of a container that ends just when its limits are being changed; all three were
# met in 15,000 changes of one that looped (Docker 20.10).
_ENDED_MEANWHILE = ("container not running", "cannot update a stopped container", "cannot update a deleted process")


class ApiError(Exception):
    """The engine refused; `explanation` is what it said, `status` the status of HTTP."""

    def __init__(self, status: int, explanation: str) -> None:
        super().__init__(explanation)
        self.status = status
        self.explanation = explanation


class NotFound(ApiError):
    """What was asked for is not there."""


class Transport(Protocol):
    """A way to the engine."""

    def request(self, method: str, target: str, body: bytes | None, timeout_seconds: float) -> HttpReply:
        """Return the answer, whatever its status. Raises OSError."""

    def close(self) -> None:
        """Close what is open."""


class UnixTransport:
    """Through a Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def request(self, method: str, target: str, body: bytes | None, timeout_seconds: float) -> HttpReply:
        """Return the answer, whatever its status. Raises OSError."""
        import socket

        from vpsmon.net.http_exchange import exchange

        deadline = time.monotonic() + timeout_seconds
        headers = {"Host": "docker", **({"Content-Type": "application/json"} if body is not None else {})}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(self._path)
            return exchange(connection, method, target, headers, body, deadline, _LARGEST_REPLY_BYTES)

    def close(self) -> None:
        """Nothing is open."""


class Engine:
    """Asks an engine. Raises ApiError where it refuses, OSError where it does not answer."""

    def __init__(self, transport: Transport, timeout_seconds: float) -> None:
        self._transport = transport
        self.timeout = timeout_seconds

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def containers(self, all: bool = False) -> list[dict[str, Any]]:
        """Return the containers as the list tells them, also stopped ones where all are wanted."""
        listed = self._get_json("/containers/json", {"all": int(all)})
        if not isinstance(listed, list):
            raise ApiError(200, "its list of containers is none")
        return [each for each in listed if isinstance(each, dict) and isinstance(each.get("Id"), str)]

    def inspect_container(self, container: str) -> dict[str, Any]:
        """Return all that the engine knows of a container."""
        return self._get_object(f"/containers/{_quote(container)}/json")

    def inspect_image(self, image: str) -> dict[str, Any]:
        """Return all that the engine knows of an image."""
        return self._get_object(f"/images/{_quote(image)}/json")

    def _get_object(self, path: str) -> dict[str, Any]:
        content = self._get_json(path)
        if not isinstance(content, dict):
            raise ApiError(200, "it answers an inspect with something else")
        return content

    def read_events(self, since: str, until: str, filters: Mapping[str, list[str]]) -> list[str]:
        """Return the events between two times, each a line of JSON."""
        query = {"since": since, "until": until, "filters": json.dumps(filters)}
        return self._request("GET", "/events", query).body.decode("utf-8", "replace").splitlines()

    def logs(self, container: str, tail: int, until: int | None = None) -> bytes:
        """Return the last lines that a container wrote, to either output."""
        query: dict[str, Any] = {"stdout": 1, "stderr": 1, "tail": tail, **({"until": until} if until else {})}
        return join_frames(self._request("GET", f"/containers/{_quote(container)}/logs", query).body)

    def stop(self, container: str, timeout: int) -> None:
        """Stop a container, which has this many seconds to end by itself; nothing where it does not run."""
        self._request("POST", f"/containers/{_quote(container)}/stop", {"t": timeout}, more_seconds=timeout)

    def restart(self, container: str, timeout: int) -> None:
        """Restart a container, which has this many seconds to end by itself."""
        self._request("POST", f"/containers/{_quote(container)}/restart", {"t": timeout}, more_seconds=timeout)

    def start(self, container: str) -> None:
        """Start a container; nothing where it runs."""
        self._request("POST", f"/containers/{_quote(container)}/start")

    def update_container(self, container: str, mem_limit: int, memswap_limit: int) -> None:
        """Set the limits of memory, and of memory and swap together, in bytes.

        One that starts over and over may end while the engine changes it: then nothing is changed, and it is asked
        again.
        """
        content = {"Memory": mem_limit, "MemorySwap": memswap_limit}
        for pause_seconds in (*_UPDATE_PAUSES_SECONDS, None):
            try:
                self._request("POST", f"/containers/{_quote(container)}/update", content=content)
                return
            except ApiError as error:
                if pause_seconds is None or not any(words in error.explanation for words in _ENDED_MEANWHILE):
                    raise
                time.sleep(pause_seconds)

    def _get_json(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        body = self._request("GET", path, query).body
        try:
            return parse_strictly(body.decode("utf-8", "replace"))
        except ValueError as why:
            raise ApiError(200, f"of its answer: {why}; is this a container engine?") from None

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        content: Any = None,
        more_seconds: float = 0.0,
    ) -> HttpReply:
        from urllib.parse import urlencode

        target = f"{path}?{urlencode(query)}" if query else path
        body = None if content is None else json.dumps(content).encode()
        # A POST without a body has to say so.
        body = b"" if body is None and method == "POST" else body
        reply = self._transport.request(method, target, body, self.timeout + more_seconds)
        if reply.status >= 400:
            raise (NotFound if reply.status == 404 else ApiError)(reply.status, _explain(reply))
        return reply


def _quote(name: str) -> str:
    """Here and not above, because a machine without an engine needs none of it, and it takes 3 ms of each pass."""
    from urllib.parse import quote

    return quote(name)


def _explain(reply: HttpReply) -> str:
    try:
        return str(json.loads(reply.body)["message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"HTTP status {reply.status}"


def join_frames(data: bytes) -> bytes:
    """Return what a container wrote. Without a terminal of its own, it comes in frames of both outputs.

    A frame is the output (0, 1 or 2), three zeros, the size in four bytes, and the text. What is not such frames to its
    very end comes from a terminal, and is the text itself.
    """
    try:
        return b"".join(_split_frames(data))
    except ValueError:
        return data


def _split_frames(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        head = data[position : position + 8]
        end = position + 8 + int.from_bytes(head[4:], "big")
        if len(head) < 8 or head[0] > 2 or head[1:4] != b"\0\0\0" or end > len(data):
            raise ValueError("no frame")
        yield data[position + 8 : end]
        position = end
