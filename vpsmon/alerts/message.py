"""The words of an alert: one Telegram message for all that a pass has to say."""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.alerts.incidents import Notice, sort_by_gravity
from vpsmon.alerts.line import LONGEST_MESSAGE, Line, measure
from vpsmon.core.text import clean, format_local

# A single notice longer than this is cut: no reader needs more, and a part must hold at least one line.
_LONGEST_NOTICE = 1500
_MARKS = {"critical": "🔴 CRITICAL", "warning": "🟠 WARNING", "info": "🔵 INFO"}
_END_MARK = "✅ RESOLVED"


def render_alert(host_name: str, wall_seconds: float, identity: str, notices: Sequence[Notice]) -> list[list[Line]]:
    """Return the parts of the message, each short enough to be sent; nearly always one."""
    when = format_local(wall_seconds)
    lines = [Line(f"<b>{_escape(clean(host_name))}</b> · {when}", f"{clean(host_name)} · {when}")]
    for notice in sort_by_gravity(notices):
        lines += _render_notice(notice)
    lines.append(Line(f"<i>id {_escape(identity)}</i>", f"id {identity}"))
    return _split(lines)


def _render_notice(notice: Notice) -> list[Line]:
    mark = _END_MARK if notice.is_end else _MARKS[notice.severity]
    message = clean(notice.message, _LONGEST_NOTICE)
    name = f" {clean(notice.object)}" if notice.object else ""
    head = Line(f"{mark} <b>{_escape(notice.check)}</b>{_escape(name)}", f"{mark} {notice.check}{name}")
    lines = [Line(f"{head.html}\n{_escape(message)}", f"{head.plain}\n{message}")]
    if notice.suppressed_count:
        held = f"{notice.suppressed_count} more of these were suppressed since the last message"
        lines.append(Line(f"<i>{held}</i>", held))
    if notice.advice:
        # It may quote what a container has logged.
        advice = clean(notice.advice, _LONGEST_NOTICE)
        lines.append(Line(f"→ {_escape(advice)}", f"→ {advice}"))
    return lines


def _escape(text: str) -> str:
    """Return the text for Telegram's HTML. `html.escape` does the same, after half a megabyte of named characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _split(lines: Sequence[Line]) -> list[list[Line]]:
    parts: list[list[Line]] = []
    room = 0
    for line in lines:
        size = measure([line])
        if size > room:
            parts.append([])
            room = LONGEST_MESSAGE
        parts[-1].append(line)
        room -= size
    return parts
