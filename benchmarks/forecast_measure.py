"""How well the forecast does on traces: the error of the predicted end, how early the warning is, and false alarms."""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.forecast_limits import DISK
from benchmarks.forecast_points import SeriesOfTrace
from benchmarks.forecast_traces import STEP_SECONDS, Trace
from vpsmon.checks.kernel import disk_forecast
from vpsmon.checks.kernel import forecast as check
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Previous
from vpsmon.trends.forecast import MEMORY_PLAN, find_trend
from vpsmon.trends.history import Tails
from vpsmon.trends.samples import CONTAINERS, MACHINE
from vpsmon.trends.series import Series

REMAINING = (0.5, 0.25, 0.1)
LOOK_HOURS = 1 / 3
# A machine that has been watched for less has not shown yet what it does every day.
KNOWN_HOURS = 72
# A lasting incident is repeated after these hours, and then as often as the last (REMIND_AFTER_HOURS).
REMIND_AFTER_HOURS = (1.0, 6.0, 24.0)

# Whose room it is decides how far back is looked.
PLANS = {MACHINE: MEMORY_PLAN, CONTAINERS: check.CONTAINER_PLAN, DISK: disk_forecast.PLAN}

Kind = Callable[[random.Random], Trace]


class Result(NamedTuple):
    """Of one trace: the relative error at each of REMAINING (infinite: no trend seen), and what was said when."""

    errors: list[float]
    # Of each trend that was seen then, whether the end was in its range.
    is_inside: list[bool]
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


class Look(NamedTuple):
    """A pass in which the check looks: its time, what it sees, and how much of a leak is left where that counts."""

    hours: float
    series: Series
    share: float | None


def list_looks(trace: Trace, every_hours: float, only_wanted: bool = False) -> list[Look]:
    """Return the passes that are looked at: so often, or 150 times in a short leak, and around REMAINING."""
    leak_hours = trace.hours[-1] - trace.onset_hours
    every_hours = min(every_hours, leak_hours / 150)
    wanted = find_wanted(trace, leak_hours)
    series = SeriesOfTrace(trace.hours, [round(each, 1) for each in trace.free_mb], trace.what)
    looks, next_hours = [], math.inf if only_wanted else 0.0
    for number, hours in enumerate(trace.hours):
        if hours >= next_hours or number in wanted:
            looks.append(Look(hours, series.at(number), wanted.get(number)))
            next_hours = hours + every_hours * 0.999 if not only_wanted else math.inf
    return looks


class Observer:
    """The check, looking at one pass of a trace after the other, and how well that goes."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._end = trace.hours[-1]
        self._errors: dict[float, list[float]] = {share: [] for share in REMAINING}
        self._inside: list[bool] = []
        self._mailbox = Mailbox()
        self._lead_hours = 0.0
        self._previous: Previous | None = None

    def look(self, look: Look) -> None:
        """Judge one pass."""
        seconds, left = look.hours * 3600, self._end - look.hours
        trend = find_trend(look.series, PLANS[self._trace.what])
        reading = check.Reading(look.series, trend, [], Tails([], [], []), seconds, seconds)
        finding = check.judge_machine(reading, DEFAULTS, self._previous.memory if self._previous else {})
        self._previous = Previous(check.remember(reading, self._previous), STEP_SECONDS)
        if look.share is not None:
            self._errors[look.share].append(abs(trend.hours_left / left - 1) if trend else math.inf)
            self._inside += [trend.earliest_hours <= left <= trend.latest_hours] if trend else []
        self._mailbox.add(look.hours, finding.status, finding.is_clear)
        if finding.status in ("warning", "critical") and look.hours > self._trace.onset_hours and not self._lead_hours:
            self._lead_hours = left

    def to_result(self) -> Result:
        """Return how well it went."""
        errors = [statistics.median(each or [math.nan]) for each in self._errors.values()]
        leak_hours, mailbox = self._end - self._trace.onset_hours, self._mailbox
        return Result(errors, self._inside, self._lead_hours, leak_hours, mailbox.alarms, mailbox.messages, self._end)


def measure(trace: Trace, every_hours: float = LOOK_HOURS) -> Result:
    """Look at a trace as the check does, and return how well that went."""
    observer = Observer(trace)
    for look in list_looks(trace, every_hours):
        observer.look(look)
    return observer.to_result()


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
    inside = [each for result in results for each in result.is_inside]
    covered = f"{sum(inside) / max(1, len(inside)):4.0%}"
    return f"{name:19} {'  '.join(errors)}   {covered}   {warned}   {statistics.median(shares):4.0%}"


def describe_healthy(name: str, results: Sequence[Result]) -> str:
    """Return the line of healthy kinds: in 60 days, after the third day, and of all days."""
    days = sum(result.hours for result in results) / 24
    known_days = sum(max(0.0, result.hours - KNOWN_HOURS) for result in results) / 24
    alarms, messages = count_known(results, lambda each: each.alarms), count_known(results, lambda each: each.messages)
    first = sum(len(result.alarms) for result in results) - alarms
    return (
        f"{name:19} after day 3, in 60 of {known_days:5.0f} days: {alarms / known_days * 60:6.2f} false alarms, "
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
