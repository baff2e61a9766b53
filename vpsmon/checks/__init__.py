"""The checks, one subject a file; a file in this folder is a check, there is no other list.

A check module has `ROWS` (the names of its rows with their units), `STAGE` ("kernel": milliseconds, no network;
"stack": everything else), `Reading` (a named tuple of what was read), `read(host, settings)` and
`judge(reading, settings, previous)`; where more than the reading must be known next time, also
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
    """What the engine expects of a module in this folder."""

    __name__: str
    ROWS: dict[str, str]
    STAGE: str
    read: Callable[[Host, Settings, Previous | None], Any]
    judge: Callable[[Any, Settings, Previous | None], list[Finding]]
    remember: Callable[[Any, Previous | None], dict[str, Any]]


def load_checks(stage: str) -> Sequence[Check]:
    """Return the check modules of a stage in the order of their names."""
    # os.listdir, because pkgutil.iter_modules imports `inspect`: a sixth of the CPU time of a whole pass.
    files = sorted(os.listdir(os.path.dirname(__file__)))
    names = [file[:-3] for file in files if file.endswith(".py") and not file.startswith("_")]
    modules = (cast(Check, importlib.import_module(f"{__name__}.{name}")) for name in names)
    return [module for module in modules if stage == module.STAGE]
