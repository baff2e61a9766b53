"""The machine as recovery sees it: its clocks, its readings, and what rules ask for just before something is done.

Tests simulate a machine by another class of this shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from vpsmon.checks import Check

if TYPE_CHECKING:
    from vpsmon.passes.check_memory import Recall
    from vpsmon.passes.run_check import Attempt
    from vpsmon.stack.docker.containers import Container
    from vpsmon.stack.n8n.api import Workflow
    from vpsmon.system.host import Host


class Machine(Protocol):
    """What the engine and `prepare` of a rule may ask."""

    @property
    def has_only_known_containers(self) -> bool:
        """Return whether `read_containers` tells of those of the last pass, and of no other."""

    def start_look(self) -> Host:
        """Return the host of a new look: nothing read before counts any more."""

    def monotonic_seconds(self) -> float:
        """Return the time of the kernel's clock."""

    def wall_seconds(self) -> float:
        """Return the time of day."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def read(self, checks: Sequence[Check], recall: Recall) -> list[Attempt]:
        """Return the readings of the checks."""

    def read_containers(self) -> list[Container]:
        """Return all containers. Raises NotApplicable, ReadError."""

    def list_low_priority_workflows(self) -> list[Workflow]:
        """Return the active workflows that may be paused. Raises ReadError."""

    def read_last_log_lines(self, container_id: str, count: int) -> list[str]:
        """Return the last lines that a container wrote; [] where they cannot be read."""
