"""The last 24 h as a picture: memory, swap and pressure over each other, events marked. Needs matplotlib.

Agg is drawn without a screen. It takes a second of CPU time and 80 MB, which only the report's own process pays.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from vpsmon.report.model import Report, Trend
from vpsmon.report.timeline import DAY_SECONDS, SLOT_SECONDS, Day

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (8.0, 6.2)
_DOTS_PER_INCH = 120
_COLOURS = {"memory": "#1565c0", "swap": "#6a1b9a", "pressure": "#ef6c00"}
_YESTERDAY = "#9e9e9e"
_EVENTS = {"OOM kill": "#c62828", "critical alert": "#ef6c00", "recovery": "#2e7d32"}
_TITLES = {"memory": "memory used, MB", "swap": "swap used, MB", "pressure": "memory pressure, 0 to 100"}


class NoChart(Exception):
    """There is no chart; the text says what is missing and how to get it."""


def draw_chart(report: Report, cache_folder: str) -> bytes:
    """Return the picture as PNG. Raises NoChart where matplotlib is not there or does not work."""
    # Where the unit may not write to a home folder, the list of fonts would be made anew each time: 2 s.
    os.environ.setdefault("MPLCONFIGDIR", cache_folder)
    with contextlib.suppress(OSError):
        os.makedirs(os.environ["MPLCONFIGDIR"], 0o700, exist_ok=True)
    # It tells of its list of fonts on standard error.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoChart(_explain(error)) from None
    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(report.trends), 1, sharex=True)
    for axis, trend in zip(axes, report.trends, strict=True):
        _draw_trend(axis, trend)
        _mark_events(axis, report)
    _label(figure, axes, report)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _explain(error: ImportError) -> str:
    import sys

    if isinstance(error, ModuleNotFoundError) and error.name == "matplotlib":
        return f"there is no chart without matplotlib: {sys.executable} -m pip install 'vpsmon[chart]'"
    return f"there is no chart: matplotlib does not work here: {error}"


def _draw_trend(axis: Axes, trend: Trend) -> None:
    axis.set_title(_TITLES[trend.label], loc="left", fontsize=10)
    axis.set_ylim(0, max(trend.top, 1.0) * 1.05)
    axis.grid(axis="y", color="#e0e0e0", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    hours, values = _points(trend.today)
    colour = _COLOURS[trend.label]
    axis.fill_between(hours, values, color=colour, alpha=0.18, linewidth=0)
    axis.plot(hours, values, color=colour, linewidth=1.6, label="today")
    axis.plot(*_points(trend.yesterday), color=_YESTERDAY, linewidth=1.0, linestyle="--", label="the day before")
    if trend.now is None and trend.today.peak is None:
        axis.text(0.5, 0.5, "no samples", transform=axis.transAxes, ha="center", color=_YESTERDAY)


def _points(day: Day) -> tuple[list[float], list[float]]:
    """Return hours before now and values; nan, which leaves a gap, where nothing was measured."""
    step = SLOT_SECONDS / 3600
    hours = [(position + 0.5) * step - 24 for position in range(len(day.slots))]
    return hours, [float("nan") if value is None else value for value in day.slots]


def _mark_events(axis: Axes, report: Report) -> None:
    for mark in report.marks:
        if mark.age_seconds < DAY_SECONDS:
            axis.axvline(-mark.age_seconds / 3600, color=_EVENTS[mark.kind], linewidth=1.1, alpha=0.8)


def _label(figure: Any, axes: Any, report: Report) -> None:
    from matplotlib.lines import Line2D

    now = report.wall_seconds
    figure.suptitle(f"{report.host_name}, the 24 hours until {time.strftime('%Y-%m-%d %H:%M', time.localtime(now))}")
    ticks = [-hour for hour in range(24, -1, -3)]
    axes[-1].set_xlim(-24, 0)
    axes[-1].set_xticks(ticks, [time.strftime("%H:%M", time.localtime(now + hour * 3600)) for hour in ticks])
    counts = {kind: sum(mark.kind == kind for mark in report.marks) for kind in _EVENTS}
    lines = [
        Line2D([], [], color="#555", linewidth=1.6, label="today"),
        Line2D([], [], color=_YESTERDAY, linewidth=1.0, linestyle="--", label="the day before"),
        *(
            Line2D([], [], color=_EVENTS[kind], linewidth=1.1, label=f"{kind} ({number})")
            for kind, number in counts.items()
            if number
        ),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False, fontsize=9)
