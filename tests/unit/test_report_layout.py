"""The same report for a terminal, for a phone and for e-mail: it fits, and escapes names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.kit.telegram_html import strip_markup
from vpsmon.alerts.line import LONGEST_MESSAGE, join_lines, measure
from vpsmon.report.mail import format_html
from vpsmon.report.model import Report, Row, Section, Trend
from vpsmon.report.telegram import format_telegram
from vpsmon.report.text import format_text
from vpsmon.report.timeline import EMPTY_DAY, SLOTS, Day

HOSTILE = "<b>&\"'" + "very-long-name-" * 30
DAY = Day(tuple(float(number) for number in range(SLOTS)), 71.5, 143.0, 300.0)


def make_trend(label: str = "memory") -> Trend:
    return Trend(label, 100.0, DAY, DAY, 200.0, lambda value: f"{value:.0f} MB")


def make_report(rows: int = 3, text: str = "all fine", sections: int = 4) -> Report:
    made = [Row(f"row {number}", text, f"detail {number}") for number in range(rows)]
    titled = [Section(f"Section {number}", made) for number in range(sections)]
    trends = [make_trend("memory"), make_trend("swap"), make_trend("pressure")]
    return Report("vps1", 1_800_000_000.0, 90_000.0, 86_400.0, "ok", [], trends, titled, [])


def test_a_report_of_any_size_is_one_message() -> None:
    for rows, text in ((3, "all fine"), (200, HOSTILE), (8, "🔴<" * 400)):
        lines = format_telegram(make_report(rows, text), "abc")
        assert measure(lines) <= LONGEST_MESSAGE
        assert strip_markup(join_lines(lines, as_html=True))
        # What is cut is said, and every section is still there.
        hidden = "… " in join_lines(lines, as_html=False) and "more: vpsmon report" in join_lines(lines, as_html=False)
        assert hidden == (rows > 3)
        assert join_lines(lines, as_html=False).count("SECTION") == 4


def test_what_is_wrong_comes_before_everything_else() -> None:
    report = make_report()._replace(
        attention=[Row("swap_usage", "931 MB used", "→ restart it", "critical")], status="critical"
    )
    text = join_lines(format_telegram(report, "abc"), as_html=False)
    assert text.index("🔴 swap_usage 931 MB used") < text.index("LAST 24 HOURS")
    assert "1 critical" in text.split("\n")[2]
    plain = format_text(report, with_colour=False)
    assert plain.split("\n")[1].endswith("1 critical")
    assert plain.index("✖ swap_usage") < plain.index("LAST 24 HOURS")


def test_80_columns_whatever_the_names() -> None:
    report = make_report(5, HOSTILE)._replace(attention=[Row(HOSTILE, HOSTILE, HOSTILE, "unknown")])
    lines = format_text(report, with_colour=False).split("\n")
    assert max(map(len, lines)) <= 80
    assert not any(line != line.rstrip() for line in lines)


def test_colour_changes_nothing_but_the_colour() -> None:
    report = make_report()._replace(attention=[Row("oom_kills", "killed", "", "critical")])
    coloured = format_text(report, with_colour=True)
    assert "\x1b[1;31m" in coloured
    stripped = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.split("\n")] == format_text(report, with_colour=False).split("\n")


@pytest.mark.parametrize("now", [None, 5.0])
def test_a_trend_without_samples_shows_dots_or_the_reason(now: float | None) -> None:
    trend = Trend("swap", now, EMPTY_DAY, EMPTY_DAY, 0.0, str, "" if now else "no swap: none is configured")
    report = make_report()._replace(trends=[trend])
    text = format_text(report, with_colour=False)
    phone = join_lines(format_telegram(report, "abc"), as_html=False)
    assert ("no swap: none is configured" in text) == (now is None)
    assert ("no swap: none is configured" in phone) == (now is None)
    assert ("·" * 36 in text) == (now is not None)
    assert " 0" not in phone.split("swap ")[1].split("\n")[0]


class Texts(HTMLParser):
    """The texts of a page, and its tags, which have to be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_says_everything_and_escapes_it() -> None:
    report = make_report(2, HOSTILE)._replace(attention=[Row("a", "b & c", "<d>", "warning")])
    page = Texts(format_html(report, "x@y"))
    assert page.open == []
    assert page.texts.count(HOSTILE) == 8
    for text in ("b & c", "<d>", "Last 24 hours", "detail 1", "100 MB", "143 MB"):
        assert any(text in each for each in page.texts), text
    assert '<img src="cid:x@y"' in format_html(report, "x@y")
    assert "<img" not in format_html(report, "")
