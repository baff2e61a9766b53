"""What history and forecast cost a pass, in CPU time."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from benchmarks.forecast_replay import BOOT
from benchmarks.forecast_traces import STEP_SECONDS
from vpsmon.checks.kernel import disk_forecast
from vpsmon.checks.kernel import forecast as check
from vpsmon.config.settings import DEFAULTS
from vpsmon.trends import curves, restarts, rhythm, series
from vpsmon.trends.history import TIERS, History
from vpsmon.trends.samples import CONTAINERS, DISK_PREFIX, MACHINE, Sample, encode, join

CACHED = (
    series.make_blocks,
    curves.fit_curve,
    restarts._find_rises,
    rhythm.find_rhythm,
    rhythm._take_out,
)


def run_cost() -> None:
    """Print what history and forecast cost a pass, on day 1 and on day 400, with 5 and with 40 containers."""
    for containers in (5, 40):
        for days in (1, 400):
            for is_leaking in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    fill_history(folder, days, containers, is_leaking)
                    costs = sorted(measure_pass(folder, days, containers, number, is_leaking) for number in range(200))
                    size = sum(path.stat().st_size for path in Path(folder).iterdir())
                what = "leaking" if is_leaking else "healthy"
                print(
                    f"day {days:3}, {containers:2} containers, {what}: {costs[100]:.2f} ms CPU a pass "
                    f"(best {costs[0]:.2f}, 90th percentile {costs[180]:.2f}), files {size / 1e6:.2f} MB",
                    flush=True,
                )


def make_samples(seconds: float, containers: int, is_leaking: bool, end_seconds: float) -> dict[str, Sample]:
    """Return the samples of a pass: in a leak, all containers grow."""
    dice = random.Random(seconds)  # noqa: S311 a made-up machine
    used = max(0.0, 48 - (end_seconds - seconds) / 3600) * 15 if is_leaking else 0.0
    free = round(1500 - used + dice.gauss(0, 5), 1)
    machine = {"free": free, "available": round(free / 2, 1), "swap_used": 100.5, "total": 1976.6, "score": 1.25}
    machine.update({"swap_in": 10.0, "swap_out": 12.0, DISK_PREFIX + "/": round(20000 - seconds / 1e4, 1)})
    sizes = {
        f"compose-service-{each}": round(60 + used / containers + dice.gauss(0, 2), 1) for each in range(containers)
    }
    values = {MACHINE: machine, CONTAINERS: sizes}
    return {kind: Sample(1.8e9 + seconds, seconds, BOOT, each) for kind, each in values.items()}


def fill_history(folder: str, days: int, containers: int, is_leaking: bool) -> None:
    """Write the files as so many days of passes leave them."""
    end = days * 86400.0
    for kind, tiers in TIERS.items():
        for tier in tiers:
            step = tier.seconds or STEP_SECONDS
            times = [end - step * back for back in range(1, int(min(end, tier.file_bytes * 0.9 / 100 * step) / step))]
            samples = [make_samples(seconds, containers, is_leaking, end)[kind] for seconds in reversed(times)]
            lines = [encode(join([each]) if tier.seconds else each, tier.line_bytes, kind) for each in samples]
            Path(folder, f"history_{kind}_{tier.name}.log").write_bytes(b"".join(lines)[-tier.file_bytes :])


def measure_pass(folder: str, days: int, containers: int, number: int, is_leaking: bool) -> float:
    """Return the CPU milliseconds of one pass that remembers nothing of the one before."""
    now = days * 86400.0 + number * STEP_SECONDS
    samples = make_samples(now, containers, is_leaking, days * 86400.0)
    for cached in CACHED:
        cached.cache_clear()
    started = time.process_time()
    history = History(folder)
    machine, stack = history.read(MACHINE, BOOT, now), history.read(CONTAINERS, BOOT, now)
    reading = check.make_reading(samples[MACHINE].values["free"], machine, stack, 1.8e9 + now, now)
    check.judge(reading, DEFAULTS, None)
    check.remember(reading, None)
    disks = disk_forecast.make_reading(machine, 1.8e9 + now, now)
    disk_forecast.judge(disks, DEFAULTS, None)
    disk_forecast.remember(disks, None)
    for kind, sample in samples.items():
        history.record(kind, sample)
    return (time.process_time() - started) * 1000
