"""Which findings are told now: rate limit, escalation, suppressed counts, the end of an incident. Pure.

An alert type is check + object + severity, and is told at most once in ALERT_RATE_LIMIT_SEC. A rise to critical is a
type of its own, so a warning never holds it back. Events (an OOM kill) that are held back are told by a later pass:
an event is never lost and never told twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from vpsmon.core.findings import SEVERITIES, Event, Finding, Severity
from vpsmon.core.text import format_duration, format_utc

_FORGET_AFTER_SECONDS = 86_400
# An incident whose check has not been able to look for this long is forgotten.
_GIVE_UP_SECONDS = 7 * 86_400
_MOST_TOLD_EVENTS = 200
# Objects that come and go all day, such as containers of a build server, must not make every pass slower.
_MOST_TYPES = 1000
_MOST_NAMED_EVENTS = 3


class Notice(NamedTuple):
    """One thing to tell. `suppressed_count` alerts of the same type were held back before it."""

    severity: Severity
    check: str
    object: str | None
    message: str
    advice: str | None
    wall_seconds: float
    suppressed_count: int = 0
    is_end: bool = False


def format_history(notice: Notice) -> str:
    """Return the notice as a line of alert_history.log: ISO time, severity, check, object, message."""
    name = f"{notice.check}[{notice.object}]" if notice.object else notice.check
    held = f" ({notice.suppressed_count} suppressed before)" if notice.suppressed_count else ""
    return f"{format_utc(notice.wall_seconds)} {notice.severity.upper()} {name} {notice.message}{held}"


def sort_by_gravity(notices: Iterable[Notice]) -> list[Notice]:
    """Return the notices with the gravest first, and those of a check together."""
    return sorted(notices, key=lambda notice: (SEVERITIES.index(notice.severity), notice.check))


class Ledger:
    """What has been told, and what is going on: the content of alert_state.json."""

    def __init__(self, state: dict[str, Any], now_seconds: float, rate_limit_seconds: float) -> None:
        self.types: dict[str, dict[str, Any]] = state.get("types", {})
        self.incidents: dict[str, dict[str, Any]] = state.get("incidents", {})
        self.told_events: list[str] = state.get("told_events", [])
        self._now = now_seconds
        self._rate_limit = rate_limit_seconds

    def to_state(self) -> dict[str, Any]:
        """Return the content of alert_state.json, without what is too old to matter."""
        self._forget()
        return {
            "types": self.types,
            "incidents": self.incidents,
            "told_events": self.told_events[-_MOST_TOLD_EVENTS:],
        }

    def judge(self, findings: Sequence[Finding], checks: set[str]) -> list[Notice]:
        """Return what to tell, gravest first. `checks` are the checks of this pass: their vanished objects are over."""
        notices = []
        seen = set()
        # A check that could not look, only says so in a row without object: what it saw before may still be there.
        blind = {each.check for each in findings if not each.object and each.status != "ok"}
        for finding in findings:
            seen.add(_incident_key(finding.check, finding.object))
            notices += self._judge_events(finding)
            if not finding.events:
                notices += self._judge_condition(finding)
        notices += self._end_vanished(checks - blind, seen)
        notices += self._tell_held_events(checks)
        return sort_by_gravity(notices)

    def _judge_condition(self, finding: Finding) -> list[Notice]:
        key = _incident_key(finding.check, finding.object)
        incident = self.incidents.get(key)
        if finding.status in ("warning", "critical"):
            return self._judge_incident(key, finding)
        if incident is None or finding.status == "unknown" or not finding.is_clear:
            return []
        return self._end(key, _with_reason(finding))

    def _judge_incident(self, key: str, finding: Finding) -> list[Notice]:
        severity: Severity = "critical" if finding.status == "critical" else "warning"
        fresh = {"check": finding.check, "object": finding.object, "since": self._now, "is_told": False}
        incident = self.incidents.setdefault(key, fresh)
        is_known = incident["is_told"] and incident.get("severity") == severity
        incident.update(severity=severity, seen=self._now)
        if finding.is_reported_once and is_known:
            return []
        record = self._record(finding.check, finding.object, severity)
        if self._is_held(finding, severity):
            record["suppressed"] += 1
            return []
        message = finding.message
        if incident["is_told"]:
            message += f" (for {format_duration(self._now - min(incident['since'], self._now))})"
        incident["is_told"] = True
        suppressed = record["suppressed"]
        record.update(told=self._now, suppressed=0)
        return [Notice(severity, finding.check, finding.object, message, finding.advice, self._now, suppressed)]

    def _is_held(self, finding: Finding, severity: Severity) -> bool:
        """A warning waits as well for the critical alert that was told before it: falling is no news."""
        severities: tuple[Severity, ...] = ("critical",) if severity == "critical" else ("warning", "critical")
        records = (self.types.get(_type_key(finding.check, finding.object, each)) for each in severities)
        return any(self._is_recent(record) for record in records if record)

    def _is_recent(self, record: dict[str, Any]) -> bool:
        return record["told"] is not None and self._now - min(record["told"], self._now) < self._rate_limit

    def _record(self, check: str, name: str | None, severity: str) -> dict[str, Any]:
        """Return the record of an alert type; a time in the future, after the clock was set back, counts as now."""
        fresh = {"check": check, "object": name, "suppressed": 0, "told": None}
        record = self.types.setdefault(_type_key(check, name, severity), fresh)
        record["seen"] = self._now
        if record["told"] is not None:
            record["told"] = min(record["told"], self._now)
        return record

    def _judge_events(self, finding: Finding) -> list[Notice]:
        notices = []
        for event in finding.events:
            if event.key in self.told_events:
                continue
            self.told_events.append(event.key)
            record = self._record(finding.check, event.object, "critical")
            if self._is_recent(record):
                self._hold(record, event, finding.advice)
            else:
                record["told"] = self._now
                notices.append(self._notice_of_event(finding, event))
        return notices

    def _notice_of_event(self, finding: Finding, event: Event) -> Notice:
        return Notice("critical", finding.check, event.object, event.message, finding.advice, event.wall_seconds)

    def _hold(self, record: dict[str, Any], event: Event, advice: str | None) -> None:
        record["suppressed"] += 1
        record["advice"] = advice
        record.setdefault("since", event.wall_seconds)
        record["held"] = [*record.get("held", []), event.message][-_MOST_NAMED_EVENTS:]

    def _tell_held_events(self, checks: set[str]) -> list[Notice]:
        notices = []
        for record in self.types.values():
            if record["check"] in checks and record.get("held") and not self._is_recent(record):
                held = record.pop("held")
                count = record["suppressed"]
                message = "; ".join(held) + (f"; {count - len(held)} more before" if count > len(held) else "")
                since = float(record.pop("since", self._now))
                advice = record.pop("advice", None)
                notices.append(Notice("critical", record["check"], record["object"], message, advice, since, count))
                record.update(told=self._now, suppressed=0)
        return notices

    def _end(self, key: str, message: str) -> list[Notice]:
        incident = self.incidents.pop(key)
        if not incident["is_told"]:
            return []
        lasted = self._now - min(incident["since"], self._now)
        text = f"resolved after {format_duration(lasted)}: {message}"
        return [Notice("info", incident["check"], incident["object"], text, None, self._now, 0, is_end=True)]

    def _end_vanished(self, checks: set[str], seen: set[str]) -> list[Notice]:
        gone = [key for key, incident in self.incidents.items() if incident["check"] in checks and key not in seen]
        words = {key: "it is no longer there" if self.incidents[key]["object"] else "it works again" for key in gone}
        return [notice for key in gone for notice in self._end(key, words[key])]

    def _forget(self) -> None:
        """Drop alert types that have been quiet for long, so that objects which come and go do not add up."""
        limit = max(self._rate_limit, _FORGET_AFTER_SECONDS)
        self.types = {
            key: record
            for key, record in self.types.items()
            if record.get("held") or self._now - min(record["seen"], self._now) < limit
        }
        if len(self.types) > _MOST_TYPES:
            newest = sorted(self.types.items(), key=lambda item: (bool(item[1].get("held")), item[1]["seen"]))
            self.types = dict(newest[-_MOST_TYPES:])
        self.incidents = {
            key: incident for key, incident in self.incidents.items() if self._now - incident["seen"] < _GIVE_UP_SECONDS
        }


def _type_key(check: str, name: str | None, severity: str) -> str:
    return f"{check}/{name or ''}/{severity}"


def _incident_key(check: str, name: str | None) -> str:
    return f"{check}/{name or ''}"


def _with_reason(finding: Finding) -> str:
    return f"{finding.message}: {finding.explain()}" if finding.reason else finding.message
