"""`vpsmon monitor --once`: one pass in the foreground, printed."""

from __future__ import annotations

import os

from vpsmon.config import Config, ConfigError, load_config
from vpsmon.findings import Severity, reaches, worst_status
from vpsmon.host import Host
from vpsmon.log import say
from vpsmon.output import format_json, format_table, print_text, wants_colour
from vpsmon.pass_log import SETUP_HINT, report_problems
from vpsmon.passes import PassContext, StageResult, run_kernel_stage
from vpsmon.rest_of_pass import run_rest_of_pass
from vpsmon.storage.spare import SparedState
from vpsmon.storage.state import StateError

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
    context = PassContext(Host(), config, SparedState(config.state_directory), with_alerts)
    started = context.host.monotonic_seconds()
    kernel = run_kernel_stage(context)
    stack = _run_rest(context, kernel)
    findings = kernel.findings + stack.findings
    duration_seconds = context.host.monotonic_seconds() - started
    if as_json:
        print_text(format_json(context.host.name, context.host.wall_seconds(), duration_seconds, findings))
    else:
        print_text(
            format_table(context.host.name, context.host.wall_seconds(), duration_seconds, findings, wants_colour())
        )
    for result in (kernel, stack):
        report_problems(config.settings, context.state, result)
    if with_alerts and not config.settings.has_telegram:
        say("info", SETUP_HINT)
    if kernel.state_error or stack.state_error or all(each.status in ("unknown", "skipped") for each in findings):
        return EXIT_FAILED
    return EXIT_LIMIT_REACHED if fail_on and reaches(worst_status(findings), fail_on) else 0


def _run_rest(context: PassContext, kernel: StageResult) -> StageResult:
    try:
        result = run_rest_of_pass(context, kernel.entry_id)
    except StateError as error:
        result = StageResult([], [], str(error))
    # What the first stage has said already is not said again.
    return result._replace(state_error=None) if kernel.state_error else result
