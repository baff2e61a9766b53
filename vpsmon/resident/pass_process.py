"""What the copies of the resident monitor do: a pass, reading monitor.conf again, starting a recovery.

Everything is imported here and not by the watcher: what a copy imports goes back with it.
"""

from __future__ import annotations

import marshal
import os
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from vpsmon.checks import Check
    from vpsmon.host import Host
    from vpsmon.passes import PassContext, StageResult
    from vpsmon.recovery import Rule
    from vpsmon.settings import Config
    from vpsmon.stack.containers import Container

# An engine that thrashes too took 7 to 30 s for a list that else takes milliseconds, and 90 s for a stop. Nothing else
# helps then, so it gets a minute, and five for the stop.
_PATIENCE = 15.0
# How a pass tells that the stack needs recovery.
EXIT_CRITICAL = 3
# How it tells that a stack was asked, and nothing was found wrong with it or with the machine.
EXIT_WELL = 4


class Report(NamedTuple):
    """The worst status of the kernel checks, and the rows that are critical."""

    status: str
    critical_rows: tuple[str, ...]


def parse_report(data: bytes) -> Report | None:
    """Return what a pass reported; None where it ended before that."""
    return Report(*marshal.loads(data)) if data else None  # noqa: S302 written by a copy of this process


def run_pass(config: Config, is_regular: bool, with_stack: bool, report_descriptor: int) -> int:
    """Run the kernel checks, report, and go on with the stack, or with nothing but sending; return the exit status.

    The heartbeat belongs to the regular passes.
    What the kernel checks found is reported before anything that can hang is asked.
    """
    from vpsmon.findings import worst_status
    from vpsmon.host import Host
    from vpsmon.log import say
    from vpsmon.pass_log import report_problems
    from vpsmon.passes import PassContext, run_kernel_stage
    from vpsmon.storage.spare import SparedState
    from vpsmon.storage.state import StateError

    state = SparedState(config.state_directory)
    context = PassContext(Host(), config, state)
    kernel = run_kernel_stage(context)
    report_problems(config.settings, state, kernel)
    kernel_status = worst_status(kernel.findings)
    critical_rows = tuple(each.check for each in kernel.findings if each.status == "critical")
    os.write(report_descriptor, marshal.dumps((kernel_status, critical_rows)))
    os.close(report_descriptor)
    try:
        stack = _run_rest(context, kernel, is_regular, with_stack)
    except StateError as error:
        if not kernel.state_error:  # else it is said already
            say("error", str(error))
        return 1
    if stack is None:
        return 0
    report_problems(config.settings, state, stack)
    stack_status = worst_status(stack.findings)
    if stack_status == "critical":
        return EXIT_CRITICAL
    return EXIT_WELL if stack_status == kernel_status == "ok" and not stack.state_error else 0


def _run_rest(context: PassContext, kernel: StageResult, is_regular: bool, with_stack: bool) -> StageResult | None:
    """Return what the stage of the stack found, or None where it was not asked. Raises StateError."""
    from vpsmon.rest_of_pass import deliver, run_rest_of_pass, send_heartbeat

    if with_stack:
        return run_rest_of_pass(context, kernel.entry_id)
    deliver(context, waits=False)
    if is_regular:
        send_heartbeat(context, kernel)
    return None


def reload_config(option: str | None, descriptor: int) -> int:
    """Read monitor.conf again and write it to the descriptor, or say every fault; return the exit status."""
    from vpsmon.config import ConfigError, load_config
    from vpsmon.log import say
    from vpsmon.resident.handover import pack_config

    try:
        config = load_config(option, os.environ)
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        return 1
    with open(descriptor, "wb") as file:
        marshal.dump(pack_config(config), file)
    return 0


def note_containers(config: Config, events: bytes) -> int:
    """Remember the containers that these events name as a pass would have seen them; return the exit status."""
    from vpsmon.checks.stack import container_memory
    from vpsmon.findings import NotApplicable, ReadError
    from vpsmon.host import Host
    from vpsmon.passes import PassContext
    from vpsmon.stack.containers import inspect_named
    from vpsmon.storage.spare import SparedState
    from vpsmon.storage.state import StateError

    context = PassContext(Host(patience=_PATIENCE), config, SparedState(config.state_directory))
    check = cast("Check", container_memory)
    try:
        containers = inspect_named(context.host, events)
        with context.state.lock():
            memories = context.recall_memories()
            memories.keep(check, container_memory.add_known(memories.recall(check), containers))
            context.state.commit({context.memories_file: memories.to_state()}, {})
    except (NotApplicable, ReadError, StateError):
        return 1  # the next pass says why
    return 0


def recover_memory(config: Config) -> int:
    """Run the one rule that helps a machine that thrashes, here and at once; return 0 when it does so no more, else 1.

    A program that is started needs seconds then; the rule looks again itself before it does anything. What it has to
    tell is sent by a pass: to send may take longer than it takes to fill up the swap.
    """
    from vpsmon.host import Host
    from vpsmon.log import say
    from vpsmon.recovery import swap_thrashing
    from vpsmon.recovery.engine.run import recover
    from vpsmon.storage.state import StateError

    def make_host() -> Host:
        return Host(patience=_PATIENCE)

    try:
        known = _recall_containers(make_host(), config)
        result = recover(config, [cast("Rule", swap_thrashing)], make_host=make_host, known_containers=known)
    except StateError as error:
        say("error", str(error))
        return 1
    return 0 if result.is_over and not result.is_other_running else 1


def _recall_containers(host: Host, config: Config) -> list[Container]:
    """Return the containers as the last pass saw them, if one of them can be spared: then Docker need not be asked."""
    from vpsmon.checks.stack import container_memory
    from vpsmon.passes import PassContext
    from vpsmon.recovery.swap_thrashing import list_spare
    from vpsmon.stack.known_containers import update
    from vpsmon.storage.spare import SparedState

    memories = PassContext(host, config, SparedState(config.state_directory)).recall_memories()
    known = container_memory.recall_containers(memories.recall(cast("Check", container_memory)))
    return known if list_spare(update(host, known), config.settings) else []


def start_recovery(config_path: str | None) -> int:
    """Have a recovery started, and say how; return the exit status."""
    from vpsmon.log import say
    from vpsmon.recovery.engine.start import start_recovery as start

    try:
        say("info", f"critical: starting {start(config_path)}")
    except OSError as error:
        say("error", f"recovery could not be started: {error.strerror}; its timer comes next")
        return 1
    return 0
