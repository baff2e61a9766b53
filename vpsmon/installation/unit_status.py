"""How the units on this machine do, for `vpsmon status` and `vpsmon selftest`."""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.config.trust import USER
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import format_duration, format_local
from vpsmon.installation import systemctl
from vpsmon.installation.account import find_docker_group, find_user, may_use_docker
from vpsmon.installation.layout import InstallError
from vpsmon.installation.steps import list_installed_units
from vpsmon.installation.systemctl import UnitState
from vpsmon.installation.units import name_of
from vpsmon.system.host import Host

_HOW_TO_INSTALL = "not installed: sudo vpsmon install"


def read_units(host: Host) -> list[UnitState]:
    """Return the state of every installed unit. Raises NotApplicable (none is) or ReadError."""
    if not systemctl.is_running():
        raise NotApplicable("systemd does not run this machine: `vpsmon monitor` has to be started by what does")
    # A template stands for its instances, and has no state of its own.
    names = [name for name in map(name_of, list_installed_units()) if "@." not in name]
    if not names:
        raise NotApplicable(_HOW_TO_INSTALL)
    return systemctl.read_states(host, names)


def describe_units(units: Sequence[UnitState], now_seconds: float) -> list[tuple[str, str]]:
    """Return a line for each job: what its service, its timer and the like do."""
    jobs: dict[str, list[str]] = {}
    for unit in units:
        job, _, kind = unit.name.rpartition(".")
        if kind != "slice":
            jobs.setdefault(job, []).append(f"{kind} {_describe(unit, now_seconds)}")
    return [(job, ", ".join(parts)) for job, parts in jobs.items()]


def _describe(unit: UnitState, now_seconds: float) -> str:
    if unit.active == "failed":
        return f"FAILED ({unit.result}): journalctl --unit {unit.name}"
    if unit.is_failed:
        return f"NOT RUNNING: sudo systemctl start {unit.name}"
    if unit.next_run_seconds:
        wait = format_duration(unit.next_run_seconds - now_seconds)
        return f"next in {wait} ({format_local(unit.next_run_seconds)})"
    if unit.enabled == "disabled":
        return "off"
    # A oneshot service that has done its work is inactive, and well.
    return "idle" if unit.active == "inactive" else unit.sub


def probe_units(host: Host) -> str:
    """Return that the units run and may use Docker. Raises NotApplicable, ReadError."""
    units = read_units(host)
    down = [f"{unit.name} {_describe(unit, host.wall_seconds())}" for unit in units if unit.is_failed]
    if down:
        raise ReadError("; ".join(down))
    try:
        user = find_user()
    except InstallError as error:
        raise ReadError(str(error)) from None
    if user is None:
        raise ReadError(f"the user {USER} is gone: sudo vpsmon install")
    group = find_docker_group()
    if group and not may_use_docker():
        raise ReadError(f"the user {USER} is not in the group {group}, and cannot see containers: sudo vpsmon install")
    return f"{len(units)} units, all well; user {USER}" + (f" in group {group}" if group else ", no Docker")
