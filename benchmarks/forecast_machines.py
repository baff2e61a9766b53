"""Held-out memory traces, of other making than forecast_traces.py: machines as sums of their processes.

Here time is counted in passes of 30, 60 or 120 s, of which some are late, missing, or hours apart; noise has heavy
tails and short-lived commands; RAM and swap are kept apart and swap fills by its own rule; and each process is a
container. No number of the method was chosen by these traces: they show what it does elsewhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from benchmarks.forecast_traces import Trace

Size = Callable[[float], float]

HEALTHY_DAYS = 6
LONGEST_DAYS = 20


class Machine:
    """RAM and swap in MB, the time between passes, and the processes by name with their size in MB over hours."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.total_mb = dice.choice((1000.0, 2000.0))
        self.swap_mb = dice.choice((0.0, 0.5, 1.0)) * self.total_mb
        self.step_seconds = dice.choice((30, 60, 120))
        self.missing_share = dice.choice((0.0, 0.01, 0.05))
        self.processes: dict[str, Size] = {}
        self.room_mb = self.total_mb * dice.uniform(0.4, 0.65) + self.swap_mb * dice.uniform(0.85, 1.0)
        self._wander_mb, self._command_mb, self._command_until = 0.0, 0.0, 0.0

    def run(self, onset_hours: float = 0.0) -> Trace:
        """Return what is free until nothing is; the onset is when the way to the end begins."""
        return self._record(onset_hours, LONGEST_DAYS * 24.0, True)

    def rest(self, days: float = HEALTHY_DAYS) -> Trace:
        """Return what is free over days in which nothing ends."""
        return self._record(0.0, days * 24.0, False)

    def _record(self, onset_hours: float, most_hours: float, is_leak: bool) -> Trace:
        trace = Trace([], onset_hours, is_leak, [], {name: [] for name in self.processes})
        for hours in self._times(most_hours):
            sizes = {name: size(hours) for name, size in self.processes.items()}
            free_mb = self.room_mb - sum(sizes.values()) - self._noise(hours)
            trace.hours.append(hours)
            trace.free_mb.append(max(0.0 if is_leak else self.room_mb * 0.05, free_mb))
            for name, size in sizes.items():
                trace.containers[name].append(size + 50)
            if is_leak and free_mb <= 0:
                break
        return trace

    def _times(self, most_hours: float) -> Iterator[float]:
        """Yield the times of the passes: late by a second or two, some missing, and now and then a gap."""
        seconds = 0.0
        while seconds < most_hours * 3600:
            seconds += self.step_seconds
            if self.dice.random() < 0.3 / (24 * 3600) * self.step_seconds:
                seconds += self.dice.uniform(300, 3600)
            if self.dice.random() >= self.missing_share:
                yield (seconds + self.dice.uniform(0, 2)) / 3600

    def _noise(self, hours: float) -> float:
        """Return heavy-tailed noise, a level that jumps a few times an hour, and commands that come and go."""
        dice, step = self.dice, self.step_seconds / 3600
        if dice.random() < step * 4:
            self._wander_mb = dice.gauss(0, self.total_mb * 0.006)
        if hours > self._command_until:
            self._command_mb = 0.0
            if dice.random() < step * 1.5:
                self._command_mb = dice.expovariate(1 / (self.total_mb * 0.02))
                self._command_until = hours + dice.expovariate(20)
        tail = dice.gauss(0, 1) / math.sqrt(max(0.1, dice.gammavariate(1.5, 1 / 1.5)))
        return self._wander_mb + self._command_mb + tail * self.total_mb * 0.0015


def draw_length(dice: random.Random, shortest: float, longest: float) -> float:
    """Return hours, as often between 5 and 10 as between 10 and 20."""
    return math.exp(dice.uniform(math.log(shortest), math.log(longest)))


def ramp(dice: random.Random) -> Trace:
    """Other: the same amount every hour."""
    machine, length = Machine(dice), draw_length(dice, 5, 90)
    machine.processes = {"n8n": lambda hours: machine.room_mb * hours / length, "redis": lambda hours: 30.0}
    return machine.run()


def ramp_48h(dice: random.Random) -> Trace:
    """Other: the failure of two days."""
    machine = Machine(dice)
    machine.processes = {"waha": lambda hours: machine.room_mb * hours / 48}
    return machine.run()


