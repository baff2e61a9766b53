"""The part of the Docker Engine API that vpsmon uses, with as many containers as a test wants, none of them real.

For what a real engine is too slow for: hundreds of containers, and hundreds of recoveries that are killed half-way.
Shapes as Docker 20.10 answers (`docker inspect`), cut to the keys that vpsmon reads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tests.kit.local_server import Answer, LocalServer, Request, reply

VERSION = "1.41"


def _stamp(wall_seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_seconds))


@dataclass
class PretendContainer:
    """A container that is only said to be there."""

    id: str
    name: str
    status: str = "running"
    restart_count: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    environment: list[str] = field(default_factory=list)
    memory_limit_bytes: int = 0
    health: str | None = None
    image: str = "busybox"
    command: list[str] = field(default_factory=list)
    start_error: str = ""
    # Of its last start and its last end; each is a moment, and stays.
    started_wall_seconds: float = field(default_factory=lambda: time.time() - 2)
    finished_wall_seconds: float = field(default_factory=lambda: time.time() - 3)

    def stop(self) -> None:
        """End."""
        self.status, self.finished_wall_seconds = "exited", time.time()

    def start(self) -> None:
        """Run anew."""
        self.status, self.started_wall_seconds = "running", time.time()

    def inspect(self) -> dict[str, Any]:
        """Return what `docker inspect` says of it."""
        now = time.time()
        health = {"Health": {"Status": self.health, "FailingStreak": 0, "Log": []}} if self.health else {}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": _stamp(now - 86_400),
            "RestartCount": self.restart_count,
            "State": {
                "Status": self.status,
                "Running": self.status == "running",
                "Pid": 0,
                "ExitCode": 1 if self.status != "running" else 0,
                "OOMKilled": False,
                "Error": self.start_error,
                "StartedAt": _stamp(self.started_wall_seconds),
                "FinishedAt": _stamp(self.finished_wall_seconds),
                **health,
            },
            "Config": {
                "Image": self.image,
                "Labels": self.labels,
                "Env": self.environment,
                "Cmd": self.command,
                "Tty": True,
            },
            "HostConfig": {
                "Memory": self.memory_limit_bytes,
                "NetworkMode": "none",
                "RestartPolicy": {"Name": "always"},
            },
            "NetworkSettings": {"Networks": {}, "Ports": {}},
        }


class FakeEngine(LocalServer):
    """An engine on loopback; `DOCKER_HOST` is to be its `host`. What it was told to do is in `actions`."""

    def __init__(self, *containers: PretendContainer) -> None:
        super().__init__()
        self.containers = {each.id: each for each in containers}
        self.actions: list[tuple[str, str]] = []

    @property
    def host(self) -> str:
        """What DOCKER_HOST is to be."""
        return f"tcp://127.0.0.1:{self.port}"

    def judge(self, request: Request) -> Answer:
        """Answer as the engine does."""
        # With or without the version that the client speaks: /v1.41/containers/json.
        parts = request.parts[1:] if request.parts[0].startswith("v1.") else request.parts
        if parts == ["_ping"]:
            return Answer(200, b"OK", {"Api-Version": VERSION})
        if parts == ["containers", "json"]:
            return reply([self._list(each) for each in self.containers.values()])
        if parts == ["events"]:
            return Answer(200)
        if len(parts) != 3 or parts[0] != "containers":
            return reply({"message": "page not found"}, 404)
        container = self.containers.get(parts[1])
        if container is None:
            return reply({"message": f"No such container: {parts[1]}"}, 404)
        if parts[2] == "json":
            return reply(container.inspect())
        if parts[2] == "logs":
            return Answer(200, b"it is broken\n")
        return self._act(container, parts[2])

    def _list(self, container: PretendContainer) -> dict[str, Any]:
        return {
            "Id": container.id,
            "Names": [f"/{container.name}"],
            "Image": container.image,
            "Labels": container.labels,
            "State": container.status,
        }

    def _act(self, container: PretendContainer, verb: str) -> Answer:
        verbs = {"stop": PretendContainer.stop, "start": PretendContainer.start, "restart": PretendContainer.start}
        if verb not in verbs:
            return reply({"message": "page not found"}, 404)
        self.actions.append((verb, container.name))
        verbs[verb](container)
        return Answer(204)
