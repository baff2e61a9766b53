"""What a pass knows of containers beyond the check that looked: names for ids, and which ones recovery has stopped.

The kernel log knows the container's id only, and the kernel checks do not wait for Docker. So the names are those that
container_state remembered in the pass before (`names`: the first 12 digits of the id -> name).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vpsmon.core.findings import Event, Finding


def name_containers(findings: Sequence[Finding], names: Mapping[str, str]) -> list[Finding]:
    """Return the findings, container ids in their events and message replaced by the names that are known."""
    return [_name_finding(finding, names) if finding.events else finding for finding in findings]


def excuse_stopped(
    findings: Sequence[Finding], excused_names: Collection[str], overdue_names: Collection[str] = ()
) -> list[Finding]:
    """Return the findings of a check; a container that recovery has stopped is no fault of the stack, for a while.

    What recovery leaves stopped looks like an order of the owner, and is none.
    """
    return [_judge_stopped(each, excused_names, overdue_names) for each in findings]


def _judge_stopped(finding: Finding, excused_names: Collection[str], overdue_names: Collection[str]) -> Finding:
    if finding.status == "ok" and not finding.is_reported_once:
        return finding
    if finding.object in excused_names:
        return finding._replace(
            status="ok", message="stopped by recovery; vpsmon status shows until when", is_reported_once=False
        )
    if finding.object in overdue_names and finding.status == "ok":
        message = f"stopped by recovery, which does not start it again by itself; {finding.message}"
        return finding._replace(status="warning", message=message, is_reported_once=False)
    return finding


def _name_finding(finding: Finding, names: Mapping[str, str]) -> Finding:
    message = finding.message
    for event in finding.events:
        if event.object in names:
            message = _name_in_text(message, event.object, names)
    # The key stays: an event that was told under its id is not told again under its name.
    return finding._replace(message=message, events=tuple(_name_event(event, names) for event in finding.events))


def _name_event(event: Event, names: Mapping[str, str]) -> Event:
    if event.object not in names:
        return event
    return event._replace(object=names[event.object], message=_name_in_text(event.message, event.object, names))


def _name_in_text(text: str, container_id: str, names: Mapping[str, str]) -> str:
    return text.replace(f" in container {container_id}:", f" in container {names[container_id]}:")
