"""`vpsmon export`: the readings of a pass as a file for Prometheus.

It reads what a pass reads, with a memory of its own: its rates are those since the export before, and what the monitor
has seen up to is not touched. What cannot be read is absent from the file, never 0.
"""

from __future__ import annotations

import json

from vpsmon.checks import load_checks
from vpsmon.config.settings import Settings
from vpsmon.jobs.start import EXIT_FAILED, load_or_explain
from vpsmon.passes.context import PassContext
from vpsmon.passes.in_parallel import start_in_parallel
from vpsmon.passes.look import Look, look
from vpsmon.passes.stack_stage import find_absence
from vpsmon.passes.stages import record_stack_stage, run_kernel_stage
from vpsmon.prometheus.exposition import compose
from vpsmon.state.directory import METRICS_FILE, TARGETS_FILE, StateError
from vpsmon.state.shm_fallback import SparedState
from vpsmon.system.host import Host
from vpsmon.system.log import say
from vpsmon.system.terminal import print_text

MEMORIES_FILE = "export_state.json"
# An export takes no longer than the deadline of its slowest check.
_LOCK_TIMEOUT_SECONDS = 30.0


def run_export(config_file: str | None, only: str | None = None, to_stdout: bool = False) -> int:
    """Write or print the metrics, and return the exit status of the command."""
    config = load_or_explain(config_file)
    if config is None:
        return EXIT_FAILED
    state = SparedState(config.state_directory)
    try:
        context = PassContext(Host(), config, state, with_alerts=False, memories_file=MEMORIES_FILE)
        text, seen = export(context, only, publishes=not to_stdout)
    except StateError as error:
        say("error", str(error))
        return EXIT_FAILED
    if to_stdout:
        print_text(text.rstrip("\n"))
    for notice in state.notices:
        say("warning", notice)
    if seen.state_error:
        say("error", seen.state_error)
    for finding in seen.findings if only else ():
        if finding.status in ("unknown", "skipped"):
            say("warning", f"{finding.check}: {finding.explain() or finding.message}")
    is_failed = seen.state_error or all(finding.status == "unknown" for finding in seen.findings)
    return EXIT_FAILED if is_failed else 0


def export(context: PassContext, only: str | None, publishes: bool) -> tuple[str, Look]:
    """Read everything, or only one check; return the metrics as text, and what they are made of.

    `publishes` writes them to metrics.prom as well, with the target file beside it. Raises StateError, and then the
    old file is still there.
    """
    with context.state.export_lock(_LOCK_TIMEOUT_SECONDS):
        seen = take_look(context, only)
        with context.state.lock():
            text = compose(context, seen, with_own=only is None)
            if publishes:
                context.state.publish(METRICS_FILE, text)
                context.state.publish(TARGETS_FILE, compose_targets(context.host.name, context.config.settings))
    return text, seen


def compose_targets(host_name: str, settings: Settings) -> str:
    """Return the target file for a Prometheus that finds the scrape endpoint by file_sd_configs.

    Format: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config. An endpoint that
    listens on all addresses is reached by the name of the machine.
    """
    address, _, port = settings.METRICS_LISTEN.rpartition(":")
    reachable = host_name if address in ("0.0.0.0", "[::]") else address  # noqa: S104 - compared, not bound
    return json.dumps([{"targets": [f"{reachable}:{port}"], "labels": {"host": host_name}}]) + "\n"


def take_look(context: PassContext, only: str | None) -> Look:
    """Read everything, or only the check of that name.

    The stages are those of a pass, with the memory of the export. Raises StateError.
    """
    host, settings = context.host, context.config.settings
    stack = [*load_checks("stack"), *load_checks("export")] if only or find_absence(context) is None else []
    memories = context.recall_memories()
    if only:
        return look([each for each in stack if each.__name__.endswith(f".{only}")], host, settings, memories)
    wall_seconds = host.wall_seconds()
    started = start_in_parallel(stack, host, settings, memories.recall)
    results = [run_kernel_stage(context)]
    if stack:
        results.append(record_stack_stage(context, started.collect(), None))
    attempts = [each for result in results for each in result.attempts]
    findings = [each for result in results for each in result.findings]
    state_error = next((result.state_error for result in results if result.state_error), None)
    return Look(wall_seconds, attempts, findings, state_error=state_error)
