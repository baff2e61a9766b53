"""This machine as recovery sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vpsmon.checks import Check
from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.passes.check_memory import Recall
from vpsmon.passes.look import read_checks
from vpsmon.passes.run_check import Attempt
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.docker.remembered import update
from vpsmon.system.host import Host

if TYPE_CHECKING:
    from vpsmon.stack.n8n.api import Workflow

_LOG_TIMEOUT_SECONDS = 3.0


class RealMachine:
    """This machine; where containers are known already, the engine is not asked for them."""

    def __init__(
        self,
        settings: Settings,
        make_host: Callable[[], Host] = Host,
        sleep: Callable[[float], None] = time.sleep,
        known_containers: Sequence[Container] = (),
    ) -> None:
        self._settings = settings
        self._known_containers = known_containers
        self._make_host = make_host
        self._host = make_host()
        self.sleep = sleep

    def start_look(self) -> Host:
        """Return the host of a new look."""
        self._host = self._make_host()
        if self._known_containers:
            self._host.known_containers = update(self._host, self._known_containers)
        return self._host

    @property
    def has_only_known_containers(self) -> bool:
        """Return whether the engine is not asked."""
        return bool(self._known_containers)

    def monotonic_seconds(self) -> float:
        """Return the time of the kernel's clock."""
        return self._host.monotonic_seconds()

    def wall_seconds(self) -> float:
        """Return the time of day."""
        return self._host.wall_seconds()

    def read(self, checks: Sequence[Check], recall: Recall) -> list[Attempt]:
        """Return the readings of the checks."""
        return read_checks(checks, self._host, self._settings, recall)

    def read_containers(self) -> list[Container]:
        """Return all containers, as the checks have read them."""
        return read_containers(self._host, self._settings)

    def list_low_priority_workflows(self) -> list[Workflow]:
        """Return the active workflows with the tag N8N_LOW_PRIORITY_TAG."""
        from vpsmon.stack.n8n.api import list_active_workflows

        return list_active_workflows(self._host, self._settings, self._settings.N8N_LOW_PRIORITY_TAG)

    def read_last_log_lines(self, container_id: str, count: int) -> list[str]:
        """Return the last lines of a container's log."""
        from vpsmon.stack.docker.client import open_client

        try:
            with open_client(_LOG_TIMEOUT_SECONDS) as client:
                log = client.logs(container_id, count)
        except (NotApplicable, ReadError):
            return []
        return log.decode("utf-8", "replace").splitlines()[-count:]
