"""What each rule of the forecast is worth: errors and false alarms with the rule switched off, a line for each."""

from __future__ import annotations

import math
import multiprocessing
import random
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from benchmarks.forecast_groups import GROUPS
from benchmarks.forecast_measure import (
    KNOWN_HOURS,
    Look,
    Observer,
    Result,
    count_known,
    format_percent,
    list_looks,
    quantile,
)
from vpsmon.trends import curves, forecast, passage, restarts, rhythm

ABLATION_HOURS = 2.0
REMEMBERED = (curves.fit_curve, rhythm.find_rhythm)
MEMORY_GROUPS = (1, 2, 3)
NEVER = float("-inf")


def _see_no_dips(curve: Any, lows: Any, origin: float) -> passage.Dips:
    return passage.Dips([0.0] * len(lows), (lows[-1].hours - lows[0].hours) / 1e3)


def _fit_only_parabolas(blocks: Any) -> Any:
    with patch.object(curves, "_MOST_GROWTH", 0.0):
        return curves.fit_curve.__wrapped__(blocks)


_uses_up = forecast._uses_up


def _uses_up_at_any_level(view: Any, points: Any, blocks: Any, start: float) -> bool:
    return _uses_up(view, points, blocks, math.inf)


# Each rule with what takes its place where it is switched off: the module, the name and the stand-in.
RULES: dict[str, list[tuple[Any, str, Any]]] = {
    "all rules": [],
    "a rise begins a new trend": [(forecast, "find_new_start", lambda series: NEVER)],
    "a rise that comes again and again does not": [(restarts, "_MOST_RARE_JUMPS", 1_000_000)],
    "nor does the end of a job": [(restarts, "_LONGEST_JOB_POINTS", 1)],
    "all of the past counts after a rise": [(forecast, "_find_beginnings", lambda start, reset: [start])],
    "a rise of a quarter is a restart": [(forecast, "find_reset", forecast.find_new_start)],
    "the rhythm of days": [(forecast, "find_rhythm", lambda hours: None)],
    "the rhythm before two days": [(rhythm, "_draw_young_rhythm", lambda *each: [])],
    "bent curves": [(forecast, "fit_curve", curves.fit_line)],
    "exponentials": [(forecast, "fit_curve", _fit_only_parabolas)],
    "bent curves leave white noise": [(curves, "_NOISE_OF_SECOND_DIFFERENCE", math.inf)],
    "bent curves are much closer": [(curves, "_BENT_SHARE", 1.0)],
    "the curve explains the present": [(forecast, "_explains", lambda *each: True)],
    "the latest blocks lie on it": [(forecast, "_MOST_OFF", math.inf)],
    "tau of 0.6": [(forecast, "_LEAST_TAU", 0.0)],
    "a rest of a fifth ends a fall": [(forecast, "_LEAST_REST", math.inf)],
    "two fifths are used up": [(forecast, "_LEAST_USED", 0.0)],
    "less is left than ever": [(forecast, "_uses_up", _uses_up_at_any_level)],
    "not in a few steps": [(forecast, "_falls_in_few_steps", lambda blocks: False)],
    "not farther than seen": [(forecast, "_FARTHEST", 5.0)],
    "the newer half where no curve fits": [(forecast, "_follow_newer_half", lambda *each: None)],
    "dips below the curve": [(forecast, "find_dips", _see_no_dips)],
    "a fall that has come before": [(forecast, "is_recurring", lambda *each: False)],
}


def measure_seed(task: tuple[int, int]) -> list[tuple[int, bool, dict[str, Result]]]:
    """Return what each rule is worth on one trace of each kind of a group."""
    group, seed = task
    found = []
    for kind in GROUPS[group]:
        trace = kind(random.Random(f"{kind.__name__} {seed}"))  # noqa: S311
        observers = {rule: Observer(trace) for rule in RULES}
        for look in list_looks(trace, ABLATION_HOURS, only_wanted=trace.is_leak):
            for rule, observer in observers.items():
                _look_without(rule, observer, look)
        found.append((group, trace.is_leak, {rule: each.to_result() for rule, each in observers.items()}))
    return found


def _look_without(rule: str, observer: Observer, look: Look) -> None:
    """Look with a rule switched off; what is remembered of points stays unless the rule has a part in it."""
    is_remembered = any(module in (curves, rhythm) for module, _, _ in RULES[rule])
    for cached in REMEMBERED if is_remembered else ():
        cached.cache_clear()
    with ExitStack() as stack:
        for module, name, stand_in in RULES[rule]:
            stack.enter_context(patch.object(module, name, stand_in))
        observer.look(look)
    for cached in REMEMBERED if is_remembered else ():
        cached.cache_clear()


def describe_group(leaks: Sequence[Result], healthy: Sequence[Result]) -> str:
    """Return the error with a quarter left over all leaks, and how often a healthy machine raises alarms."""
    errors = sorted(result.errors[1] for result in leaks)
    days = sum(max(0.0, each.hours - KNOWN_HOURS) for each in healthy) / 24
    alarms = count_known(healthy, lambda each: each.alarms)
    first = sum(len(each.alarms) for each in healthy) - alarms
    middle, worst_tenth = format_percent(statistics.median(errors)), format_percent(quantile(errors, 0.9))
    return f"{middle.strip()}, {worst_tenth.strip()} | {alarms / days * 60:.2f} | {first / len(healthy):.2f}"


def run_ablation(seeds: Sequence[int], processes: int) -> None:
    """Print a table in Markdown: a line for each rule, three cells for each group."""
    tasks = [(group, seed) for seed in seeds for group in reversed(MEMORY_GROUPS)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        found = [each for several in pool.imap(measure_seed, tasks) for each in several]
    cells = " | ".join(f"group {group}: error | alarms | first days" for group in MEMORY_GROUPS)
    print(f"| without | {cells} |\n|---|{'---|' * 3 * len(MEMORY_GROUPS)}")
    for rule in RULES:
        cells = " | ".join(
            describe_group(
                *[[each[rule] for of, leaks, each in found if of == group and leaks is kind] for kind in (True, False)]
            )
            for group in MEMORY_GROUPS
        )
        print(f"| {rule} | {cells} |", flush=True)
