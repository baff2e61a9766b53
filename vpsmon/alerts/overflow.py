"""What gives way when the outbox grows without end, as in a day offline. Pure.

First the mild alerts, the oldest first: of those only the number is told. Then critical ones for which a newer one of
the same check and object stands, counted in that one. All are in alert_history.log. The first message is never touched:
it may be on its way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.core.findings import SEVERITIES

# Some screens full on a phone.
MOST_NOTICES = 200
# So many different objects may be critical beyond that.
MOST_CRITICAL = 2000


def bound(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages without what there is no room for, and with one that says how much that was."""
    first, rest = entries[:1], entries[1:]
    summary = rest.pop(0) if rest and "dropped" in rest[0] else None
    counts: dict[str, int] = summary["dropped"] if summary else {}
    waiting = [Notice(*notice) for entry in rest for notice in entry["notices"]]
    if len(waiting) <= MOST_NOTICES:
        return entries
    dropped = set(_choose_mild(waiting)) | set(_choose_repeated(waiting))
    if len(waiting) - len(dropped) > MOST_CRITICAL:
        dropped |= set(range(len(waiting) - MOST_CRITICAL))
    if not dropped:
        return entries
    for position in dropped:
        severity = waiting[position].severity
        counts = {**counts, severity: counts.get(severity, 0) + 1}
    kept = iter(_count_in(waiting, dropped))
    for entry in rest:
        texts = [next(kept) for _ in entry["notices"]]
        entry["notices"] = [list(notice) for notice in texts if notice]
    oldest = summary or {**rest[0], "id": f"{rest[0]['id']}-"}
    return [*first, _summarize(oldest, counts), *(entry for entry in rest if entry["notices"] or entry.get("lines"))]


def _choose_mild(waiting: Sequence[Notice]) -> list[int]:
    """Return the positions of the oldest that are not critical, as far as they are too many."""
    mild = [position for position, notice in enumerate(waiting) if notice.severity != "critical"]
    return mild[: len(waiting) - MOST_NOTICES]


def _choose_repeated(waiting: Sequence[Notice]) -> Iterator[int]:
    """Yield the positions of critical ones with a newer one of the same object, where critical ones are too many."""
    newest = {_key(notice): position for position, notice in enumerate(waiting)}
    critical = [position for position, notice in enumerate(waiting) if notice.severity == "critical"]
    for position in critical[: max(0, len(critical) - MOST_NOTICES)]:
        if newest[_key(waiting[position])] != position:
            yield position


def _count_in(waiting: Sequence[Notice], dropped: set[int]) -> Iterator[Notice | None]:
    """Yield what is kept, with the critical ones that gave way counted in it; None in the place of those."""
    held: dict[tuple[str, str, str | None], int] = {}
    for position, notice in enumerate(waiting):
        key = _key(notice)
        if position in dropped:
            held[key] = held.get(key, 0) + 1 + notice.suppressed_count
            yield None
        else:
            yield notice._replace(suppressed_count=notice.suppressed_count + held.pop(key, 0))


def _key(notice: Notice) -> tuple[str, str, str | None]:
    return notice.severity, notice.check, notice.object


def _summarize(oldest: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    """Return the message, with the id and the time of the one before it, or of the oldest one that waits."""
    parts = [f"{counts[severity]} {severity}" for severity in SEVERITIES if severity in counts]
    text = f"{sum(counts.values())} older alerts were dropped for newer ones ({', '.join(parts)})"
    wall_seconds = oldest["wall_seconds"]
    notice = Notice("warning", "outbox", None, text, "alert_history.log has all of them", wall_seconds)
    return {
        "id": oldest["id"],
        "wall_seconds": wall_seconds,
        "host": oldest["host"],
        "notices": [list(notice)],
        "parts_sent": 0,
        "dropped": counts,
    }
