"""What a stage of a pass is given, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vpsmon.alerts.incidents import Notice
from vpsmon.config.settings import Config
from vpsmon.core.findings import Finding
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.run_check import Attempt
from vpsmon.state.directory import StateDirectory
from vpsmon.system.host import Host


class StageResult(NamedTuple):
    """What a stage found and has to tell; `state_error` says why nothing could be remembered, if so."""

    findings: list[Finding]
    notices: list[Notice]
    state_error: str | None = None
    # The message in the outbox that holds the notices, so that the next stage can add its own.
    entry_id: str | None = None
    attempts: Sequence[Attempt] = ()


class PassContext(NamedTuple):
    """What every stage of a pass needs."""

    host: Host
    config: Config
    state: StateDirectory
    with_alerts: bool = True
    # Where the checks remember: who looks for another purpose than a pass must not disturb what a pass remembers.
    memories_file: str = MEMORIES_FILE

    def recall_memories(self) -> Memories:
        """Return what the checks remember. Raises StateError."""
        return Memories(self.host, self.state.load(self.memories_file), self.with_alerts)
