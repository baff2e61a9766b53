"""The report as one Telegram message that reads well on a phone. Pure.

Text runs in the phone's own type, in lines of some 38 characters; only the sparklines need a fixed width, and 24
characters, an hour each, fit on the narrowest screen.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from vpsmon.alerts.line import LONGEST_MESSAGE, Line, measure
from vpsmon.core.text import clean, format_local
from vpsmon.report.model import Report, Row, Section, Trend
from vpsmon.report.sections.words import describe_head, describe_status, show_clock
from vpsmon.report.sparkline import draw_sparkline
from vpsmon.report.timeline import squeeze

_COLUMNS = 24
_LONGEST_LABEL = 40
_LONGEST_TEXT = 160
_MARKS = {"critical": "🔴 ", "warning": "🟠 ", "unknown": "⚪ ", "skipped": "", "ok": ""}
_STATUS = {"critical": "🔴", "warning": "🟠", "unknown": "⚪", "skipped": "🟢", "ok": "🟢"}
# Rows of a section, fewer until the message fits: an alert of the day is worth more than the tenth container.
_ROWS_TO_TRY = (8, 6, 4, 3, 2, 1)


def format_telegram(report: Report, identity: str) -> list[Line]:
    """Return the lines of the message, together not longer than Telegram takes."""
    for most_rows in _ROWS_TO_TRY:
        lines = [*_write(report, most_rows), Line(f"<i>id {identity}</i>", f"id {identity}")]
        if measure(lines) <= LONGEST_MESSAGE:
            break
    return lines


def _write(report: Report, most_rows: int) -> Iterator[Line]:
    name = clean(report.host_name, _LONGEST_LABEL)
    yield Line(f"<b>{_escape(name)}</b> · daily report", f"{name} · daily report")
    yield _plain(format_local(report.wall_seconds))
    yield _plain(f"{_STATUS[report.status]} {describe_status(report)}")
    yield _plain(describe_head(report))
    if report.attention:
        yield from _write_section(Section("Attention", report.attention), most_rows)
    yield from _write_title("Last 24 hours, an hour a bar")
    for trend in report.trends:
        yield from _write_trend(trend, report.wall_seconds)
    for section in report.sections:
        yield from _write_section(section, most_rows)


def _write_trend(trend: Trend, wall_seconds: float) -> Iterator[Line]:
    now = "not known" if trend.now is None else trend.show(trend.now)
    if trend.now is None and trend.reason:
        now = clean(trend.reason, _LONGEST_TEXT)
    yield _write_row(Row(trend.label, now))
    today, before = trend.today, trend.yesterday
    if today.average is not None and today.peak is not None:
        at = show_clock(wall_seconds, today.peak_age_seconds)
        yield _fixed(draw_sparkline(squeeze(today.slots, _COLUMNS), trend.top))
        yield _plain(f"average {trend.show(today.average)}, peak {trend.show(today.peak)} at {at}")
    if before.average is not None and before.peak is not None:
        # In figures: two rows of bars below each other run into one on a phone.
        yield _plain(f"day before {trend.show(before.average)}, peak {trend.show(before.peak)}")


def _write_section(section: Section, most_rows: int) -> Iterator[Line]:
    yield from _write_title(section.title)
    for row in section.rows[:most_rows]:
        yield _write_row(row)
    hidden = len(section.rows) - most_rows
    if hidden > 0:
        yield Line(f"<i>… {hidden} more: vpsmon report</i>", f"… {hidden} more: vpsmon report")


def _write_row(row: Row) -> Line:
    mark, label, text = _MARKS[row.status], clean(row.label, _LONGEST_LABEL), clean(row.text, _LONGEST_TEXT)
    return Line(f"{mark}<i>{_escape(label)}</i> {_escape(text)}" if label else _escape(text), f"{mark}{label} {text}")


def _write_title(title: str) -> Iterator[Line]:
    yield _plain("")
    yield Line(f"<b>{title}</b>", title.upper())


def _plain(text: str) -> Line:
    return Line(_escape(text), text)


def _fixed(text: str) -> Line:
    return Line(f"<code>{text}</code>", text)


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
