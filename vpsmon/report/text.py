"""The report for a terminal and for `.alerts/reports/`: 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from vpsmon.core.text import clean, format_local
from vpsmon.report.model import Report, Row, Section, Trend
from vpsmon.report.sections.words import describe_head, describe_status, show_clock
from vpsmon.report.sparkline import draw_sparkline
from vpsmon.report.timeline import DAY_SECONDS, Day, squeeze
from vpsmon.system.terminal import paint

_WIDTH = 80
_SPARKLINE = 36
_LABEL_MOST = 20
_MARKS = {"critical": "✖", "warning": "▲", "unknown": "?", "skipped": "·"}


def format_text(report: Report, with_colour: bool) -> str:
    """Return the report, coloured where that is wanted."""
    return "\n".join(line.rstrip() for line in _Writer(with_colour).write(report))


class _Writer:
    def __init__(self, with_colour: bool) -> None:
        self._with_colour = with_colour

    def write(self, report: Report) -> Iterator[str]:
        title = f"{clean(report.host_name, 40)} · daily report"
        when = format_local(report.wall_seconds)
        yield self._paint(title, "title") + when.rjust(_WIDTH - len(title))
        about, status = describe_head(report), describe_status(report)
        yield about + self._paint(status.rjust(_WIDTH - len(about)), report.status)
        if report.attention:
            yield from self._write_section(Section("Attention", report.attention))
        yield from self._write_trends(report)
        for section in report.sections:
            yield from self._write_section(section)

    def _write_title(self, title: str) -> Iterator[str]:
        yield ""
        yield self._paint(f"{title.upper()} ", "title") + self._paint("─" * (_WIDTH - len(title) - 1), "aside")

    def _write_trends(self, report: Report) -> Iterator[str]:
        yield from self._write_title("Last 24 hours")
        now = show_clock(report.wall_seconds, 0)
        scale = f"{now}{show_clock(report.wall_seconds, DAY_SECONDS / 2):^26}{now:>5}"
        yield self._paint(f"{'':11}{scale}{'now':>9}{'average':>9}{'peak':>9}{'at':>6}", "aside")
        for trend in report.trends:
            yield from self._write_trend(trend, report.wall_seconds)

    def _write_trend(self, trend: Trend, wall_seconds: float) -> Iterator[str]:
        if trend.now is None and trend.today.peak is None:
            yield from self._write_row(Row(trend.label, trend.reason or "no samples", status="skipped"), 9)
            return
        now = "-" if trend.now is None else trend.show(trend.now)
        figures = f"{now:>9}{_describe(trend, trend.today, wall_seconds)}"
        yield f" {trend.label:<9} {self._draw(trend, trend.today, 'spark')}{figures}"
        if trend.yesterday.peak is not None:
            rest = f"{'':9}{_describe(trend, trend.yesterday, wall_seconds)}"
            yield (
                self._paint(" yesterday ", "aside")
                + self._draw(trend, trend.yesterday, "aside")
                + self._paint(rest, "aside")
            )

    def _draw(self, trend: Trend, day: Day, style: str) -> str:
        return self._paint(draw_sparkline(squeeze(day.slots, _SPARKLINE), trend.top), style)

    def _write_section(self, section: Section) -> Iterator[str]:
        yield from self._write_title(section.title)
        width = max((len(row.label) for row in section.rows if len(row.label) <= _LABEL_MOST), default=0)
        for row in section.rows:
            yield from self._write_row(row, width)

    def _write_row(self, row: Row, width: int) -> Iterator[str]:
        mark = self._paint(_MARKS[row.status], row.status) if row.status != "ok" else " "
        room = _WIDTH - width - 4
        lines = list(self._wrap(row, room))
        if len(row.label) > width:
            yield f"{mark} {clean(row.label, _WIDTH - 2)}"
        else:
            yield f"{mark} {row.label:<{width}}  {lines.pop(0)}"
        yield from (f"{'':{width + 4}}{line}" for line in lines)

    def _wrap(self, row: Row, room: int) -> Iterator[str]:
        """Yield the text and its detail: on one line where they fit, else each on lines of its own."""
        if row.detail and len(row.text) + len(row.detail) + 3 <= room:
            yield f"{row.text}{self._paint(f' · {row.detail}', 'aside')}"
            return
        yield from _wrap(row.text, room) or [""]
        yield from (self._paint(line, "aside") for line in _wrap(row.detail, room))

    def _paint(self, text: str, style: str) -> str:
        return paint(text, style, self._with_colour)


def _describe(trend: Trend, day: Day, wall_seconds: float) -> str:
    if day.average is None or day.peak is None:
        return f"{'-':>9}{'-':>9}"
    at = show_clock(wall_seconds, day.peak_age_seconds)
    return f"{trend.show(day.average):>9}{trend.show(day.peak):>9} {at}"


def _wrap(text: str, room: int) -> list[str]:
    """Names of containers and paths stay whole, so that they can be copied."""
    return textwrap.wrap(text, room, break_on_hyphens=False)
