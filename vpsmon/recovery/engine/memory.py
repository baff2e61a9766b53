"""What recovery remembers from run to run: the content of recovery_state.json. Pure.

All times are seconds of recovery's own clock: it goes with the kernel's within a boot, and with the wall clock, but
never back, from one boot to the next. So a clock that is set neither ends a pause early nor makes one last for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.outbox import is_notice
from vpsmon.recovery.messages import UNTIL_NEXT_RUN, describe, describe_done, knows
from vpsmon.recovery.model import Action, Change, Incident

HOUR_SECONDS = 3600.0
# An incident that has been away for so long starts with its first step again; one that lasts, never does.
_FORGET_AFTER_SECONDS = 6 * 3600.0
# After this much trouble of its own (an unreadable file) recovery only looks.
QUIET_SECONDS = 600.0
_MOST_NOTICES = 50
_KEYS = ("clock", "actions", "urgent_actions", "incidents", "changes", "memories", "notices", "quiet_until")


class Book:
    """Attempts, budget, changes to undo, and notices that wait."""

    def __init__(self, content: dict[str, Any], boot_id: str, monotonic_seconds: float, wall_seconds: float) -> None:
        """Raises one of WRONG_FORM where no version of vpsmon wrote this."""
        clock = content.get("clock")
        self._boot_id = boot_id
        elapsed = 0.0
        if clock:
            is_same_boot = clock["boot_id"] == boot_id
            elapsed = monotonic_seconds - clock["monotonic"] if is_same_boot else wall_seconds - clock["wall"]
        self._offset = (float(clock["seconds"]) + max(0.0, elapsed) if clock else 0.0) - monotonic_seconds
        now = self.at(monotonic_seconds)
        self.actions = _read_times(content.get("actions", []), now)
        # The budget of the urgent rules is their own: what others have done must not keep them from saving the machine.
        self.urgent_actions = _read_times(content.get("urgent_actions", []), now)
        self.incidents: dict[str, dict[str, Any]] = {
            str(key): _check_record(record, now) for key, record in content.get("incidents", {}).items()
        }
        # What a newer version has changed in a way of its own is kept for it.
        changes = [_to_change(each) for each in content.get("changes", [])]
        self.changes: list[Change] = [each for each in changes if _can_undo(each)]
        self._changes_of_newer_version = [each for each in changes if not _can_undo(each)]
        self._more = {key: value for key, value in content.items() if key not in _KEYS}
        self.memories: dict[str, dict[str, Any]] = {
            str(name): dict(memory) for name, memory in content.get("memories", {}).items()
        }
        # Rule and outcome of what was done and is not written down yet.
        self.outcomes: list[tuple[str, str]] = []
        self.notices: list[Notice] = [_to_notice(each) for each in content.get("notices", [])]
        # A damaged file must not make it look on for ever.
        self.quiet_until = min(float(content.get("quiet_until", 0.0)), now + QUIET_SECONDS)

    def at(self, monotonic_seconds: float) -> float:
        """Return the time of recovery's clock."""
        return self._offset + monotonic_seconds

    def to_content(self, monotonic_seconds: float, wall_seconds: float) -> dict[str, Any]:
        """Return the content of the file, without what is too old to matter."""
        now = self.at(monotonic_seconds)
        for times in (self.actions, self.urgent_actions):
            times[:] = [each for each in times if now - each < HOUR_SECONDS]
        self.incidents = {key: record for key, record in self.incidents.items() if not _is_over(record, now)}
        return {
            **self._more,
            "clock": {"boot_id": self._boot_id, "monotonic": monotonic_seconds, "wall": wall_seconds, "seconds": now},
            "actions": self.actions,
            "urgent_actions": self.urgent_actions,
            "incidents": self.incidents,
            "changes": [_from_change(each) for each in (*self.changes, *self._changes_of_newer_version)],
            "memories": self.memories,
            "notices": [list(each) for each in self.notices[-_MOST_NOTICES:]],
            "quiet_until": self.quiet_until,
        }

    def count_actions(self, now: float, is_urgent: bool = False) -> int:
        """Return how many actions there were in the last hour: those of the urgent rules, or all others."""
        return sum(now - each < HOUR_SECONDS for each in (self.urgent_actions if is_urgent else self.actions))

    def find(self, rule: str, incident: Incident, now: float) -> dict[str, Any]:
        """Return the record of an incident that is seen now."""
        key = f"{rule}/{incident.target}"
        record = self.incidents.get(key)
        if record is None or _is_over(record, now):
            record = self.incidents[key] = {"attempts": 0, "last": None, "told": "", "alerted": [], "pending": None}
        record.update(seen=now, name=incident.name, touches=incident.touches)
        return record

    def note_attempt(self, rule: str, incident: Incident, action: Action, now: float, is_urgent: bool = False) -> None:
        """Count an attempt; where it restarts a whole container, for all incidents of the rule in that container."""
        records = [self.find(rule, incident, now)]
        if action.target == incident.touches:
            own = f"{rule}/{incident.target}"
            records += [
                record
                for key, record in self.incidents.items()
                if key.startswith(f"{rule}/") and key != own and record["touches"] == incident.touches
            ]
        for record in records:
            record["attempts"] += 1
            record["last"] = now
        (self.urgent_actions if is_urgent else self.actions).append(now)

    def is_being_treated(self, rule: str, touches: str, now: float, seconds: float) -> bool:
        """Return whether another rule worked at the same container just now."""
        return any(
            touches and record["touches"] == touches and record["last"] is not None and now - record["last"] < seconds
            for key, record in self.incidents.items()
            if not key.startswith(f"{rule}/")
        )

    def add_change(self, change: Change) -> bool:
        """Remember a change; one of what is changed already keeps the way back to the beginning. Return if new."""
        for position, known in enumerate(self.changes):
            if (known.undo.verb, known.undo.target) == (change.undo.verb, change.undo.target):
                undo, since, wall = known.undo, known.since_seconds, known.since_wall_seconds
                # Until this one is done, it is still as the one before left it.
                left = (*known.left, *change.left) if known.left else ()
                self.changes[position] = change._replace(
                    undo=undo, since_seconds=since, since_wall_seconds=wall, left=left
                )
                return False
        self.changes.append(change)
        return True

    def replace_change(self, change: Change) -> None:
        """Put a change in the place of the one with the same id."""
        self.changes = [change if each.id == change.id else each for each in self.changes]

    def note_left(self, undo: Action, left: Sequence[Any]) -> None:
        """Remember the state in which the change with this way back has left its container."""
        for change in self.changes:
            if (change.undo.verb, change.undo.target) == (undo.verb, undo.target):
                self.replace_change(change._replace(left=(list(left),)))

    def expire_changes(self, identities: Sequence[str]) -> None:
        """Have changes undone by the next run: what was to be done is half done, and nobody knows how far."""
        for change in self.changes:
            if change.id in identities:
                self.replace_change(change._replace(calm_seconds=0.0, until=UNTIL_NEXT_RUN))

    def drop_change(self, identity: str) -> None:
        """Forget a change: it is undone, or there is nothing left of it."""
        self.changes = [each for each in self.changes if each.id != identity]

    def count(self, rule: str, outcome: str) -> None:
        """Count an action by its outcome, for the metrics."""
        self.outcomes.append((rule, outcome))


