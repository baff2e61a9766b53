"""Made-up memory traces: what is free of memory and swap at each pass of a machine of 1 or 2 GB, in MB.

Every kind takes the dice and returns one trace. Sizes, speeds, noise and times are drawn anew for each seed, and all
noise is white noise on top of a wandering one, as services wake up and rest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vpsmon.trends.samples import MACHINE

STEP_SECONDS = 30
DAY_HOURS = 24.0
HEALTHY_HOURS = 144.0


class Trace(NamedTuple):
    """What is free in MB at each pass; a leak begins at `onset_hours`, and ends with nothing free.

    `hours` are the times of the passes, `containers` the size in MB of each container, and `what` whose room it is: the
    machine's, that below a container's limit, or a disk's.
    """

    free_mb: list[float]
    onset_hours: float
    is_leak: bool
    hours: list[float]
    containers: dict[str, list[float]]
    what: str = MACHINE


Shape = Callable[[float], float]


def steps(hours: float) -> Iterator[float]:
    """Yield the times of the passes, in hours."""
    for number in range(int(hours * 3600 / STEP_SECONDS)):
        yield number * STEP_SECONDS / 3600


def make_noise(dice: random.Random, white_mb: float, slow_mb: float, slow_hours: float) -> Shape:
    """Return white noise on top of a mean-reverting random walk (AR(1), as services wake up and rest)."""
    decay = math.exp(-STEP_SECONDS / 3600 / slow_hours)
    kick = slow_mb * math.sqrt(1 - decay * decay)
    state = [0.0]

    def noise(hours: float) -> float:
        state[0] = state[0] * decay + dice.gauss(0, kick)
        return state[0] + dice.gauss(0, white_mb)

    return noise


def usual_noise(dice: random.Random) -> Shape:
    """Return the noise that every trace has."""
    return make_noise(dice, dice.uniform(1, 8), dice.uniform(2, 15), dice.uniform(0.1, 0.7))


def start_mb(dice: random.Random) -> float:
    """Return what is free of memory and swap on a machine of 1 or 2 GB once its services are up."""
    total, swap = dice.choice((1000, 2000)), dice.choice((0, 512, 1024, 2048))
    return total * dice.uniform(0.35, 0.6) + swap * dice.uniform(0.8, 1.0)


def saw_tooth(dice: random.Random, amplitude_mb: float, period_hours: float) -> Shape:
    """Return memory that a collector frees again and again, each period and depth a little different."""
    state = {"next": 0.0, "since": 0.0, "depth": amplitude_mb}

    def tooth(hours: float) -> float:
        if hours >= state["next"]:
            state.update(since=hours, depth=amplitude_mb * dice.uniform(0.7, 1.3))
            state["next"] = hours + period_hours * dice.uniform(0.7, 1.3)
        return state["depth"] * (hours - state["since"]) / (state["next"] - state["since"])

    return tooth


def day(dice: random.Random, amplitude_mb: float) -> Shape:
    """Return the use of a day: busy in the day, quiet in the night, with an hour of wandering."""
    phase = dice.uniform(0, DAY_HOURS)
    return lambda hours: amplitude_mb * (1 + math.sin((hours + phase) / DAY_HOURS * 2 * math.pi)) / 2


def leak(dice: random.Random, used: Shape, others: Sequence[Shape], onset: float = 0.0, full: float = 0.0) -> Trace:
    """Return a trace in which `used` (in shares of what is free at the onset, by hours since then) runs until zero."""
    free_at_start = full or start_mb(dice)
    noise = usual_noise(dice)
    free = []
    for hours in steps(400.0):
        value = free_at_start - sum(shape(hours) for shape in others) + noise(hours)
        if hours >= onset:
            value -= free_at_start * used(hours - onset)
        free.append(max(0.0, value))
        if value <= 0:
            break
    return Trace(free, onset, True, list(steps(400.0))[: len(free)], {})


def linear(dice: random.Random) -> Trace:
    """A leak that is the same at any hour."""
    length = math.exp(dice.uniform(math.log(6), math.log(96)))
    return leak(dice, lambda hours: hours / length, ())


def steady_48h(dice: random.Random) -> Trace:
    """The 48-hour failure."""
    return leak(dice, lambda hours: hours / 48, ())


def accelerating(dice: random.Random) -> Trace:
    """A leak that grows as a power of the time."""
    length, power = dice.uniform(8, 72), dice.uniform(1.3, 2.5)
    return leak(dice, lambda hours: (hours / length) ** power, ())


def exponential(dice: random.Random) -> Trace:
    """A leak that feeds on itself."""
    length, speed = dice.uniform(12, 72), dice.uniform(1.0, 3.0)
    return leak(dice, lambda hours: math.expm1(speed * hours / length) / math.expm1(speed), ())


def stepwise(dice: random.Random) -> Trace:
    """A leak in uneven steps at uneven times."""
    length, count = dice.uniform(10, 72), dice.randint(12, 60)
    state = {"used": 0.0, "next": 0.0}

    def used(hours: float) -> float:
        while hours >= state["next"]:
            state["used"] += dice.uniform(0.5, 1.5) / count
            state["next"] += length / count * dice.uniform(0.6, 1.4)
        return state["used"]

    return leak(dice, used, ())


def saw_tooth_leak(dice: random.Random) -> Trace:
    """A leak below the saw tooth of a garbage collector."""
    length, full = dice.uniform(12, 72), start_mb(dice)
    tooth = saw_tooth(dice, full * dice.uniform(0.04, 0.15), dice.uniform(0.3, 4))
    return leak(dice, lambda hours: hours / length, (tooth,), full=full)


def daily_leak(dice: random.Random) -> Trace:
    """A leak with the day's work, that sleeps in the night."""
    length, full, busy = dice.uniform(48, 120), start_mb(dice), dice.uniform(0.0, 0.8)
    phase = dice.uniform(0, 2 * math.pi)
    around = 2 * math.pi / DAY_HOURS
    return leak(
        dice,
        lambda hours: (hours - busy / around * (math.cos(hours * around + phase) - math.cos(phase))) / length,
        (day(dice, full * dice.uniform(0.0, 0.12)),),
        full=full,
    )


