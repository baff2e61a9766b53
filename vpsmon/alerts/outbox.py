"""Alerts and reports on their way: outbox.json, written before the first attempt to send; delivery.py sends."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.line import Line
from vpsmon.alerts.overflow import bound
from vpsmon.core.findings import SEVERITIES
from vpsmon.core.text import LATEST_WALL_SECONDS, clean
from vpsmon.state.content import WRONG_FORM

FILE = "outbox.json"
# Nobody reads those of the week before last; the first message is never touched: it may be on its way.
_MOST_REPORTS = 7
# A restart of the network, or of Telegram, is over by then.
_LONG_SECONDS = 900
# A path, or what is no name of a file, would hold up all that wait behind it.
_PHOTO = re.compile(r"(\d{4}-\d\d-\d\d\.png)?")


def choose_identity(outbox: dict[str, Any], identity: str | None) -> str:
    """Return the id of a message while all of it waits still, else a new one: one that has arrived is a duplicate."""
    waits = any(entry["id"] == identity and not entry["parts_sent"] for entry in list_entries(outbox))
    return identity if identity and waits else os.urandom(4).hex()


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
    return {**outbox, "entries": bound([*entries, entry])}


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
    first, *rest = [*list_entries(outbox), entry]
    reports = [each for each in rest if each.get("lines")]
    return {**outbox, "entries": [first, *(each for each in rest if each not in reports[:-_MOST_REPORTS])]}


def explain_silence(outbox: dict[str, Any], now_seconds: float) -> str | None:
    """Return why alerts do not arrive: the last one was refused, or they wait for long; None where they do arrive."""
    refusal = outbox.get("refusal")
    if isinstance(refusal, dict):
        return clean(str(refusal.get("reason")), 300)
    entries = list_entries(outbox)
    if entries and now_seconds - entries[0]["wall_seconds"] > _LONG_SECONDS:
        return f"{len(entries)} message(s) to Telegram wait for more than {_LONG_SECONDS // 60} minutes"
    return None


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
        notices = [Notice(*notice) for notice in entry["notices"]]
        lines = [Line(*line) for line in entry.get("lines", [])]
        texts = [entry["id"], entry["host"], entry.get("photo", ""), *(text for line in lines for text in line)]
        counts = [entry["parts_sent"], *entry.get("dropped", {}).values()]
        return (
            bool(notices or lines)
            and all(map(is_notice, notices))
            and all(isinstance(text, str) for text in texts)
            and _PHOTO.fullmatch(entry.get("photo", "")) is not None
            and _is_time(entry["wall_seconds"])
            and all(map(_is_count, counts))
        )
    except WRONG_FORM:
        return False


def is_notice(notice: Notice) -> bool:
    """Return whether every part of a notice that was read from a file is of the type that it should have."""
    texts = (notice.check, notice.object or "", notice.message, notice.advice or "")
    return (
        notice.severity in SEVERITIES
        and all(isinstance(text, str) for text in texts)
        and _is_time(notice.wall_seconds)
        and _is_count(notice.suppressed_count)
    )


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= LATEST_WALL_SECONDS


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0
