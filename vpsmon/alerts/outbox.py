"""Alerts and reports on their way: outbox.json, written before the first attempt to send. Pure; delivery.py sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.line import Line

FILE = "outbox.json"
# A week of the noisiest machine; beyond that the oldest entries that are not critical go first.
_MOST_ENTRIES = 1000


def add_entry(
    outbox: dict[str, Any], host_name: str, now_seconds: float, identity: str, notices: Sequence[Notice]
) -> dict[str, Any]:
    """Return the outbox with the notices in it: added to the message of that id, if it waits still, or as a new one."""
    entries = list_entries(outbox)
    waiting = next((entry for entry in entries if entry["id"] == identity and not entry["parts_sent"]), None)
    if waiting:
        waiting["notices"] += [list(notice) for notice in notices]
        return {**outbox, "entries": entries}
    entry = {
        "id": identity,
        "wall_seconds": now_seconds,
        "host": host_name,
        "notices": [list(notice) for notice in notices],
        "parts_sent": 0,
    }
    return {**outbox, "entries": _bound([*entries, entry])}


def add_report(
    outbox: dict[str, Any], host_name: str, now_seconds: float, identity: str, lines: Sequence[Line], photo: str
) -> dict[str, Any]:
    """Return the outbox with a report in it: a text that is written already, and the name of its chart, or ""."""
    entry = {
        "id": identity,
        "wall_seconds": now_seconds,
        "host": host_name,
        "notices": [],
        "parts_sent": 0,
        "lines": [list(line) for line in lines],
        "photo": photo,
    }
    return {**outbox, "entries": _bound([*list_entries(outbox), entry])}


def take_out(entries: list[dict[str, Any]], identity: str, notice_count: int) -> list[dict[str, Any]]:
    """Return the entries without the first notices of one; what was added to it meanwhile stays, as a new message."""
    kept = []
    for entry in entries:
        if entry["id"] != identity:
            kept.append(entry)
        elif len(entry["notices"]) > notice_count:
            kept.append({**entry, "id": f"{identity}+", "notices": entry["notices"][notice_count:], "parts_sent": 0})
    return kept


def list_entries(outbox: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that wait, oldest first; entries that no version of vpsmon wrote are left out."""
    entries = outbox.get("entries")
    return [entry for entry in entries if _is_entry(entry)] if isinstance(entries, list) else []


def _is_entry(entry: Any) -> bool:
    try:
        [Notice(*notice) for notice in entry["notices"]]
        [Line(*line) for line in entry.get("lines", [])]
        float(entry["wall_seconds"])
        return isinstance(entry["id"], str) and isinstance(entry["host"], str) and isinstance(entry["parts_sent"], int)
    except (TypeError, KeyError, ValueError):
        return False


def _bound(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    while len(entries) > _MOST_ENTRIES:
        mild = (index for index, entry in enumerate(entries) if not _is_critical(entry))
        del entries[next(mild, 0)]
    return entries


def _is_critical(entry: dict[str, Any]) -> bool:
    return any(notice[0] == "critical" for notice in entry["notices"])
