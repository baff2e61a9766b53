"""The record that a rule file builds: all that the engine, the command and the manual know of a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vpsmon.config.settings import Settings
    from vpsmon.recovery.machine import Machine
    from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Words


def _remember_nothing(snapshot: Snapshot, settings: Settings, memory: dict[str, Any]) -> dict[str, Any]:
    return {}


def _need_nothing(incident: Incident, machine: Machine, settings: Settings) -> Incident:
    return incident


def _is_always_calm(snapshot: Snapshot, settings: Settings, change: Change) -> bool:
    return True


def _sees_enough(snapshot: Snapshot, settings: Settings) -> bool:
    return False


class Rule(NamedTuple):
    """One incident: how it is seen, what would help, whether it has helped, and what it is called."""

    # That of its file: it is in the state, the events and the metrics.
    name: str
    # Its words after `vpsmon recover`, beside run-all.
    commands: tuple[str, ...]
    # Smaller comes first: what frees memory before all else.
    order: int
    # The checks that it needs, as `kernel.swap`.
    checks: tuple[str, ...]
    # The pause after the first attempt, twice as long after each further one.
    cooldown_seconds: float
    # The incidents, each with its steps, one for each attempt, the mildest first.
    detect: Callable[[Snapshot, Settings, dict[str, Any]], list[Incident]]
    # Whether the step for this target has helped.
    verify: Callable[[Snapshot, str, Settings], Outcome]
    # What it says of an incident of its own and of the action that was taken, if any. Nothing is decided by it.
    describe: Callable[[Incident, Action | None], Words]
    # What `detect` of this look and `remember` of the next get as memory.
    remember: Callable[[Snapshot, Settings, dict[str, Any]], dict[str, Any]] = _remember_nothing
    # The incident with what is read only when something is about to be done. Raises ReadError.
    prepare: Callable[[Incident, Machine, Settings], Incident] = _need_nothing
    # Whether what was done may be undone, once it has been so for long enough.
    is_calm: Callable[[Snapshot, Settings, Change], bool] = _is_always_calm
    # Whether one look is not enough to say that all is well.
    wants_second_look: Callable[[Snapshot, Settings], bool] = _sees_enough
    # The pause before the look without which nothing is done.
    confirm_after_seconds: float = 0.0
    # Its incidents are alternatives: after one was seen to the rest may be unnecessary, and none is ever given up.
    has_alternatives: bool = False
    # It cannot wait until the verification of another rule is over, has a budget of its own, and only short pauses.
    is_urgent: bool = False
