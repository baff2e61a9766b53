"""recovery_events.jsonl: what recovery decided and did as JSON, one object a line, beside recovery.log for people.

A line is an object with `time` (ISO 8601, UTC), `rule`, `target`, `name`, `cause`, `verdict`, `reason`, `action` (null,
or its verb, target, name and details), `ending`, `severity`, `attempts`, `is_of_earlier_run`, `error` and `facts`,
which depend on the cause. `words` is for people alone. Fields may be added. A line that cannot be read is left out.
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from vpsmon.core.strict_json import parse_strictly
from vpsmon.core.text import clean, format_utc, quote_foreign
from vpsmon.recovery.messages import Wording
from vpsmon.recovery.model import Action, Decision
from vpsmon.state.content import WRONG_FORM

FILE = "recovery_events.jsonl"
_LONGEST_TEXT = 2000
# A queue may be fed by hundreds of workflows; a line stays well below what the state directory takes.
_MOST_ITEMS = 20


class RecoveryEvent(NamedTuple):
    """One line: when, what was decided about what, what was done, and how it turned out; `words` is for people."""

    wall_seconds: float
    rule: str
    target: str
    name: str
    cause: str
    verdict: str
    action: Action | None
    ending: str
    severity: str | None
    words: str
    fields: Mapping[str, Any]


def format_event(decision: Decision, wording: Wording, wall_seconds: float) -> str:
    """Return a decision as a line of recovery_events.jsonl."""
    incident = decision.incident
    action = decision.action
    record = {
        "time": format_utc(wall_seconds),
        "rule": decision.rule,
        "target": decision.target,
        "name": decision.name,
        "cause": decision.cause,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "action": action and {**action._asdict(), "details": _shorten(action.details)},
        "ending": decision.ending,
        "severity": decision.severity,
        "attempts": decision.attempts,
        "is_of_earlier_run": decision.is_of_earlier_run,
        "error": decision.error,
        "facts": incident.facts if incident else decision.recalled.get("facts", {}),
        "words": wording.outcome or wording.text,
    }
    return json.dumps(_hide_secrets(record))


def _shorten(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of an action without what only its undoing needs."""
    items = details.get("items")
    if items is None:
        return dict(details)
    return {**details, "items": [each["name"] if isinstance(each, dict) else each for each in items[:_MOST_ITEMS]]}


def _hide_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return quote_foreign(value, _LONGEST_TEXT)
    if isinstance(value, dict):
        return {key: _hide_secrets(each) for key, each in value.items()}
    return [_hide_secrets(each) for each in value] if isinstance(value, (list, tuple)) else value


def parse_events(text: str) -> list[RecoveryEvent]:
    """Return the events, oldest first, without what is no line of it: cut off in a crash, or written by others."""
    events = []
    for line in text.splitlines():
        try:
            events.append(_parse_event(parse_strictly(line)))
        except WRONG_FORM:
            continue
    return events


def _parse_event(record: dict[str, Any]) -> RecoveryEvent:
    return RecoveryEvent(
        wall_seconds=float(calendar.timegm(time.strptime(record["time"], "%Y-%m-%dT%H:%M:%SZ"))),
        rule=str(record["rule"]),
        target=str(record["target"]),
        name=clean(str(record["name"])),
        cause=str(record["cause"]),
        verdict=str(record["verdict"]),
        action=_parse_action(record["action"]),
        ending=str(record["ending"]),
        severity=record["severity"],
        words=clean(str(record["words"]), _LONGEST_TEXT),
        fields=record,
    )


def _parse_action(record: dict[str, Any] | None) -> Action | None:
    if record is None:
        return None
    return Action(str(record["verb"]), str(record["target"]), str(record["name"]), dict(record["details"]))
