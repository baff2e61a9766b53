"""Standard output: colour, width, and an encoding that may lack characters."""

from __future__ import annotations

import os
import sys

_COLOURS = {"ok": "32", "warning": "33", "critical": "1;31", "unknown": "35", "skipped": "2"}
_COLOURS |= {"title": "1", "spark": "36", "aside": "2"}
# On a terminal that leaves less than this, lines run over its edge.
_NARROWEST = 30


def break_lines(text: str, indent: int) -> str:
    """Return a text that stands this far to the right; on a terminal its lines end before the edge, between words."""
    columns = read_columns()
    if columns is None:
        return text.replace("\n", "\n" + " " * indent)
    import textwrap

    width = max(_NARROWEST, columns - indent)
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    lines = [part for line in text.split("\n") for part in wrapper.wrap(line) or [""]]
    return ("\n" + " " * indent).join(lines)


def read_columns() -> int | None:
    """Return how wide the terminal is; None where standard output is none."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def wants_colour() -> bool:
    """Return whether standard output is a terminal whose owner has not asked for plain text (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_text(text: str) -> None:
    """Print to standard output; characters that the terminal's encoding lacks are replaced. Raises OSError."""
    try:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has had enough
            raise


def paint(text: str, style: str, with_colour: bool) -> str:
    """Return the text in the colour of a status, or of another word of _COLOURS, where that is wanted."""
    return f"\033[{_COLOURS[style]}m{text}\033[0m" if with_colour else text
