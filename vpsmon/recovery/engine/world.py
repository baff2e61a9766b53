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
from vpsmon.core.findings import Finding, NotApplicable, Previous, ReadError
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.run_check import judge_attempt
from vpsmon.recovery.machine import Machine, is_of_kernel
from vpsmon.recovery.model import Change, Snapshot
from vpsmon.recovery.rules import Rule
from vpsmon.stack.docker.containers import Container


class World:
    """What the rules of one run look at."""

    def __init__(self, machine: Machine, settings: Settings, rules: Sequence[Rule], pass_state: dict[str, Any]) -> None:
        self._machine = machine
        self._settings = settings
        needed = sorted({name for rule in rules for name in rule.CHECKS})
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
        now = Memories(host, self._state, with_alerts=False)
        before_run = Memories(host, self._state_before_run, with_alerts=False)
        attempts = self._machine.read(self._checks, now.recall, before_run.recall)
        findings: dict[str, list[Finding]] = {}
        memories: dict[str, Any] = {}
        for each in attempts:
            previous = (now if is_of_kernel(each.check) else before_run).recall(each.check)
            outcome = judge_attempt(each, self._settings, previous)
            for finding in outcome.findings:
                findings.setdefault(finding.check, []).append(finding)
            if outcome.memory is not None:
                now.keep(each.check, outcome.memory)
            memories[_name(each.check)] = _choose(outcome.memory, previous)
        self._state = now.to_state()
        containers, error = self._read_containers()
        readings = {_name(each.check): each.reading for each in attempts}
        seconds = seconds_at(host.monotonic_seconds())
        return Snapshot(
            seconds,
            host.wall_seconds(),
            findings,
            readings,
            memories,
            containers,
            error,
            tuple(changes),
            self._machine.has_only_known_containers,
        )

    def _read_containers(self) -> tuple[list[Container] | None, str]:
        try:
            return self._machine.read_containers(), ""
        except (NotApplicable, ReadError) as error:
            # A Docker that is away for a moment must not look like one whose containers were all removed.
            return None, str(error)


def _choose(memory: dict[str, Any] | None, previous: Previous | None) -> dict[str, Any]:
    return memory if memory is not None else previous.memory if previous else {}


def _name(check: Check) -> str:
    return check.__name__.rsplit(".", 1)[-1]
