"""What `vpsmon status` shows: the units, the last pass, what goes on and waits, and what was found. No layout here.

The screen is in status_text.py, the object for programs in status_json.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from vpsmon.alerts.mail_spool import open_spool
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import list_entries
from vpsmon.config.settings import Config
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.installation.systemctl import UnitState
from vpsmon.installation.unit_status import read_units
from vpsmon.jobs.probes import SERVICES, Probe, Result, read_essential, run_probe
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.passes.stages import ALERT_FILE
from vpsmon.recovery.changes import Emergency, list_emergencies
from vpsmon.recovery.events import FILE as EVENTS
from vpsmon.report.logs import Repair, find_repairs, read_log
from vpsmon.report.timeline import DAY_SECONDS
from vpsmon.stack.identity.essential import Because
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.directory import StateDirectory
from vpsmon.state.recovery_file import RECOVERY_FILE
from vpsmon.system.host import Host

# Without units, a monitor that somebody runs otherwise shows by its passes; this many intervals may go by.
_MISSED_INTERVALS = 4
_Content = TypeVar("_Content")


class Trouble(NamedTuple):
    """Why a part of the screen is not known."""

    reason: str


class Row(NamedTuple):
    """A finding of the last pass; an incident has no message and a start."""

    check: str
    object: str | None
    status: str
    message: str = ""
    since_wall_seconds: float | None = None

    @property
    def name(self) -> str:
        """The check and its object."""
        return f"{self.check} {self.object}" if self.object else self.check


class Stage(NamedTuple):
    """When a stage of a pass last looked, how it found the machine, and the worst of it."""

    name: str
    wall_seconds: float
    status: str
    worst: list[Row]


class Outbox(NamedTuple):
    """The messages that wait, and what Telegram refuses for good, if it does."""

    waiting: int
    oldest_wall_seconds: float
    refusal: str


class Overview(NamedTuple):
    """Everything on the screen; `is_running` when all that should run does."""

    host_name: str
    wall_seconds: float
    config: Config
    units: list[UnitState] | Trouble
    is_running: bool
    stages: list[Stage] | Trouble
    incidents: list[Row] | Trouble
    emergencies: list[Emergency] | Trouble
    # What recovery did in the last day.
    repairs: list[Repair] | Trouble
    outbox: Outbox | Trouble
    waiting_mails: int
    services: list[Result]
    # None where the containers are not known, which the service Docker explains.
    essential: list[Because] | None = None


def look(host: Host, config: Config, state: StateDirectory, services: Mapping[str, Probe] = SERVICES) -> Overview:
    """Return everything on the screen. Raises StateError."""
    stages = _read(state.load, MEMORIES_FILE, _parse_stages)
    units, is_running = _look_at_units(host, config, stages)
    return Overview(
        host.name,
        host.wall_seconds(),
        config,
        units,
        is_running,
        stages,
        _read(state.load, ALERT_FILE, _parse_incidents),
        # Recovery has to find it as it is.
        _read(state.peek, RECOVERY_FILE, list_emergencies),
        _read_repairs(host, state),
        _read(state.load, OUTBOX_FILE, _parse_outbox),
        len(open_spool(state).list()),
        [run_probe(name, probe, host, config) for name, probe in services.items()],
        _find_essential(host, config),
    )


def _read_repairs(host: Host, state: StateDirectory) -> list[Repair] | Trouble:
    try:
        text = read_log(host, os.path.join(state.path, EVENTS))
    except OSError as error:
        return Trouble(f"{EVENTS} cannot be read: {error.strerror}")
    return find_repairs(text, "", host.wall_seconds(), DAY_SECONDS)


def _find_essential(host: Host, config: Config) -> list[Because] | None:
    try:
        return read_essential(host, config)
    except (NotApplicable, ReadError):
        return None


def _look_at_units(host: Host, config: Config, stages: list[Stage] | Trouble) -> tuple[list[UnitState] | Trouble, bool]:
    try:
        units = read_units(host)
    except NotApplicable as reason:
        return Trouble(str(reason)), _has_fresh_pass(host, config, stages)
    except ReadError as error:
        return Trouble(f"unknown: {error}"), False
    return units, not any(unit.is_failed for unit in units)


def _has_fresh_pass(host: Host, config: Config, stages: list[Stage] | Trouble) -> bool:
    last_seconds = 0.0 if isinstance(stages, Trouble) else find_last_pass(stages)
    return host.wall_seconds() - last_seconds < _MISSED_INTERVALS * config.settings.MONITOR_INTERVAL_SEC


def find_last_pass(stages: list[Stage]) -> float:
    """Return when a stage last looked, in wall seconds; 0 where none ever has."""
    return max((stage.wall_seconds for stage in stages), default=0.0)


def _read(
    read: Callable[[str], dict[str, Any] | None], name: str, parse: Callable[[dict[str, Any]], _Content]
) -> _Content | Trouble:
    content = read(name)
    if content is None:
        return Trouble(f"{name} is unreadable: the next recovery moves it aside and only looks for 10 min")
    try:
        return parse(content)
    except WRONG_FORM:
        return Trouble(f"{name} is of another form; the next pass starts it afresh")


def _parse_stages(memories: dict[str, Any]) -> list[Stage]:
    return [
        # A version from before noted no worst.
        Stage(
            clean(name),
            float(stage["wall_seconds"]),
            clean(stage["status"]),
            [_parse_row(each, clean(each["status"]), each["message"]) for each in stage.get("worst", [])],
        )
        for name, stage in memories.get("last_pass", {}).items()
    ]


def _parse_row(entry: dict[str, Any], status: str, message: str = "", since: float | None = None) -> Row:
    name = clean(entry["object"]) if entry["object"] else None
    return Row(clean(entry["check"]), name, status, clean(message, 160), since)


def _parse_incidents(alerts: dict[str, Any]) -> list[Row]:
    incidents = alerts.get("incidents", {}).values()
    return [_parse_row(each, clean(each["severity"]), since=float(each["since"])) for each in incidents]


def _parse_outbox(outbox: dict[str, Any]) -> Outbox:
    entries, refusal = list_entries(outbox), outbox.get("refusal")
    reason = clean(str(refusal.get("reason")), 300) if isinstance(refusal, dict) else ""
    return Outbox(len(entries), float(entries[0]["wall_seconds"]) if entries else 0.0, reason)
