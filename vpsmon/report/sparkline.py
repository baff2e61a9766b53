"""A row of block characters as high as the numbers that it stands for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
# Not a space: it would be taken for zero.
_EMPTY = "·"


def draw_sparkline(values: Sequence[float | None], top: float) -> str:
    """Return a character for each value between 0 and the top; a dot where there is none."""
    return "".join(_EMPTY if value is None else _draw(value, top) for value in values)


def _draw(value: float, top: float) -> str:
    share = value / top if top > 0 else 0.0
    return _BLOCKS[min(len(_BLOCKS) - 1, max(0, int(share * len(_BLOCKS))))]
