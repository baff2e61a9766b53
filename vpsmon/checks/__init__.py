"""The checks, one subject a file; a file in kernel/, stack/ or export/ is a check, there is no other list.

A check module has `ROWS` (the names of its rows with their units), `Reading` (a named tuple of what was read),
`read(host, settings, previous)` and `judge(reading, settings, previous)`; where something must be known next time, also
`remember(reading, previous)`; where there is something for Prometheus, `METRICS` (the names of its metrics with what
they mean; one that ends in _total is a counter) and `measure(reading, settings, previous)`, whose samples are in the
units that their names say. Only `read` touches the host; the others are pure. `GROUP` is the subject under which people
find its rows, `services` where it says nothing.

A kernel check may say what recovery makes of its rows when they are critical: those in `ROWS_OF_SHORTAGE` tell that
memory is running out, which one rule helps against at once; no rule repairs those in `ROWS_BEYOND_REPAIR`.

A pass runs kernel/ and stack/; what is in export/ is read for the metrics alone.

Where it applies, a module also has
- `HISTORY` (a kind of trends/samples.py) and `sample(reading, findings)`: its numbers in that history, sizes in MB
- `KEEPS_ACROSS_BOOTS`: what it remembered counts after a reboot as well
- `LOADED_LATE`: the modules that it imports in its functions, to be loaded before memory runs out (preload.py)
- `EXCUSES_STOPPED`: a container that recovery has stopped is no fault
- `names` in what it remembers: the names of the containers by the first 12 digits of their ids, for all checks
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Previous
from vpsmon.system.host import Host


class Check(Protocol):
    """What the engine expects of a module in kernel/, stack/ or export/."""

    __name__: str
    ROWS: dict[str, str]
    read: Callable[[Host, Settings, Previous | None], Any]
    judge: Callable[[Any, Settings, Previous | None], list[Finding]]


def is_of_kernel(check: Check) -> bool:
    """Return whether a check needs nothing but /proc."""
    return ".kernel." in check.__name__


def load_checks(stage: str) -> Sequence[Check]:
    """Return the check modules of a stage, `kernel`, `stack` or `export`, in the order of their names."""
    return [cast("Check", importlib.import_module(name)) for name in list_modules(stage)]


def list_modules(stage: str) -> list[str]:
    """Return the names of the check modules of a stage, in their order."""
    # os.listdir, because pkgutil.iter_modules imports `inspect`: a sixth of the CPU time of a whole pass.
    files = sorted(os.listdir(os.path.join(os.path.dirname(__file__), stage)))
    names = [file[:-3] for file in files if file.endswith(".py") and not file.startswith("_")]
    return [f"{__name__}.{stage}.{name}" for name in names]


def list_rows(stage: str, kind: str) -> set[str]:
    """Return the rows that the checks of a stage declare to be of a kind, such as `ROWS_BEYOND_REPAIR`."""
    return {row for check in load_checks(stage) for row in getattr(check, kind, ())}