def late_leak(dice: random.Random) -> Trace:
    """Healthy days with a rhythm, and then a leak."""
    length, full = dice.uniform(12, 60), start_mb(dice)
    rhythm = day(dice, full * dice.uniform(0.02, 0.1))
    return leak(dice, lambda hours: hours / length, (rhythm,), onset=dice.uniform(24, 120), full=full)


def deployed_leak(dice: random.Random) -> Trace:
    """A restart frees what has leaked, and it leaks again at another speed."""
    length, full = dice.uniform(20, 60), start_mb(dice)
    restart = length * dice.uniform(0.3, 0.8)
    speed = dice.uniform(0.7, 1.4)
    return leak(
        dice,
        lambda hours: hours / length * speed,
        (lambda hours: full * hours / length if hours < restart else 0.0,),
        onset=restart,
        full=full,
    )


def fast(dice: random.Random) -> Trace:
    """A leak of minutes to a few hours after a time of health."""
    length = math.exp(dice.uniform(math.log(0.4), math.log(4)))
    return leak(dice, lambda hours: hours / length, (), onset=dice.uniform(0.5, 30))


def healthy(dice: random.Random, others: Sequence[Shape], full: float) -> Trace:
    """Return a trace that never ends."""
    noise = usual_noise(dice)
    floor = full * 0.05
    free = [max(floor, full - sum(shape(hours) for shape in others) + noise(hours)) for hours in steps(HEALTHY_HOURS)]
    return Trace(free, 0.0, False, list(steps(HEALTHY_HOURS)), {})


def noise_only(dice: random.Random) -> Trace:
    """A machine whose use wanders."""
    full = start_mb(dice)
    wander = make_noise(dice, dice.uniform(1, 20), full * dice.uniform(0.02, 0.08), dice.uniform(0.5, 12))
    return healthy(dice, (wander,), full)


def saw_tooth_only(dice: random.Random) -> Trace:
    """A garbage collector."""
    full = start_mb(dice)
    teeth = saw_tooth(dice, full * dice.uniform(0.05, 0.3), math.exp(dice.uniform(math.log(0.2), math.log(8))))
    return healthy(dice, (teeth,), full)


def daily_only(dice: random.Random) -> Trace:
    """Busy days and quiet nights."""
    full = start_mb(dice)
    return healthy(dice, (day(dice, full * dice.uniform(0.1, 0.35)),), full)


def deploys(dice: random.Random) -> Trace:
    """Restarts at any time: what was used is free for a minute and then used again, or a little more or less."""
    full = start_mb(dice)
    state = {"next": dice.uniform(2, 30), "since": -1e9, "level": full * 0.2, "old": full * 0.2, "tau": 0.1}

    def used(hours: float) -> float:
        if hours >= state["next"]:
            state.update(since=hours, level=full * dice.uniform(0.1, 0.35), tau=dice.uniform(0.02, 0.5))
            state["next"] = hours + dice.uniform(2, 40)
        return state["level"] * (1 - math.exp(-(hours - state["since"]) / state["tau"]))

    return healthy(dice, (used,), full)


def caches(dice: random.Random) -> Trace:
    """Shared buffers and heaps that fill after a start until they have their size, and files that the kernel drops."""
    full = start_mb(dice)
    size, tau = full * dice.uniform(0.1, 0.35), math.exp(dice.uniform(math.log(0.3), math.log(24)))
    return healthy(dice, (lambda hours: size * (1 - math.exp(-hours / tau)),), full)


