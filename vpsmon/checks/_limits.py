"""Comparing a value with its two limits, with the margin that keeps an alert from flapping."""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.core.findings import Status

# An incident ends only when the value is better than its warning limit by this share of the limit.
CLEAR_MARGIN = 0.1


class Judgement(NamedTuple):
    """The status, whether it is clear of the limit by the margin, and the words for the limit that was passed."""

    status: Status
    is_clear: bool
    limit: float


def judge_above(value: float, warning: float, critical: float) -> Judgement:
    """Judge a value that is bad when it is above its limits."""
    if value > critical:
        return Judgement("critical", False, critical)
    if value > warning:
        return Judgement("warning", False, warning)
    edge = min(warning, critical)
    return Judgement("ok", value <= edge - edge * CLEAR_MARGIN, warning)


def judge_below(value: float, warning: float, critical: float) -> Judgement:
    """Judge a value that is bad when it is below its limits."""
    if value < critical:
        return Judgement("critical", False, critical)
    if value < warning:
        return Judgement("warning", False, warning)
    edge = max(warning, critical)
    return Judgement("ok", value >= edge + edge * CLEAR_MARGIN, warning)
