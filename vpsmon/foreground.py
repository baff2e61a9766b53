"""`vpsmon monitor --once`: one pass in the foreground, printed."""

from __future__ import annotations

import os

from vpsmon.config import Config, ConfigError, load_config
from vpsmon.findings import Severity, reaches, worst_status
from vpsmon.host import Host
from vpsmon.log import say
from vpsmon.output import format_json, format_table, print_text, wants_colour
from vpsmon.pass_log import SETUP_HINT, report_problems
from vpsmon.passes import run_kernel_stage
from vpsmon.rest_of_pass import is_needed, run_rest_of_pass
from vpsmon.state import StateDirectory, StateError

EXIT_FAILED = 1
EXIT_LIMIT_REACHED = 3


def load_or_explain(config_file: str | None) -> Config | None:
    """Return the configuration, or None after having said every fault in it."""
    try:
        config = load_config(config_file, os.environ)
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        return None
    for warning in config.warnings:
        say("warning", warning)
    return config


def run_once(config_file: str | None, as_json: bool, with_alerts: bool, fail_on: Severity | None) -> int:
    """Run and print one pass, and return the exit status of the command."""
    config = load_or_explain(config_file)
    if config is None:
        return EXIT_FAILED
    host = Host()
    state = StateDirectory(config.state_directory)
    started = host.monotonic_seconds()
    result = run_kernel_stage(host, config, state, with_alerts)
    duration_seconds = host.monotonic_seconds() - started
    if as_json:
        print_text(format_json(host.name, host.wall_seconds(), duration_seconds, result.findings))
    else:
        print_text(format_table(host.name, host.wall_seconds(), duration_seconds, result.findings, wants_colour()))
    report_problems(config.settings, state, result)
    if with_alerts and not config.settings.has_telegram:
        say("info", SETUP_HINT)
    if result.state_error or not any(finding.status not in ("unknown", "skipped") for finding in result.findings):
        return EXIT_FAILED
    if with_alerts and not _finish(host, config, state):
        return EXIT_FAILED
    return EXIT_LIMIT_REACHED if fail_on and reaches(worst_status(result.findings), fail_on) else 0


def _finish(host: Host, config: Config, state: StateDirectory) -> bool:
    try:
        if is_needed(config, state):
            run_rest_of_pass(host, config, state)
    except StateError as error:
        say("error", str(error))
        return False
    return True