def bend(dice: random.Random) -> Trace:
    """Other: a leak of which a part grows with the square, the cube or the exponential of the time."""
    machine, length, share = Machine(dice), draw_length(dice, 8, 72), dice.uniform(0.3, 1.0)
    shape = dice.choice((lambda x: x * x, lambda x: x**3, lambda x: math.expm1(2 * x) / math.expm1(2)))
    machine.processes = {
        "n8n": lambda hours: machine.room_mb * (share * shape(hours / length) + (1 - share) * hours / length)
    }
    return machine.run()


def stairs(dice: random.Random) -> Trace:
    """Other: nearly equal steps at nearly equal times."""
    machine, length, count = Machine(dice), draw_length(dice, 12, 72), dice.randint(16, 60)
    machine.processes = {"n8n": _make_stairs(dice, machine.room_mb, length / count, count, 0.1)}
    return machine.run()


def random_stairs(dice: random.Random) -> Trace:
    """Other: steps of any size at any time, of which no more than the mean can be known before."""
    machine, length, count = Machine(dice), draw_length(dice, 12, 72), dice.randint(16, 60)
    machine.processes = {"n8n": _make_stairs(dice, machine.room_mb, length / count, count, 1.0)}
    return machine.run()


def _make_stairs(dice: random.Random, room_mb: float, every_hours: float, count: int, chance: float) -> Size:
    """Return steps; by chance 1 their times are those of a Poisson process and their sizes spread as much."""
    state = {"mb": 0.0, "next": 0.0}

    def size(hours: float) -> float:
        while hours >= state["next"]:
            state["mb"] += room_mb / count * (1 - chance + chance * dice.expovariate(1))
            state["next"] += every_hours * (1 - chance + chance * dice.expovariate(1))
        return state["mb"]

    return size


def make_heap(dice: random.Random, depth_mb: float, period_hours: float) -> Size:
    """Return a heap that grows to its limit and is collected, at a speed that changes from one round to the next."""
    state = {"mb": 0.0, "hours": 0.0, "speed": depth_mb / period_hours}

    def size(hours: float) -> float:
        state["mb"] += state["speed"] * (hours - state["hours"])
        state["hours"] = hours
        if state["mb"] >= depth_mb:
            state.update(mb=depth_mb * dice.uniform(0.0, 0.15), speed=depth_mb / period_hours * dice.uniform(0.6, 1.6))
        return state["mb"]

    return size


def heap_leak(dice: random.Random) -> Trace:
    """Other: what a collector cannot free grows under what it can."""
    machine, length = Machine(dice), draw_length(dice, 10, 72)
    heap = make_heap(dice, machine.room_mb * dice.uniform(0.03, 0.12), draw_length(dice, 0.1, 3))
    machine.processes = {"n8n": lambda hours: heap(hours) + machine.room_mb * hours / length}
    return machine.run()


def make_office(dice: random.Random, most_mb: float) -> Size:
    """Return a size that rises over an hour in the morning, stays with a dip at noon, and falls in the evening."""
    opens, noon, closes = dice.uniform(6, 10), dice.uniform(0, 0.4), dice.uniform(16, 21)
    begins = dice.uniform(0, 24)

    def size(hours: float) -> float:
        clock = (hours + begins) % 24
        height = 1 / (1 + math.exp(-(clock - opens) * 4)) - 1 / (1 + math.exp(-(clock - closes) * 4))
        return most_mb * height * (1 - noon * math.exp(-((clock - 13) ** 2) * 3))

    return size


def office_leak(dice: random.Random) -> Trace:
    """Other: a leak under the rhythm of office days."""
    machine, length = Machine(dice), draw_length(dice, 30, 110)
    web = make_office(dice, machine.room_mb * dice.uniform(0.03, 0.1))
    machine.processes = {"n8n": lambda hours: machine.room_mb * hours / length, "web": web}
    return machine.run()


def redeployed(dice: random.Random) -> Trace:
    """Other: the same leak again after each of one to three deploys."""
    machine, length, count = Machine(dice), draw_length(dice, 14, 60), dice.randint(1, 3)
    deploys = [0.0]
    for _ in range(count):
        deploys.append(deploys[-1] + length * dice.uniform(0.25, 0.8))
    machine.processes = {
        "n8n": lambda hours: machine.room_mb * (hours - max(each for each in deploys if each <= hours)) / length
    }
    return machine.run(deploys[-1])