def nightly_jobs(dice: random.Random) -> Trace:
    """A backup that takes much memory every night."""
    full = start_mb(dice)
    begin, length, size = dice.uniform(0, 24), dice.uniform(0.2, 2), full * dice.uniform(0.1, 0.4)

    def used(hours: float) -> float:
        since = (hours - begin) % DAY_HOURS if hours > begin else 99.0
        return size * min(1.0, since / length * 1.5) if since < length else 0.0

    return healthy(dice, (used,), full)


def swap_first(dice: random.Random) -> Trace:
    """Held out: a leak whose pages go to swap early, with what is available held up by the kernel's evictions."""
    length, full = dice.uniform(10, 60), start_mb(dice)
    evictions = saw_tooth(dice, full * dice.uniform(0.01, 0.04), dice.uniform(0.05, 0.2))
    return leak(dice, lambda hours: hours / length, (evictions,), full=full)


def regular_steps(dice: random.Random) -> Trace:
    """Held out: a job at fixed times of which each run leaks the same."""
    length, every = dice.uniform(24, 72), dice.choice((0.5, 1.0, 2.0))
    return leak(dice, lambda hours: int(hours / every) * every / length, ())


def requests_leak(dice: random.Random) -> Trace:
    """Held out: every request leaks; requests come in bursts, more of them in office hours."""
    length, phase = dice.uniform(30, 90), dice.uniform(0, DAY_HOURS)
    state = {"used": 0.0, "hours": 0.0, "rate": 1.0}

    def used(hours: float) -> float:
        step, state["hours"] = hours - state["hours"], hours
        if dice.random() < step * 2:
            state["rate"] = dice.lognormvariate(-0.2, 0.6)
        busy = 1.5 if (hours + phase) % DAY_HOURS < 12 else 0.5
        state["used"] += step / length * state["rate"] * busy
        return state["used"]

    return leak(dice, used, ())


def second_leak(dice: random.Random) -> Trace:
    """Held out: a slow leak beside which a faster one begins."""
    slow, length, full = dice.uniform(150, 400), dice.uniform(12, 48), start_mb(dice)
    return leak(dice, lambda hours: hours / length, (lambda hours: full * hours / slow,), dice.uniform(10, 60), full)


def generations(dice: random.Random) -> Trace:
    """Held out, healthy: small collections every few minutes, and a large one after hours."""
    full = start_mb(dice)
    small = saw_tooth(dice, full * dice.uniform(0.02, 0.06), dice.uniform(0.05, 0.3))
    large = saw_tooth(dice, full * dice.uniform(0.05, 0.25), dice.lognormvariate(0.8, 0.7))
    return healthy(dice, (small, large), full)


def weekly(dice: random.Random) -> Trace:
    """Held out, healthy: days of different height, with two peaks each."""
    full = start_mb(dice)
    heights = [full * dice.uniform(0.05, 0.3) for _ in range(8)]
    phase = dice.uniform(0, DAY_HOURS)

    def used(hours: float) -> float:
        clock = (hours + phase) % DAY_HOURS
        peaks = math.exp(-(((clock - 10) / 2.5) ** 2)) + 0.8 * math.exp(-(((clock - 17) / 3) ** 2))
        return heights[int((hours + phase) / DAY_HOURS)] * peaks

    return healthy(dice, (used,), full)


def visits(dice: random.Random) -> Trace:
    """Held out, healthy: jobs of any size at any time, and now and then a restart that warms up."""
    full = start_mb(dice)
    jobs = [(dice.uniform(0, 144), dice.uniform(0.1, 3), full * dice.uniform(0.03, 0.2)) for _ in range(25)]
    starts = sorted(dice.uniform(0, 144) for _ in range(3))
    warm = full * dice.uniform(0.05, 0.2)

    def used(hours: float) -> float:
        since = hours - max((start for start in starts if start <= hours), default=-99.0)
        running = sum(size for begin, length, size in jobs if begin <= hours < begin + length)
        return min(full * 0.6, running) + warm * (1 - math.exp(-since / 2))

    return healthy(dice, (used,), full)


LEAKS: tuple[Callable[[random.Random], Trace], ...] = (
    linear,
    steady_48h,
    accelerating,
    exponential,
    stepwise,
    saw_tooth_leak,
    daily_leak,
    late_leak,
    deployed_leak,
    fast,
)
HEALTHY = (noise_only, saw_tooth_only, daily_only, deploys, caches, nightly_jobs)
# Written before the method was fixed and never looked at while it was.
HELD_OUT = (swap_first, regular_steps, requests_leak, second_leak, generations, weekly, visits)
