"""Traces of containers that have a limit of their own, and of disks: what is left below the limit, or free, in MB."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from benchmarks.forecast_machines import Size, draw_length, make_heap
from benchmarks.forecast_traces import Trace
from vpsmon.trends.samples import CONTAINERS

STEP_HOURS = 1 / 30
DISK = "disk"


def record(dice: random.Random, used: Size, room_mb: float, what: str, days: float, onset: float = 0.0) -> Trace:
    """Return what is left until nothing is, or for so many days where that does not happen."""
    trace, is_leak = Trace([], onset, True, [], {}, what), False
    for number in range(int(days * 24 / STEP_HOURS)):
        hours = number * STEP_HOURS
        left = room_mb - used(hours) - dice.gauss(0, 0.002 * room_mb)
        trace.hours.append(hours)
        trace.free_mb.append(max(0.0, left))
        is_leak = left <= 0
        if is_leak:
            break
    return trace._replace(is_leak=is_leak)


def limit_leak(dice: random.Random) -> Trace:
    """Limits: a container that leaks the same every hour."""
    room_mb, length = dice.uniform(100, 800), draw_length(dice, 4, 90)
    return record(dice, lambda hours: room_mb * hours / length, room_mb, CONTAINERS, 20)


def limit_bend(dice: random.Random) -> Trace:
    """Limits: a container whose leak grows with a power of the time."""
    room_mb, length, power = dice.uniform(100, 800), draw_length(dice, 8, 72), dice.uniform(1.3, 2.4)
    return record(dice, lambda hours: room_mb * (hours / length) ** power, room_mb, CONTAINERS, 20)


def limit_heap_leak(dice: random.Random) -> Trace:
    """Limits: a leak under a collector."""
    room_mb, length = dice.uniform(100, 800), draw_length(dice, 10, 90)
    heap = make_heap(dice, room_mb * dice.uniform(0.05, 0.15), draw_length(dice, 0.2, 3))
    return record(dice, lambda hours: room_mb * hours / length + heap(hours), room_mb, CONTAINERS, 20)


def limit_heap(dice: random.Random) -> Trace:
    """Limits, healthy: a collector that uses up to two thirds of what the limit leaves."""
    room_mb = dice.uniform(100, 800)
    heap = make_heap(dice, room_mb * dice.uniform(0.2, 0.65), draw_length(dice, 0.2, 9))
    return record(dice, heap, room_mb, CONTAINERS, 12)


def limit_full_heap(dice: random.Random) -> Trace:
    """Limits, healthy: a heap that fills ever more slowly to most of its limit, and stays."""
    room_mb, hours = dice.uniform(100, 800), draw_length(dice, 1, 30)
    most_mb = room_mb * dice.uniform(0.5, 0.85)
    return record(dice, lambda now: most_mb * -math.expm1(-now / hours), room_mb, CONTAINERS, 12)


def disk_logs(dice: random.Random) -> Trace:
    """Disks: logs that grow the same every hour."""
    room_mb, length = dice.uniform(5e3, 4e4), draw_length(dice, 30, 400)
    return record(dice, lambda hours: room_mb * hours / length, room_mb, DISK, 20)


def disk_backups(dice: random.Random) -> Trace:
    """Disks: a backup every night that nobody removes, beside logs."""
    room_mb, days, share = dice.uniform(5e3, 4e4), dice.randint(6, 16), dice.uniform(0.5, 1.0)
    night = dice.uniform(1, 23)

    def used(hours: float) -> float:
        return room_mb / days * (share * int((hours + 24 - night) / 24) + (1 - share) * hours / 24)

    return record(dice, used, room_mb, DISK, 20)


def disk_pruned(dice: random.Random) -> Trace:
    """Disks, healthy: a backup every night, and those of a week are removed at its end."""
    room_mb, share = dice.uniform(5e3, 4e4), dice.uniform(0.3, 0.7)
    return record(dice, lambda hours: room_mb * share / 7 * (int(hours / 24) % 7), room_mb, DISK, 21)


def disk_builds(dice: random.Random) -> Trace:
    """Disks, healthy: images are built and pulled at any time, and what is old goes every night."""
    room_mb = dice.uniform(5e3, 4e4)
    builds = [(dice.uniform(0, 21 * 24), room_mb * dice.uniform(0.02, 0.12)) for _ in range(60)]

    def used(hours: float) -> float:
        midnight = hours - hours % 24
        return sum(size for begun, size in builds if midnight <= begun <= hours)

    return record(dice, used, room_mb, DISK, 21)


LIMIT_LEAKS: tuple[Callable[[random.Random], Trace], ...] = (
    limit_leak,
    limit_bend,
    limit_heap_leak,
    disk_logs,
    disk_backups,
)
LIMIT_HEALTHY: tuple[Callable[[random.Random], Trace], ...] = (limit_heap, limit_full_heap, disk_pruned, disk_builds)
