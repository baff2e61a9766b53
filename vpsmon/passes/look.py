"""The one way to look at the machine: recall, read, judge, decorate. Pass, report, recovery and export all take it.

What differs between them is said by what they hand over: which checks, the memories that readings are compared with,
and the containers that recovery has stopped. Whether anything of a look is kept is theirs to decide: nothing is written
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.checks import Check, is_of_kernel
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding
from vpsmon.passes.check_memory import Memories, Recall
from vpsmon.passes.container_names import excuse_stopped, name_containers
from vpsmon.passes.run_check import Attempt, attempt, judge_attempt
from vpsmon.state.recovery_file import Stopped
from vpsmon.system.host import Host
from vpsmon.system.largest_processes import describe_largest

_NAMED_CONSUMERS = 3
_NOTHING_STOPPED = Stopped()


class Look(NamedTuple):
    """What the checks read and found at one time."""

    wall_seconds: float
    attempts: Sequence[Attempt]
    findings: list[Finding]
    # What each check knows after it, by the name of its module.
    remembered: dict[str, dict[str, Any]] = {}  # noqa: RUF012 never changed
    # Why nothing of it could be kept, if so.
    state_error: str | None = None


def look(
    checks: Sequence[Check],
    host: Host,
    settings: Settings,
    memories: Memories,
    stopped: Stopped = _NOTHING_STOPPED,
) -> Look:
    """Read the checks and return what they find; the memories then hold what the checks want to remember."""
    attempts = read_checks(checks, host, settings, memories.recall)
    return conclude(attempts, host, settings, memories, stopped)


def read_checks(checks: Sequence[Check], host: Host, settings: Settings, recall: Recall) -> list[Attempt]:
    """Return the readings: of the kernel checks one after the other, of the others side by side with a deadline."""
    kernel = [check for check in checks if is_of_kernel(check)]
    others = [check for check in checks if not is_of_kernel(check)]
    if not others:
        return [attempt(check, host, settings, recall(check)) for check in kernel]
    # It brings `threading`, which the kernel checks alone do without.
    from vpsmon.passes.in_parallel import start_in_parallel

    on_the_way = start_in_parallel(others, host, settings, recall)
    return [attempt(check, host, settings, recall(check)) for check in kernel] + on_the_way.collect()


def conclude(
    attempts: Sequence[Attempt],
    host: Host,
    settings: Settings,
    memories: Memories,
    stopped: Stopped = _NOTHING_STOPPED,
    names_processes: bool = True,
) -> Look:
    """Judge what was read, and decorate what is found; the memories then hold what the checks want to remember.

    `names_processes` says beside a shortage of memory which processes are the largest, for which all of them are read.
    """
    remembered: dict[str, dict[str, Any]] = {}
    by_attempt: list[list[Finding]] = []
    for each in attempts:
        previous = memories.recall(each.check)
        findings, memory = judge_attempt(each, settings, previous)
        by_attempt.append(findings)
        if memory is not None:
            memories.keep(each.check, memory)
        remembered[each.check.__name__] = memory if memory is not None else previous.memory if previous else {}
    found = _decorate(attempts, by_attempt, memories, stopped)
    return Look(host.wall_seconds(), attempts, _name_consumers(host, found) if names_processes else found, remembered)


def _decorate(
    attempts: Sequence[Attempt],
    by_attempt: Sequence[list[Finding]],
    memories: Memories,
    stopped: Stopped,
) -> list[Finding]:
    """Return all findings, with what is known of containers beyond the check that looked."""
    has_events = any(finding.events for findings in by_attempt for finding in findings)
    names = memories.recall_container_names() if has_events or any(stopped) else {}
    excused, overdue = ({names[each[:12]] for each in ids if each[:12] in names} for ids in stopped)
    found: list[Finding] = []
    for each, findings in zip(attempts, by_attempt, strict=True):
        is_excused = getattr(each.check, "EXCUSES_STOPPED", False)
        found += excuse_stopped(findings, excused, overdue) if is_excused else findings
    return name_containers(found, names)


def _name_consumers(host: Host, findings: list[Finding]) -> list[Finding]:
    """Return the findings, those of a memory problem with the largest processes in their message."""
    if not any(map(is_of_shortage, findings)):
        return findings
    largest = describe_largest(host, _NAMED_CONSUMERS)
    return [
        finding._replace(message=f"{finding.message}; {largest}") if is_of_shortage(finding) and largest else finding
        for finding in findings
    ]


def is_of_shortage(finding: Finding) -> bool:
    """Return whether a finding says that memory is short now."""
    return finding.names_consumers and finding.status in ("warning", "critical")
