"""`vpsmon monitor --once`: one pass in the foreground, printed."""

from __future__ import annotations

from vpsmon.core.findings import Severity, reaches, worst_status
from vpsmon.jobs.start import EXIT_FAILED, load_or_explain
from vpsmon.jobs.tables import format_json, format_table
from vpsmon.passes.context import PassContext, StageResult
from vpsmon.passes.problems import SETUP_HINT, report_problems
from vpsmon.passes.stack_stage import run_rest_of_pass
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.state.directory import StateError
from vpsmon.state.shm_fallback import SparedState
from vpsmon.system.host import Host
from vpsmon.system.log import say
from vpsmon.system.terminal import print_text, wants_colour

EXIT_LIMIT_REACHED = 3


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
