"""Turns what the checks of a look have for the history into its samples: the checks themselves say what that is."""

from __future__ import annotations

import contextlib

from vpsmon.passes.look import Look
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id
from vpsmon.trends.history import History
from vpsmon.trends.samples import Sample


def record_look(host: Host, folder: str, seen: Look) -> None:
    """Add what this look has read to the history. The caller holds the lock of the folder."""
    history = History(folder)
    for kind, values in take_samples(seen).items():
        numbers = {name: round(value, 1) for name, value in values.items()}
        sample = Sample(host.wall_seconds(), host.monotonic_seconds(), read_boot_id(host), numbers)
        # A full disk or a broken folder is said by the state that is written next to it; no pass ends for a sample.
        with contextlib.suppress(OSError):
            history.record(kind, sample)


def take_samples(seen: Look) -> dict[str, dict[str, float]]:
    """Return the numbers of the checks by kind of history."""
    samples: dict[str, dict[str, float]] = {}
    for each in seen.attempts:
        kind, sample = getattr(each.check, "HISTORY", None), getattr(each.check, "sample", None)
        if kind is None or sample is None or each.reading is None:
            continue
        findings = [finding for finding in seen.findings if finding.check in each.check.ROWS]
        # A check whose reading is of no use has its row for that; the samples of the others count.
        with contextlib.suppress(Exception):
            values = sample(each.reading, findings)
            if values:
                samples.setdefault(kind, {}).update(values)
    return samples
