"""What systemd is asked and told."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.installation.files import OwnFile
from vpsmon.system.host import Host

_TIMEOUT_SECONDS = 30.0
# The monitor says that it is ready within seconds; this is for a machine that thrashes already.
_START_TIMEOUT_SECONDS = 120.0
_PROPERTIES = "Id,LoadState,ActiveState,SubState,Result,UnitFileState"


class UnitState(NamedTuple):
    """How a unit does: the words of systemd (`active`, `failed` …), and when a timer runs next."""

    name: str
    active: str
    sub: str
    result: str
    enabled: str
    next_run_seconds: float | None = None

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an error, or was told to start and does not run although it should."""
        should_run = self.enabled == "enabled" or self.name == "vps-monitor.service"
        return self.active == "failed" or (should_run and self.active not in ("active", "reloading"))


def is_running() -> bool:
    """Return whether systemd is what runs this machine (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def read_version(host: Host) -> int:
    """Return the version of systemd, such as 252. Raises ReadError."""
    answer = host.run(["systemctl", "--version"], _TIMEOUT_SECONDS)
    match = re.match(r"systemd (\d+)", answer)
    if not match:
        raise ReadError(f"systemctl --version says nothing known: {clean(answer)}")
    return int(match[1])


def verify(host: Host, units: Sequence[OwnFile]) -> list[str]:
    """Return what systemd finds wrong with units that are not installed yet, one line each. Raises ReadError."""
    with tempfile.TemporaryDirectory(prefix="vpsmon-units-") as folder:
        for unit in units:
            Path(folder, os.path.basename(unit.path)).write_text(unit.text, encoding="utf-8")
        paths = sorted(str(path) for path in Path(folder).iterdir())
        # The manual is installed after the units that name it.
        done = host.run_command(["systemd-analyze", "verify", "--man=no", *paths], _TIMEOUT_SECONDS)
    lines = [clean(line.replace(f"{folder}/", ""), 300) for line in done.errors.splitlines() if folder in line]
    if done.status and not lines:
        lines = [clean(line, 300) for line in done.errors.splitlines()] or ["systemd-analyze verify failed"]
    return lines


def call(host: Host, *words: str) -> None:
    """Run systemctl. Raises ReadError."""
    host.run(["systemctl", "--quiet", *words], _START_TIMEOUT_SECONDS)


def read_states(host: Host, names: Sequence[str]) -> list[UnitState]:
    """Return the state of units, in this order. Raises ReadError."""
    if not names:
        return []
    answer = host.run(["systemctl", "show", f"--property={_PROPERTIES}", "--", *names], _TIMEOUT_SECONDS)
    next_runs = _read_next_runs(host)
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in answer.strip().split("\n\n")]
    return [
        UnitState(
            name,
            block.get("ActiveState", "unknown"),
            block.get("SubState", ""),
            block.get("Result", ""),
            block.get("UnitFileState", ""),
            next_runs.get(name),
        )
        for name, block in zip(names, blocks, strict=False)
    ]


def _read_next_runs(host: Host) -> dict[str, float]:
    """Return when each timer runs next, in seconds since 1970; {} where this systemd cannot say it to programs."""
    try:
        rows = json.loads(host.run(["systemctl", "list-timers", "--all", "--output=json"], _TIMEOUT_SECONDS))
        return {row["unit"]: row["next"] / 1e6 for row in rows if row.get("next")}
    except (ReadError, ValueError, TypeError, KeyError, AttributeError):
        return {}
