"""What each rule of the forecast is worth: errors and false alarms with the rule switched off, a line for each."""

from __future__ import annotations

import math
import multiprocessing
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from benchmarks.forecast_cost import CACHED
from benchmarks.forecast_groups import GROUPS
from benchmarks.forecast_measure import LOOK_HOURS, Result, count_known, format_percent, is_leak, measure_seed, quantile
from vpsmon.trends import curves, forecast, passage, restarts, rhythm

NEVER = float("-inf")


def _see_no_dips(curve: Any, lows: Any, origin: float) -> passage.Dips:
    return passage.Dips([0.0] * len(lows), (lows[-1].hours - lows[0].hours) / 1e3)


def _fit_only_parabolas(blocks: Any) -> Any:
    with patch.object(curves, "_MOST_GROWTH", 0.0):
        return curves.fit_curve.__wrapped__(blocks)


# Each rule with what takes its place where it is switched off: the module, the name and the stand-in.
RULES: dict[str, list[tuple[Any, str, Any]]] = {
    "all rules": [],
    "a rise begins a new trend": [(forecast, "find_new_start", lambda series: NEVER)],
    "a rise that comes again and again does not": [(restarts, "_MOST_RARE_JUMPS", 1_000_000)],
    "nor does the end of a job": [(restarts, "_LONGEST_JOB_POINTS", 1)],
    "all of the past counts after a rise": [
        (forecast, "_find_beginnings", lambda start, reset: iter([(start, start)]))
    ],
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
    "less is left than ever": [(forecast, "_find_beginnings", lambda start, reset: iter([(start, math.inf)]))],
    "not in a few steps": [(forecast, "_falls_in_few_steps", lambda blocks: False)],
    "not farther than seen": [(forecast, "_FARTHEST_LINE", math.inf), (forecast, "_FARTHEST_BENT", math.inf)],
    "bent curves less far": [(forecast, "_FARTHEST_BENT", forecast._FARTHEST_LINE)],
    "the newer half where no curve fits": [(forecast, "_follow_newer_half", lambda *each: None)],
    "dips below the curve": [(forecast, "find_dips", _see_no_dips)],
    "said a tenth early": [(forecast, "_EARLY", 0.0)],
}


def measure_rule(task: tuple[str, int, Sequence[int]]) -> str:
    """Return the cells of one group with one rule switched off."""
    rule, group, seeds = task
    for cached in CACHED:
        cached.cache_clear()
    with ExitStack() as stack:
        for module, name, stand_in in RULES[rule]:
            stack.enter_context(patch.object(module, name, stand_in))
        kinds = [[measure_seed(kind, 2 * LOOK_HOURS, seed) for seed in seeds] for kind in GROUPS[group]]
    return describe_group([each for each in kinds if is_leak(each)], [each for each in kinds if not is_leak(each)])


def describe_group(leaks: Sequence[Sequence[Result]], healthy: Sequence[Sequence[Result]]) -> str:
    """Return the error with a quarter left over all leaks, and how often a healthy machine raises alarms."""
    errors = sorted(result.errors[1] for results in leaks for result in results)
    known = [result for results in healthy for result in results]
    days = sum(max(0.0, each.hours - 72) for each in known) / 24
    alarms = count_known(known, lambda each: each.alarms)
    first = sum(len(each.alarms) for each in known) - alarms
    middle, worst_tenth = format_percent(statistics.median(errors)), format_percent(quantile(errors, 0.9))
    return f"{middle.strip()}, {worst_tenth.strip()} | {alarms / days * 60:.2f} | {first / len(known):.2f}"


def run_ablation(seeds: Sequence[int], processes: int) -> None:
    """Print a table in Markdown: a line for each rule, three cells for each group."""
    cells = " | ".join(f"group {group}: error | alarms | first days" for group in GROUPS)
    print(f"| without | {cells} |\n|---|{'---|' * 3 * len(GROUPS)}")
    tasks = [(rule, group, seeds) for rule in RULES for group in GROUPS]
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        found = iter(pool.imap(measure_rule, tasks))
        for rule in RULES:
            print(f"| {rule} | {' | '.join(next(found) for _ in GROUPS)} |", flush=True)
