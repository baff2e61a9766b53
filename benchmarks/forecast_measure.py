"""How well the forecast does on traces: the error of the predicted end, how early the warning is, and false alarms."""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.forecast_replay import Replay
from benchmarks.forecast_traces import Trace

REMAINING = (0.5, 0.25, 0.1)
LOOK_HOURS = 1 / 3
# A machine that has been watched for less has not shown yet what it does every day.
KNOWN_HOURS = 72
# A lasting incident is repeated after these hours, and then as often as the last (REMIND_AFTER_HOURS).
REMIND_AFTER_HOURS = (1.0, 6.0, 24.0)

Kind = Callable[[random.Random], Trace]


class Result(NamedTuple):
    """Of one trace: the relative error at each of REMAINING (infinite: no trend seen), and what was said when."""

    errors: list[float]
    lead_hours: float
    leak_hours: float
    # Hours at which an alarm began, and at which a message was sent: the alarm, its rise, reminders and its end.
    alarms: list[float]
    messages: list[float]
    hours: float


class Mailbox:
    """When the alerts would send a message."""

    def __init__(self) -> None:
        self.alarms: list[float] = []
        self.messages: list[float] = []
        self._status = "ok"
        self._reminders = 0

    def add(self, hours: float, status: str, is_clear: bool) -> None:
        """Take what a pass finds."""
        if status in ("warning", "critical"):
            if self._status == "ok":
                self.alarms.append(hours)
                self._reminders = 0
            if self._status == "ok" or (status, self._status) == ("critical", "warning"):
                self.messages.append(hours)
                self._status = status
            elif hours - self.alarms[-1] >= self._find_next_reminder():
                self.messages.append(hours)
                self._reminders += 1
        elif is_clear and self._status != "ok":
            self.messages.append(hours)
            self._status = "ok"

    def _find_next_reminder(self) -> float:
        count = len(REMIND_AFTER_HOURS)
        if self._reminders < count:
            return REMIND_AFTER_HOURS[self._reminders]
        return REMIND_AFTER_HOURS[-1] * (self._reminders - count + 2)


def measure(trace: Trace, every_hours: float = LOOK_HOURS) -> Result:
    """Replay a trace; the check looks so often, or 150 times in a short one, and around REMAINING."""
    end = trace.hours[-1]
    leak_hours = end - trace.onset_hours
    every_hours = min(every_hours, leak_hours / 150)
    wanted = find_wanted(trace, leak_hours)
    errors: dict[float, list[float]] = {share: [] for share in REMAINING}
    replay, mailbox, lead_hours, next_hours = Replay(), Mailbox(), 0.0, 0.0
    for number, (hours, free_mb) in enumerate(zip(trace.hours, trace.free_mb, strict=True)):
        is_judged = hours >= next_hours or number in wanted
        sizes = {name: round(series[number], 1) for name, series in trace.containers.items()}
        verdict = replay.add(hours * 3600, free_mb, sizes, is_judged)
        if verdict is None:
            continue
        next_hours = hours + every_hours * 0.999
        if number in wanted:
            error = math.inf if verdict.hours is None else abs(verdict.hours / (end - hours) - 1)
            errors[wanted[number]].append(error)
        mailbox.add(hours, verdict.status, verdict.is_clear)
        if verdict.status in ("warning", "critical") and hours > trace.onset_hours and not lead_hours:
            lead_hours = end - hours
    middle_errors = [statistics.median(each or [math.nan]) for each in errors.values()]
    return Result(middle_errors, lead_hours, leak_hours, mailbox.alarms, mailbox.messages, end)


def find_wanted(trace: Trace, leak_hours: float) -> dict[int, float]:
    """Return the passes at which so much of the way of a leak remains: three near each moment, of which the median."""
    moments = {share: trace.hours[-1] - leak_hours * share for share in REMAINING if trace.is_leak}
    apart_hours = min(LOOK_HOURS, leak_hours / 150)
    # At the last pass, before which there may be a gap, nothing is left to foretell.
    latest = len(trace.hours) - 2
    return {
        min(latest, bisect_left(trace.hours, moment + shift)): share
        for share, moment in moments.items()
        for shift in (-apart_hours, 0, apart_hours)
    }


def measure_seed(kind: Kind, every_hours: float, seed: int) -> Result:
    """Return the result of a kind's trace of that number, the same in every run."""
    return measure(kind(random.Random(f"{kind.__name__} {seed}")), every_hours)  # noqa: S311


def is_leak(results: Sequence[Result]) -> bool:
    """Return whether the traces are those of a leak."""
    return not math.isnan(results[0].errors[0])


def describe_leaks(name: str, results: Sequence[Result]) -> str:
    """Return the line of a kind of leak."""
    errors = []
    for index in range(len(REMAINING)):
        values = sorted(result.errors[index] for result in results)
        seen = sum(value < math.inf for value in values)
        middle, worst_tenth = statistics.median(values), quantile(values, 0.9)
        errors.append(f"{format_percent(middle)} {format_percent(worst_tenth)} {seen / len(values):4.0%}")
    leads = [result.lead_hours for result in results]
    shares = [min(1.0, result.lead_hours / min(24.0, result.leak_hours)) for result in results]
    warned = f"{statistics.median(leads):5.1f} {quantile(leads, 0.1):5.1f} {min(leads):5.1f}"
    return f"{name:17} {'  '.join(errors)}   {warned}   {statistics.median(shares):4.0%}"


def describe_healthy(name: str, results: Sequence[Result]) -> str:
    """Return the line of healthy kinds: in 60 days, after the third day, and of all days."""
    days = sum(result.hours for result in results) / 24
    known_days = sum(max(0.0, result.hours - KNOWN_HOURS) for result in results) / 24
    alarms, messages = count_known(results, lambda each: each.alarms), count_known(results, lambda each: each.messages)
    first = sum(len(result.alarms) for result in results) - alarms
    return (
        f"{name:17} after day 3, in 60 of {known_days:5.0f} days: {alarms / known_days * 60:6.2f} false alarms, "
        f"{messages / known_days * 60:6.2f} messages; {first / len(results):5.2f} false alarms in the first 3 days; "
        f"all: {(alarms + first) / days * 60:6.2f} in 60 days"
    )


def count_known(results: Sequence[Result], choose: Callable[[Result], Sequence[float]]) -> int:
    """Return how many of the times are after the third day."""
    return sum(hours > KNOWN_HOURS for result in results for hours in choose(result))


def format_percent(share: float) -> str:
    """Return a share as a percentage of five characters; `none` where no trend was seen."""
    return f"{share:5.0%}" if share < math.inf else " none"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which the share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
