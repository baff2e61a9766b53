"""The lines of a Telegram message, with and without markup. Pure, and light enough for every pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# Bot API, sendMessage: 1-4096 characters after entities parsing. Counted in UTF-16 units, which is never less.
LONGEST_MESSAGE = 4096


class Line(NamedTuple):
    """A line in Telegram's HTML, and the same without markup for when that is refused."""

    html: str
    plain: str


def join_lines(lines: Sequence[Line], as_html: bool) -> str:
    """Return the text of one message."""
    return "\n".join(line.html if as_html else line.plain for line in lines)


def measure(lines: Sequence[Line]) -> int:
    """Return the length of the lines as one text, as Telegram counts it, markup included."""
    return sum(len(line.html.encode("utf-16-le", "surrogatepass")) // 2 + 1 for line in lines)
