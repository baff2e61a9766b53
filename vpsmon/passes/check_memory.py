"""What the checks remember from one pass to the next: the content of pass_state.json.

Passes with and without alerts remember separately: one that only looks must not hide a stall or an OOM kill from the
next one that tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vpsmon import __version__
from vpsmon.checks import Check, is_of_kernel
from vpsmon.core.findings import Finding, Previous
from vpsmon.core.text import clean
from vpsmon.stack.identity.known import list_known, prepare_known
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id

FILE = "pass_state.json"

Recall = Callable[[Check], Previous | None]
_State = dict[str, dict[str, Any]]

IDENTITIES = "identities"
# Of a stage, for people who ask: the file is written with every pass.
_WORST_FINDINGS = 5
_LONGEST_MESSAGE_CHARACTERS = 160


class Memories:
    """The memories for one kind of pass at one moment."""

    def __init__(
        self, host: Host, state: dict[str, Any], with_alerts: bool, for_stack: dict[str, Any] | None = None
    ) -> None:
        """`for_stack` is what all checks but the kernel's are compared with, where that is another state."""
        self._state = _pick_tables(state)
        self._state_for_stack = self._state if for_stack is None else _pick_tables(for_stack)
        self._kinds = ["with_alerts"] if with_alerts else ["without_alerts", "with_alerts"]
        self._monotonic_seconds = host.monotonic_seconds()
        self._boot_id = read_boot_id(host)
        self._host = host
        prepare_known(host, self._state.get(IDENTITIES))

    def recall(self, check: Check) -> Previous | None:
        """Return what a check remembered; None on the first pass, after a reboot, and after a newer pass than this."""
        state = self._state if is_of_kernel(check) else self._state_for_stack
        records = [record for kind in self._kinds if (record := _find(state, kind, check))]
        if not records:
            return None
        # Of another boot only when there is nothing of this one: its clock started anew.
        record = max(records, key=lambda each: (each["boot_id"] == self._boot_id, float(each["monotonic_seconds"])))
        if record["boot_id"] != self._boot_id:
            return Previous(record["memory"], 0.0) if getattr(check, "KEEPS_ACROSS_BOOTS", False) else None
        elapsed_seconds = self._monotonic_seconds - record["monotonic_seconds"]
        return Previous(record["memory"], elapsed_seconds) if elapsed_seconds > 0 else None

    def recall_container_names(self) -> dict[str, str]:
        """Return the names of the containers by the first 12 digits of their ids, as a check remembers them (`names`).

        No check is imported for it: the kernel checks must not wait for those of the stack.
        """
        for kind in self._kinds:
            for record in self._state.get(kind, {}).values():
                memory = record.get("memory") if isinstance(record, dict) else None
                names = memory.get("names") if isinstance(memory, dict) else None
                if isinstance(names, dict):
                    return {identity: name for identity, name in names.items() if isinstance(name, str)}
        return {}

    def keep(self, check: Check, memory: dict[str, Any]) -> None:
        """Remember something for a check."""
        record = {"boot_id": self._boot_id, "monotonic_seconds": self._monotonic_seconds, "memory": memory}
        self._state.setdefault(self._kinds[0], {})[check.__name__] = record

    def note_stage(self, stage: str, wall_seconds: float, status: str, findings: Sequence[Finding]) -> None:
        """Note when a stage of a pass looked, how it found the machine, and the worst of it, for people who ask."""
        noted = {"wall_seconds": wall_seconds, "status": status, "worst": _pick_worst(findings)}
        self._state.setdefault("last_pass", {})[stage] = noted

    def recall_last_look(self, stage: str) -> float | None:
        """Return when a stage last looked, in seconds of the wall clock; None where it never has."""
        noted = self._state.get("last_pass", {}).get(stage)
        seconds = noted.get("wall_seconds") if isinstance(noted, dict) else None
        return float(seconds) if isinstance(seconds, (int, float)) else None

    def note_absent_stack(self, units: dict[str, str] | None) -> None:
        """Note the rows of the stack's checks when all of them had nothing to look at; None when one had."""
        self._state["absent_stack"] = {"version": __version__, "units": units or {}}

    def recall_absent_stack(self) -> dict[str, str]:
        """Return those rows with their units; {} where a service was found, or has not been looked for."""
        noted = self._state.get("absent_stack", {})
        # Another version may have other rows.
        units = noted.get("units") if noted.get("version") == __version__ else None
        return units if isinstance(units, dict) else {}

    def to_state(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {**self._state, IDENTITIES: list_known(self._host)}


def _pick_tables(state: dict[str, Any]) -> _State:
    return {name: table for name, table in state.items() if isinstance(table, dict)}


def _find(state: _State, kind: str, check: Check) -> dict[str, Any] | None:
    record = state.get(kind, {}).get(check.__name__)
    if not isinstance(record, dict) or not isinstance(record.get("memory"), dict):
        return None
    has_time = isinstance(record.get("monotonic_seconds"), (int, float))
    return record if has_time and "boot_id" in record else None


def _pick_worst(findings: Sequence[Finding]) -> list[dict[str, str | None]]:
    grave = [each for status in ("critical", "warning") for each in findings if each.status == status]
    return [
        {
            "check": each.check,
            "object": clean(each.object) if each.object else None,
            "status": each.status,
            "message": clean(each.message, _LONGEST_MESSAGE_CHARACTERS),
        }
        for each in grave[:_WORST_FINDINGS]
    ]
