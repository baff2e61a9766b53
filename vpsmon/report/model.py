"""What a report says, before it is laid out for a terminal, a phone or an e-mail. No input or output."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vpsmon.core.findings import Status
from vpsmon.report.timeline import Day


class Row(NamedTuple):
    """A line: `text` is short enough for a phone, `detail` follows where there is room.

    `unanswered` is the bare reason where there is no answer: rows of the same reason become one.
    """

    label: str
    text: str
    detail: str = ""
    status: Status = "ok"
    unanswered: str = ""


class Section(NamedTuple):
    """Rows under a title; the rows that matter most come first, because a phone shows only those."""

    title: str
    rows: list[Row]


class Trend(NamedTuple):
    """A number over 24 h and over the 24 h before, drawn from 0 to `top`; `reason` says why there is none now."""

    label: str
    now: float | None
    today: Day
    yesterday: Day
    top: float
    show: Callable[[float], str]
    reason: str = ""


class Mark(NamedTuple):
    """Something that happened, for the chart: how long ago, of which kind, and what."""

    age_seconds: float
    kind: str
    text: str


class Report(NamedTuple):
    """A whole report; `watched_seconds` is for how much of the last 24 h there are samples."""

    host_name: str
    wall_seconds: float
    boot_age_seconds: float
    watched_seconds: float
    status: Status
    attention: list[Row]
    trends: list[Trend]
    sections: list[Section]
    marks: list[Mark]
