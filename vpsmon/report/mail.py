"""The report as an e-mail: plain text as in the terminal, HTML beside it, the chart inside. Pure.

HTML of mail is that of 2000: tables and styles on each element; Gmail drops style sheets and SVG.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from vpsmon.core.text import format_local
from vpsmon.report.model import Report, Row, Section, Trend
from vpsmon.report.sections.words import describe_head, describe_status, show_clock
from vpsmon.report.sparkline import draw_sparkline
from vpsmon.report.timeline import Day, squeeze

_COLUMNS = 36
_COLOURS = {"critical": "#c62828", "warning": "#b26a00", "unknown": "#6a1b9a", "skipped": "#777", "ok": "#1b5e20"}
_PAGE = "font:14px/1.45 -apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;color:#222;max-width:680px"
_TITLE = "font-size:15px;margin:18px 0 4px;border-bottom:1px solid #ddd;padding-bottom:2px"
_LABEL = "padding:1px 12px 1px 0;vertical-align:top;white-space:nowrap;color:#555"
_NUMBER = "padding:1px 0 1px 12px;text-align:right;white-space:nowrap"
_BARS = "font:13px/1 Menlo,Consolas,DejaVu Sans Mono,monospace;letter-spacing:0;white-space:nowrap"


def make_mail(
    report: Report, plain: str, sender: str, recipients: tuple[str, ...], chart: bytes | None
) -> EmailMessage:
    """Return the message."""
    from datetime import datetime, timezone

    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"{report.host_name}: {describe_status(report)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(report.wall_seconds, timezone.utc))
    message["Message-ID"] = make_msgid(domain=report.host_name)
    # Other machines must not answer it: RFC 3834.
    message["Auto-Submitted"] = "auto-generated"
    # Not every server takes 8 bits, and none takes a line of 1000 characters.
    message.set_content(plain + "\n", cte="quoted-printable")
    picture = make_msgid(domain=report.host_name) if chart else ""
    message.add_alternative(format_html(report, picture.strip("<>")), subtype="html", cte="quoted-printable")
    if chart:
        page = message.get_payload()[1]  # type: ignore[index]  # the alternative just added
        page.add_related(chart, "image", "png", cid=picture, filename="last-24-hours.png")  # type: ignore[union-attr]
    return message


def format_html(report: Report, picture: str) -> str:
    """Return the page; `picture` is the content id of the chart, or ""."""
    return "".join(_write(report, picture))


def _write(report: Report, picture: str) -> Iterator[str]:
    yield f'<!DOCTYPE html><html><body><div style="{_PAGE}">'
    yield f'<div style="font-size:18px"><b>{_escape(report.host_name)}</b> · daily report</div>'
    yield f'<div style="color:#777">{_escape(format_local(report.wall_seconds))}, {describe_head(report)}</div>'
    yield f'<div style="color:{_COLOURS[report.status]}"><b>{describe_status(report)}</b></div>'
    if report.attention:
        yield from _write_section(Section("Attention", report.attention))
    yield f'<div style="{_TITLE}"><b>Last 24 hours</b></div><table cellspacing="0" cellpadding="0">'
    titles = ("", "", "now", "average", "peak", "at")
    yield f"<tr>{''.join(f'<td style={chr(34)}{_NUMBER};color:#777{chr(34)}>{title}</td>' for title in titles)}</tr>"
    for trend in report.trends:
        yield from _write_trend(trend, report.wall_seconds)
    yield "</table>"
    if picture:
        yield f'<img src="cid:{picture}" alt="memory, swap and pressure" style="max-width:100%;margin-top:8px">'
    for section in report.sections:
        yield from _write_section(section)
    yield "</div></body></html>"


def _write_trend(trend: Trend, wall_seconds: float) -> Iterator[str]:
    if trend.now is None and trend.today.peak is None:
        reason = _escape(trend.reason or "no samples")
        yield f'<tr><td style="{_LABEL}">{trend.label}</td><td colspan="5" style="color:#777">{reason}</td></tr>'
        return
    now = "-" if trend.now is None else trend.show(trend.now)
    yield _write_day(trend.label, now, trend, trend.today, wall_seconds, "#1565c0")
    if trend.yesterday.peak is not None:
        yield _write_day("yesterday", "", trend, trend.yesterday, wall_seconds, "#999")


def _write_day(label: str, now: str, trend: Trend, day: Day, wall_seconds: float, colour: str) -> str:
    figures = [now, "-", "-", ""]
    if day.average is not None and day.peak is not None:
        at = show_clock(wall_seconds, day.peak_age_seconds)
        figures = [now, trend.show(day.average), trend.show(day.peak), at]
    bars = draw_sparkline(squeeze(day.slots, _COLUMNS), trend.top)
    cells = "".join(f'<td style="{_NUMBER}">{figure}</td>' for figure in figures)
    drawn = f'<td style="{_BARS};color:{colour}">{bars}</td>'
    return f'<tr style="color:{colour}"><td style="{_LABEL}">{label}</td>{drawn}{cells}</tr>'


def _write_section(section: Section) -> Iterator[str]:
    yield f'<div style="{_TITLE}"><b>{section.title}</b></div><table cellspacing="0" cellpadding="0">'
    yield from (_write_row(row) for row in section.rows)
    yield "</table>"


def _write_row(row: Row) -> str:
    colour = "#222" if row.status == "ok" else _COLOURS[row.status]
    detail = f' <span style="color:#777">{_escape(row.detail)}</span>' if row.detail else ""
    text = f'<span style="color:{colour}">{_escape(row.text)}</span>{detail}'
    return f'<tr><td style="{_LABEL}">{_escape(row.label)}</td><td style="padding:1px 0">{text}</td></tr>'


def _escape(text: str) -> str:
    return html.escape(text)
