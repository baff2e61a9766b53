"""A pass, in a copy of the resident monitor.

Everything is imported here and not by the watcher: what a copy imports goes back with it.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vpsmon.config.settings import Config
    from vpsmon.passes.context import PassContext, StageResult

# What preload.py loads for it as soon as memory is short.
LOADED_LATE = ("vpsmon.passes.problems", "vpsmon.passes.stack_stage")
# How a pass tells that the stack needs recovery.
EXIT_CRITICAL = 3
# How it tells that a stack was asked, and nothing was found wrong with it or with the machine.
EXIT_WELL = 4


def parse_report(data: bytes) -> tuple[str, tuple[str, ...]] | None:
    """Return what a pass reported: the worst status of the kernel checks, and the rows that are critical.

    None where it ended before that.
    """
    return marshal.loads(data) if data else None  # noqa: S302 written by a copy of this process


def run_pass(config: Config, is_regular: bool, with_stack: bool, report_descriptor: int) -> int:
    """Run the kernel checks, report, and go on with the stack, or with nothing but sending; return the exit status.

    The heartbeat belongs to the regular passes.
    What the kernel checks found is reported before anything that can hang is asked.
    """
    from vpsmon.core.findings import worst_status
    from vpsmon.passes.context import PassContext
    from vpsmon.passes.problems import report_problems
    from vpsmon.passes.stages import run_kernel_stage
    from vpsmon.state.directory import StateError
    from vpsmon.state.shm_fallback import SparedState
    from vpsmon.system.host import Host
    from vpsmon.system.log import say

    state = SparedState(config.state_directory)
    # What the kernel rang for must not wait for a disk that may be busy with swapping: seconds for each commit.
    state.waits_for_disk = is_regular
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
    from vpsmon.passes.heartbeat import send_heartbeat
    from vpsmon.passes.stack_stage import deliver, run_rest_of_pass

    if with_stack:
        return run_rest_of_pass(context, kernel.entry_id)
    deliver(context, waits=False)
    if is_regular:
        send_heartbeat(context, kernel)
    return None