def _read_times(times: Sequence[Any], now: float) -> list[float]:
    """Return the times; one in the future counts as now."""
    return [min(float(each), now) for each in times]


def _is_over(record: dict[str, Any], now: float) -> bool:
    return bool(now - record["seen"] >= _FORGET_AFTER_SECONDS)


def _check_record(record: dict[str, Any], now: float) -> dict[str, Any]:
    """Return the record; a time in the future counts as now. Raises KeyError, TypeError or ValueError for none."""
    _check_numbers(record["attempts"], record["seen"], *([] if record["last"] is None else [record["last"]]))
    _check_texts(record["name"], record["touches"], record["told"], *record["alerted"])
    if record["pending"] is not None:
        _check_numbers(record["pending"]["until"])
        texts = (record["pending"][key] for key in ("did", "done", "read", "note", "advice"))
        _check_texts(*texts, *record["pending"]["changes"])
        # The version before left nothing but texts.
        if "action" in record["pending"]:
            describe(Action(*record["pending"]["action"]))
    last = None if record["last"] is None else min(record["last"], now)
    return {**record, "seen": min(record["seen"], now), "last": last, "alerted": [*record["alerted"]]}


def _to_notice(entry: Sequence[Any]) -> Notice:
    # A newer version may have more to say of it.
    notice = Notice(*entry[: len(Notice._fields)])
    if not is_notice(notice):
        raise TypeError(f"{entry!r} is no notice")
    return notice


def _from_change(change: Change) -> dict[str, Any]:
    fields = {**change._asdict(), "action": list(change.action), "undo": list(change.undo), "left": list(change.left)}
    return {**fields.pop("more"), **fields}


def _to_change(entry: dict[str, Any]) -> Change:
    known = {key: value for key, value in entry.items() if key in Change._fields and key != "more"}
    more = {key: value for key, value in entry.items() if key not in known}
    known.update(action=Action(*entry["action"]), undo=Action(*entry["undo"]))
    left = tuple([*each] for each in known.pop("left", ()))
    change = Change(**known, more=more, left=left)
    _check_texts(change.id, change.rule, change.until, change.action.target, change.undo.target)
    _check_numbers(change.since_seconds, change.since_wall_seconds, change.tries)
    _check_numbers(*(each for each in (change.calm_seconds, change.calm_since_seconds) if each is not None))
    if any(not isinstance(each.details.get("items", []), list) for each in (change.action, change.undo)):
        raise TypeError("items are no list")
    # What cannot be said cannot be done.
    describe_done(change.action), describe(change.undo)
    return change


def _can_undo(change: Change) -> bool:
    return knows(change.action) and knows(change.undo)


def _check_numbers(*values: object) -> None:
    for value in values:
        if not isinstance(value, (int, float)) or not abs(value) < float("inf"):
            raise TypeError(f"{value!r} is no number")


def _check_texts(*values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")
