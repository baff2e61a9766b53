"""Held-out memory traces of a third kind: machines that are watched for weeks, with slow collectors and restarts.

Made of the same machines as forecast_machines.py. Here climbs come again after hours, a day or a week, and a leak may
hide under them; leaks are restarted before they end, by plan or by a person, and swap is switched on and off.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from benchmarks.forecast_machines import Machine, Size, draw_length, make_heap, make_office
from benchmarks.forecast_traces import Trace

DAYS = 12
WEEK_HOURS = 168.0


def make_machine(dice: random.Random) -> Machine:
    """Return a machine whose passes are two minutes apart: weeks of them are many."""
    machine = Machine(dice)
    machine.step_seconds = 120
    return machine


def make_collector(dice: random.Random, machine: Machine, least: float, most: float) -> Size:
    """Return a heap that climbs for 5 to 9 hours to that share of what is free, and falls back."""
    depth_mb, hours, loose = machine.room_mb * dice.uniform(least, most), dice.uniform(5, 9), dice.uniform(0.02, 0.25)
    state = {"since": 0.0, "length": hours, "depth": depth_mb, "left": 0.0}

    def size(now: float) -> float:
        if now >= state["since"] + state["length"]:
            state.update(since=now, length=hours * dice.uniform(1 - loose, 1 + loose))
            state.update(depth=depth_mb * dice.uniform(1 - loose, 1 + loose), left=depth_mb * dice.uniform(0, 0.15))
        done = (now - state["since"]) / state["length"]
        return state["left"] + (state["depth"] - state["left"]) * done

    return size


def make_week(dice: random.Random, most_mb: float) -> Size:
    """Return five office days and two quiet ones, each of another height."""
    office, first = make_office(dice, 1.0), dice.randrange(7)
    heights = [dice.uniform(0.8, 1.0) for _ in range(40)]

    def size(hours: float) -> float:
        day = int(hours / 24)
        quiet = 0.2 if (day + first) % 7 >= 5 else 1.0
        return most_mb * office(hours) * heights[day] * quiet

    return size


def make_restarted(dice: random.Random, machine: Machine, length: float, latest: list[float]) -> Size:
    """Return a leak that begins anew at each of the hours."""
    return lambda hours: machine.room_mb * (hours - max(each for each in latest if each <= hours)) / length


def slow_collector(dice: random.Random) -> Trace:
    """Weeks, healthy: a heap that climbs for hours to 30 to 60 % of what is free, again and again."""
    machine = make_machine(dice)
    name = dice.choice(("n8n", "a process of no container"))
    collector = make_collector(dice, machine, 0.3, 0.6)
    machine.processes = {name: collector}
    trace = machine.rest(DAYS)
    trace.containers.pop("a process of no container", None)
    return trace


def two_collectors(dice: random.Random) -> Trace:
    """Weeks, healthy: a slow collector beside a quick one."""
    machine = make_machine(dice)
    quick = make_heap(dice, machine.room_mb * dice.uniform(0.03, 0.1), draw_length(dice, 0.2, 2))
    machine.processes = {"n8n": make_collector(dice, machine, 0.3, 0.5), "waha": quick}
    return machine.rest(DAYS)


def working_week(dice: random.Random) -> Trace:
    """Weeks, healthy: office days and quiet week-ends, with a job on Sunday nights."""
    machine = make_machine(dice)
    begins, length, job_mb = dice.uniform(0, WEEK_HOURS), dice.uniform(0.5, 4), machine.room_mb * dice.uniform(0.1, 0.4)
    machine.processes = {
        "web": make_week(dice, machine.room_mb * dice.uniform(0.15, 0.5)),
        "job": lambda hours: job_mb if (hours - begins) % WEEK_HOURS < length else 0.0,
    }
    return machine.rest(21)


def week_of_filling(dice: random.Random) -> Trace:
    """Weeks, healthy: a cache that fills for days, ever more slowly, to a part of what is free."""
    machine = make_machine(dice)
    size_mb, hours = machine.room_mb * dice.uniform(0.2, 0.55), dice.uniform(20, 80)
    web = make_office(dice, machine.room_mb * dice.uniform(0.02, 0.1))
    machine.processes = {"postgres": lambda now: size_mb * -math.expm1(-now / hours), "web": web}
    return machine.rest(DAYS)


def busy_afternoon(dice: random.Random) -> Trace:
    """Weeks, healthy: every afternoon takes half of what is free."""
    machine = make_machine(dice)
    machine.processes = {"web": make_office(dice, machine.room_mb * dice.uniform(0.4, 0.55))}
    return machine.rest(DAYS)


def switched_swap(dice: random.Random) -> Trace:
    """Weeks, healthy: swap is switched off and on again, and a service breathes with the day."""
    machine = make_machine(dice)
    swap_mb = machine.room_mb * dice.uniform(0.2, 0.5)
    switches = sorted(dice.uniform(0, DAYS * 24) for _ in range(dice.randint(2, 8)))
    machine.processes = {
        "web": make_office(dice, machine.room_mb * dice.uniform(0.02, 0.15)),
        "swap": lambda hours: swap_mb * (sum(each <= hours for each in switches) % 2),
    }
    trace = machine.rest(DAYS)
    trace.containers.pop("swap")
    return trace


def restarted_in_time(dice: random.Random) -> Trace:
    """Weeks, healthy: a leak that is restarted by plan every night, long before its end."""
    machine = make_machine(dice)
    every, length = 24.0, dice.uniform(40, 90)
    machine.processes = {"n8n": lambda hours: machine.room_mb * (hours % every) / length}
    return machine.rest(DAYS)


def collector_leak(dice: random.Random) -> Trace:
    """Weeks: a leak under a slow collector."""
    machine, length = make_machine(dice), draw_length(dice, 40, 160)
    collector = make_collector(dice, machine, 0.15, 0.35)
    machine.processes = {"n8n": collector, "waha": lambda hours: machine.room_mb * hours / length}
    return machine.run()


def power_leak(dice: random.Random) -> Trace:
    """Weeks: a leak that grows with a power of the time."""
    machine, length, power = Machine(dice), draw_length(dice, 8, 72), dice.uniform(1.6, 2.4)
    machine.processes = {"n8n": lambda hours: machine.room_mb * (hours / length) ** power}
    return machine.run()


def two_leaks(dice: random.Random) -> Trace:
    """Weeks: two leaks, of which a restart ends one; the other goes on."""
    machine, fast, slow = Machine(dice), dice.uniform(20, 40), dice.uniform(50, 120)
    restart = fast * slow / (fast + slow) * dice.uniform(0.5, 0.9)
    machine.processes = {
        "n8n": lambda hours: machine.room_mb * hours / fast if hours < restart else 0.0,
        "waha": lambda hours: machine.room_mb * hours / slow,
    }
    return machine.run(restart)


def cured_leak(dice: random.Random) -> Trace:
    """Weeks: a leak that is restarted some hours before each end, as the forecast asks for, until nobody does."""
    machine, length = make_machine(dice), draw_length(dice, 12, 72)
    restarts = [0.0]
    for _ in range(dice.randint(3, 6)):
        restarts.append(restarts[-1] + length * dice.uniform(0.78, 0.88))
    machine.processes = {"n8n": make_restarted(dice, machine, length, restarts)}
    return machine.run(restarts[-1])


def week_leak(dice: random.Random) -> Trace:
    """Weeks: a slow leak under office days and quiet week-ends."""
    machine, length = make_machine(dice), dice.uniform(80, 200)
    machine.processes = {
        "n8n": lambda hours: machine.room_mb * hours / length,
        "web": make_week(dice, machine.room_mb * dice.uniform(0.05, 0.15)),
    }
    return machine.run()


def late_collector_leak(dice: random.Random) -> Trace:
    """Weeks: days of a slow collector, and then a leak."""
    machine, length, onset = make_machine(dice), draw_length(dice, 12, 72), dice.uniform(48, 120)
    machine.processes = {
        "n8n": make_collector(dice, machine, 0.1, 0.3),
        "waha": lambda hours: machine.room_mb * max(0.0, hours - onset) / length,
    }
    return machine.run(onset)


WEEKS_LEAKS: tuple[Callable[[random.Random], Trace], ...] = (
    collector_leak,
    late_collector_leak,
    power_leak,
    two_leaks,
    cured_leak,
    week_leak,
)
WEEKS_HEALTHY: tuple[Callable[[random.Random], Trace], ...] = (
    slow_collector,
    two_collectors,
    working_week,
    week_of_filling,
    busy_afternoon,
    switched_swap,
    restarted_in_time,
)