def woken(dice: random.Random) -> Trace:
    """Other: office days, and then a leak."""
    machine, length, onset = Machine(dice), draw_length(dice, 6, 60), dice.uniform(20, 100)
    web = make_office(dice, machine.room_mb * dice.uniform(0.02, 0.1))
    machine.processes = {"n8n": lambda hours: machine.room_mb * max(0.0, hours - onset) / length, "web": web}
    return machine.run(onset)


def idle(dice: random.Random) -> Trace:
    """Other, healthy: nothing but noise."""
    machine = Machine(dice)
    machine.processes = {"n8n": lambda hours: 0.0}
    return machine.rest()


def heaps(dice: random.Random) -> Trace:
    """Other, healthy: one to three collectors."""
    machine = Machine(dice)
    for number in range(dice.randint(1, 3)):
        depth_mb, hours = machine.room_mb * dice.uniform(0.05, 0.2), draw_length(dice, 0.1, 10)
        machine.processes[f"service-{number}"] = make_heap(dice, depth_mb, hours)
    return machine.rest()


def office(dice: random.Random) -> Trace:
    """Other, healthy: office days."""
    machine = Machine(dice)
    machine.processes = {"web": make_office(dice, machine.room_mb * dice.uniform(0.1, 0.4))}
    return machine.rest()


def redeployments(dice: random.Random) -> Trace:
    """Other, healthy: deploys, after each of which a cache warms up to another size; for minutes two run at once."""
    machine = Machine(dice)
    state = {"next": 0.0, "since": 0.0, "mb": 0.0, "speed": 1.0, "overlap": 0.0}

    def size(hours: float) -> float:
        if hours >= state["next"]:
            old_mb = state["mb"] * (1 - math.exp(-(hours - state["since"]) * state["speed"]))
            state.update(since=hours, mb=machine.room_mb * dice.uniform(0.1, 0.4), overlap=old_mb)
            state.update(next=hours + dice.expovariate(1 / 20), speed=1 / draw_length(dice, 0.03, 2))
        beside = state["overlap"] if hours - state["since"] < 0.05 else 0.0
        return beside + state["mb"] * (1 - math.exp(-(hours - state["since"]) * state["speed"]))

    machine.processes = {"n8n": size}
    return machine.rest()


def warming(dice: random.Random) -> Trace:
    """Other, healthy: shared buffers that grow ever more slowly after a start, as the logarithm of the time."""
    machine = Machine(dice)
    most_mb, early = machine.room_mb * dice.uniform(0.15, 0.4), draw_length(dice, 0.02, 2)
    scale = math.log1p(HEALTHY_DAYS * 24 / early)
    machine.processes = {"postgres": lambda hours: most_mb * math.log1p(hours / early) / scale}
    return machine.rest()


def errands(dice: random.Random) -> Trace:
    """Other, healthy: backups at fixed times, and commands of any size and length at any time."""
    machine = Machine(dice)
    every, length, most_mb = dice.choice((6.0, 12.0, 24.0)), dice.uniform(0.1, 1.5), machine.room_mb * 0.3
    phase, backup_mb = dice.uniform(0, 6), dice.uniform(0.1, 1.0) * most_mb
    starts = [dice.uniform(0, HEALTHY_DAYS * 24) for _ in range(HEALTHY_DAYS * 3)]
    jobs: Sequence[tuple[float, float, float]] = [
        (start, start + dice.expovariate(1 / 0.7), dice.uniform(0.02, 0.2) * machine.room_mb) for start in starts
    ]

    def backup(hours: float) -> float:
        since = (hours - phase) % every
        return backup_mb * min(1.0, since * 4) if since < length else 0.0

    machine.processes = {
        "backup": backup,
        "jobs": lambda hours: sum(size_mb for begin, end, size_mb in jobs if begin <= hours < end),
    }
    return machine.rest()


OTHER_LEAKS: tuple[Callable[[random.Random], Trace], ...] = (
    ramp,
    ramp_48h,
    bend,
    stairs,
    random_stairs,
    heap_leak,
    office_leak,
    redeployed,
    woken,
)
OTHER_HEALTHY: tuple[Callable[[random.Random], Trace], ...] = (idle, heaps, office, redeployments, warming, errands)
