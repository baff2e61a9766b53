"""The checks, one subject a file; a file in kernel/ or stack/ is a check, there is no other list.

A check module has `ROWS` (the names of its rows with their units), `Reading` (a named tuple of what was read),
`read(host, settings, previous)` and `judge(reading, settings, previous)`; where something must be known next time, also
`remember(reading, previous)`. Only `read` touches the host; `judge` and `remember` are pure.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from vpsmon.findings import Finding, Previous
from vpsmon.host import Host
from vpsmon.settings import Settings


class Check(Protocol):
    """What the engine expects of a module in kernel/ or stack/."""

    __name__: str
    ROWS: dict[str, str]
    read: Callable[[Host, Settings, Previous | None], Any]
    judge: Callable[[Any, Settings, Previous | None], list[Finding]]


def load_checks(stage: str) -> Sequence[Check]:
    """Return the check modules of a stage, `kernel` or `stack`, in the order of their names."""
    # os.listdir, because pkgutil.iter_modules imports `inspect`: a sixth of the CPU time of a whole pass.
    files = sorted(os.listdir(os.path.join(os.path.dirname(__file__), stage)))
    names = [file[:-3] for file in files if file.endswith(".py") and not file.startswith("_")]
    return [cast("Check", importlib.import_module(f"{__name__}.{stage}.{name}")) for name in names]
