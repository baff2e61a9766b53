"""How actions turned out whose run was killed, or ended before that could be seen."""

from __future__ import annotations

from typing import Any, Literal

from vpsmon.config.settings import Settings
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.model import Decision, Outcome, Snapshot, to_sentences
from vpsmon.recovery.rules import Rule, name_rule

# A verification that was cut off or came too early is taken up by later runs for so long.
_LONGEST_PENDING_SECONDS = 1800.0
_WORDS = {"repaired": "it helped", "gone": "it is no longer there"}


def settle(rule: Rule, snapshot: Snapshot, journal: Journal, settings: Settings) -> None:
    """Tell how the pending actions of a rule turned out, as far as that can be seen now."""
    prefix = f"{name_rule(rule)}/"
    for key, record in journal.book.incidents.items():
        pending = record["pending"]
        if not key.startswith(prefix) or pending is None:
            continue
        outcome = rule.verify(snapshot, key[len(prefix) :], settings)
        is_early = snapshot.seconds < pending["until"]
        is_over = snapshot.seconds >= pending["until"] + _LONGEST_PENDING_SECONDS
        if (outcome == "failing" and is_early) or (outcome == "pending" and not is_over):
            continue
        record["pending"] = None
        _tell(prefix[:-1], record["name"], pending, outcome, journal)
        if outcome == "failing":
            journal.book.expire_changes(pending["changes"])


def _tell(rule: str, name: str, pending: dict[str, Any], outcome: Outcome, journal: Journal) -> None:
    journal.book.count(rule, "repaired" if outcome == "repaired" else "failing")
    needs_a_person = outcome not in ("repaired", "gone") or bool(pending.get("needs_a_person"))
    severity: Literal["info", "critical"] = "critical" if needs_a_person else "info"
    words = _WORDS.get(outcome, "it did not help")
    if outcome == "repaired" and pending["note"]:
        words = pending["note"] if needs_a_person else f"{words}; {pending['note']}"
    told = f"{to_sentences(pending['read'], pending['done'])} (in an earlier run): {words}"
    advice = pending["advice"] or None if needs_a_person else None
    text = f"{pending['did']} (in an earlier run)"
    level = None if outcome == "gone" else severity
    journal.say(Decision(rule, name, pending["read"], "act", text, "", words, level, advice, told))
