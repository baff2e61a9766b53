"""`vpsmon status`: one screen for a person: the units, the last pass, what goes on and waits, and what was found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click

from vpsmon import __version__
from vpsmon.alerts.mail_spool import open_spool
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import list_entries
from vpsmon.config.settings import Config
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean, format_duration, format_local
from vpsmon.installation.unit_status import describe_units, read_units
from vpsmon.jobs.probes import SERVICES, run_probe
from vpsmon.jobs.start import EXIT_FAILED, load_or_explain
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.passes.stages import ALERT_FILE
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.recovery_file import RECOVERY_FILE
from vpsmon.state.shm_fallback import SparedState
from vpsmon.system.host import Host
from vpsmon.system.log import say
from vpsmon.system.terminal import break_lines, print_text

EXIT_NOT_RUNNING = 3
# Without units, a monitor that somebody runs otherwise shows by its passes; this many intervals may go by.
_MISSED_INTERVALS = 4
_SHOWN_FINDINGS = 5


class Screen(NamedTuple):
    """What `vpsmon status` shows, and whether everything that should run does."""

    text: str
    is_running: bool


@click.command(short_help="Show what goes on, and what was found.")
@click.pass_obj
def status(config_file: str | None) -> None:
    """Show the units, the last pass and its worst, open incidents, what waits to be sent, and the services found.

    Exit status: 0 everything runs; 1 the configuration is invalid or the state cannot be read; 3 something is down.
    """
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    try:
        screen = describe(Host(), config)
    except StateError as error:
        say("error", str(error))
        sys.exit(EXIT_FAILED)
    print_text(screen.text)
    sys.exit(0 if screen.is_running else EXIT_NOT_RUNNING)


def describe(host: Host, config: Config) -> Screen:
    """Return the whole screen. Raises StateError."""
    state = SparedState(config.state_directory)
    units, is_running = _describe_units(host, config, state)
    lines = [*_describe_head(host, config), *units, *_describe_state(host, config, state)]
    lines += _describe_services(host, config)
    for notice in state.notices:
        say("warning", notice)
    width = max(len(title) for title, _ in lines)
    rows = [f"{title:<{width}}  " + break_lines(text, width + 2) for title, text in lines]
    return Screen("\n".join(rows), is_running)


def _describe_head(host: Host, config: Config) -> Iterator[tuple[str, str]]:
    yield f"vpsmon {__version__}", f"on {host.name}"
    yield "configuration", config.path or "no monitor.conf: everything has its default"


def _describe_units(host: Host, config: Config, state: StateDirectory) -> tuple[list[tuple[str, str]], bool]:
    try:
        units = read_units(host)
    except NotApplicable as reason:
        return [("units", str(reason))], _has_fresh_pass(host, config, state)
    except ReadError as error:
        return [("units", f"unknown: {error}")], False
    return describe_units(units, host.wall_seconds()), not any(unit.is_failed for unit in units)


def _has_fresh_pass(host: Host, config: Config, state: StateDirectory) -> bool:
    try:
        last_seconds = _find_last_pass(state.load(MEMORIES_FILE))
    except WRONG_FORM:
        return False
    return host.wall_seconds() - last_seconds < _MISSED_INTERVALS * config.settings.MONITOR_INTERVAL_SEC


def _find_last_pass(memories: dict[str, Any]) -> float:
    return max((float(stage["wall_seconds"]) for stage in memories.get("last_pass", {}).values()), default=0.0)


def _describe_state(host: Host, config: Config, state: StateDirectory) -> Iterator[tuple[str, str]]:
    now = host.wall_seconds()
    yield "last pass", _describe_file(state.load, MEMORIES_FILE, lambda memories: _describe_last_pass(memories, now))
    yield "incidents", _describe_file(state.load, ALERT_FILE, lambda alerts: _describe_incidents(alerts, now))
    # Recovery has to find it as it is.
    yield "recovery", _describe_file(state.peek, RECOVERY_FILE, lambda content: _describe_recovery(content, now))
    yield "outbox", _describe_file(state.load, OUTBOX_FILE, lambda outbox: _describe_outbox(outbox, config, now))
    waiting = open_spool(state).list()
    if waiting:
        yield "e-mail", f"{len(waiting)} report(s) wait for the mail server to take them"
    yield "logs", f"{config.state_directory}/alert_history.log and recovery.log; journalctl --unit 'vps-*'"


def _describe_file(
    read: Callable[[str], dict[str, Any] | None], name: str, describe: Callable[[dict[str, Any]], str]
) -> str:
    content = read(name)
    if content is None:
        return f"{name} is unreadable: the next recovery moves it aside and only looks for 10 min"
    try:
        return describe(content)
    except WRONG_FORM:
        return f"{name} is of another form; the next pass starts it afresh"


def _describe_last_pass(memories: dict[str, Any], now_seconds: float) -> str:
    stages = memories.get("last_pass", {})
    if not stages:
        return "none yet: vpsmon monitor --once"
    last_seconds = _find_last_pass(memories)
    statuses = ", ".join(f"{name} {clean(stage['status'])}" for name, stage in stages.items())
    return "\n".join([f"{_ago(last_seconds, now_seconds)}: {statuses}", *_list_worst(stages)])


def _list_worst(stages: dict[str, Any]) -> list[str]:
    # A version from before noted none.
    worst = [finding for stage in stages.values() for finding in stage.get("worst", [])]
    worst.sort(key=lambda finding: finding["status"] != "critical")
    return [_describe_finding(finding) for finding in worst[:_SHOWN_FINDINGS]]


def _describe_finding(finding: dict[str, Any]) -> str:
    name = " ".join(clean(finding[key]) for key in ("check", "object") if finding[key])
    return f"{clean(finding['status'])} {name}: {clean(finding['message'], 160)}"


def _describe_incidents(alerts: dict[str, Any], now_seconds: float) -> str:
    return "; ".join(_describe_incident(each, now_seconds) for each in alerts.get("incidents", {}).values()) or "none"


def _describe_incident(incident: dict[str, Any], now_seconds: float) -> str:
    name = " ".join(clean(incident[key]) for key in ("check", "object") if incident[key])
    return f"{clean(incident['severity'])} {name} since {_ago(incident['since'], now_seconds)}"


def _describe_recovery(content: dict[str, Any], now_seconds: float) -> str:
    from vpsmon.recovery.changes import list_emergencies

    changes = list_emergencies(content)
    told = [f"{each.text} since {_ago(each.since_wall_seconds, now_seconds)}, until {each.until}" for each in changes]
    return "; ".join(told) or "nothing is stopped, paused or changed"


def _describe_outbox(outbox: dict[str, Any], config: Config, now_seconds: float) -> str:
    told = []
    if entries := list_entries(outbox):
        oldest_seconds = entries[0]["wall_seconds"]
        told.append(f"{len(entries)} message(s) wait, the oldest for {_span(oldest_seconds, now_seconds)}")
    refusal = outbox.get("refusal")
    if isinstance(refusal, dict):
        told.append(clean(str(refusal.get("reason")), 300))
    return "; ".join(told) or ("empty" if config.settings.has_telegram else "not in use: Telegram is not set up")


def _describe_services(host: Host, config: Config) -> Iterator[tuple[str, str]]:
    without_docker = ""
    for name, probe in SERVICES.items():
        result = run_probe(name, probe, host, config)
        if name == "Docker" and result.verdict != "OK":
            without_docker = f"{result.text}; "
        # The same long reason five times hides what is different.
        yield name, result.text.removeprefix(without_docker)


def _ago(wall_seconds: float, now_seconds: float) -> str:
    return f"{format_local(wall_seconds)} ({_span(wall_seconds, now_seconds)} ago)"


def _span(wall_seconds: float, now_seconds: float) -> str:
    return format_duration(now_seconds - wall_seconds)
