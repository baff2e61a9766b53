"""How actions turned out whose run was killed, or ended before that could be seen."""

from __future__ import annotations

from typing import Any

from vpsmon.config.settings import Settings
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.model import Action, Decision, Outcome, Snapshot
from vpsmon.recovery.rule import Rule

# A verification that was cut off or came too early is taken up by later runs for so long.
_LONGEST_PENDING_SECONDS = 1800.0


def settle(rule: Rule, snapshot: Snapshot, journal: Journal, settings: Settings) -> None:
    """Tell how the pending actions of a rule turned out, as far as that can be seen now."""
    prefix = f"{rule.name}/"
    for key, record in journal.book.incidents.items():
        pending, target = record["pending"], key[len(prefix) :]
        if not key.startswith(prefix) or pending is None:
            continue
        outcome = rule.verify(snapshot, target, settings)
        is_early = snapshot.seconds < pending["until"]
        is_over = snapshot.seconds >= pending["until"] + _LONGEST_PENDING_SECONDS
        if (outcome == "failing" and is_early) or (outcome == "pending" and not is_over):
            continue
        record["pending"] = None
        journal.book.count(rule.name, "repaired" if outcome == "repaired" else "failing")
        journal.say(_decide(rule, target, record, pending, outcome))
        if outcome == "failing":
            journal.book.expire_changes(pending["changes"])


def _decide(rule: Rule, target: str, record: dict[str, Any], pending: dict[str, Any], outcome: Outcome) -> Decision:
    needs_a_person = outcome not in ("repaired", "gone") or bool(pending.get("needs_a_person"))
    return Decision(
        rule=rule.name,
        target=target,
        name=record["name"],
        cause=str(pending.get("cause", "")),
        verdict="act",
        action=Action(*pending["action"]) if "action" in pending else None,
        ending=outcome,
        severity=None if outcome == "gone" else "critical" if needs_a_person else "info",
        attempts=record["attempts"],
        is_of_earlier_run=True,
        recalled=pending,
    )
