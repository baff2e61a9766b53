"""One look at the world after the other: the readings of the checks that the rules need, judged by the checks.

Recovery remembers for the checks like a pass that tells nobody. The checks of the stack count from look to look how
often something was seen, so all looks of one run are the same look for them: each is compared with what was remembered
before the run. The kernel's rates are those since the look before.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from vpsmon.checks import Check
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, NotApplicable, ReadError
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.look import conclude
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Change, Snapshot
from vpsmon.recovery.rule import Rule
from vpsmon.stack.docker.containers import Container
from vpsmon.state.recovery_file import Stopped


class World:
    """What the rules of one run look at."""

    def __init__(self, machine: Machine, settings: Settings, rules: Sequence[Rule], pass_state: dict[str, Any]) -> None:
        self._machine = machine
        self._settings = settings
        needed = sorted({name for rule in rules for name in rule.checks})
        self._checks = [cast("Check", importlib.import_module(f"vpsmon.checks.{name}")) for name in needed]
        self._state_before_run = copy.deepcopy(pass_state)
        self._state = pass_state

    @property
    def memories(self) -> dict[str, Any]:
        """What the checks remember after the last look: the content of pass_state.json."""
        return self._state

    def look(self, seconds_at: Callable[[float], float], changes: Sequence[Change]) -> Snapshot:
        """Return the world as it is now; `seconds_at` tells recovery's time of a monotonic one."""
        host = self._machine.start_look()
        memories = Memories(host, self._state, with_alerts=False, for_stack=self._state_before_run)
        attempts = self._machine.read(self._checks, memories.recall)
        stopped = Stopped([each.undo.target for each in changes if each.undo.verb == "start_container"])
        # All processes are not read every few seconds on a machine that thrashes; no rule goes by their names.
        seen = conclude(attempts, host, self._settings, memories, stopped, names_processes=False)
        self._state = memories.to_state()
        findings: dict[str, list[Finding]] = {}
        for finding in seen.findings:
            findings.setdefault(finding.check, []).append(finding)
        containers, error = self._read_containers()
        return Snapshot(
            seconds=seconds_at(host.monotonic_seconds()),
            wall_seconds=host.wall_seconds(),
            findings=findings,
            readings={_name(each.check.__name__): each.reading for each in attempts},
            memories={_name(module): memory for module, memory in seen.remembered.items()},
            containers=containers,
            containers_error=error,
            changes=tuple(changes),
            has_only_known_containers=self._machine.has_only_known_containers,
        )

    def _read_containers(self) -> tuple[list[Container] | None, str]:
        try:
            return self._machine.read_containers(), ""
        except (NotApplicable, ReadError) as error:
            # A Docker that is away for a moment must not look like one whose containers were all removed.
            return None, str(error)


def _name(module: str) -> str:
    return module.rpartition(".")[2]
