"""What rules and engine speak of: what was read, what is wrong, what would help, what was decided. No input or output.

An action is data: it is written down before it is done, printed in a dry run, and undone by another action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from vpsmon.core.findings import Finding, Severity
from vpsmon.core.text import clean, format_bytes
from vpsmon.stack.docker.containers import Container

# pending: too early to say, for example a health check that has not run yet; gone: removed or recreated meanwhile.
Outcome = Literal["repaired", "failing", "pending", "gone"]
Verdict = Literal["act", "wait", "given up", "budget", "disabled", "person", "not needed", "hold"]


class Action(NamedTuple):
    """One thing to do to one container, session or set of workflows; `name` is for people."""

    verb: str
    target: str
    name: str
    details: dict[str, Any] = {}  # noqa: RUF012 never changed


class Undo(NamedTuple):
    """How a step is undone: when it has been calm for so long, or only by a person (None)."""

    action: Action
    calm_seconds: float | None
    until: str


class Step(NamedTuple):
    """An action that may help, how long to wait for it, what has to follow it, and how it is undone later.

    0 seconds: that the action was done is all that there is to verify.
    """

    action: Action
    verify_seconds: float
    follow_up: Action | None = None
    undo: Undo | None = None
    # Told together with what was done.
    note: str = ""
    # Also when it went well somebody has to look after it: a stopped container is no repair.
    needs_a_person: bool = False


class Incident(NamedTuple):
    """Something that is wrong. Each attempt takes the next step, counted by target; without steps a person has to."""

    target: str
    name: str
    message: str
    steps: tuple[Step, ...]
    advice: str | None = None
    # The container that the steps touch: no two rules work at the same one at a time.
    touches: str = ""
    # Why nothing is done now although something is wrong: another incident comes first.
    held_back: str = ""
    # Nothing can be done any more, and it is dangerous.
    is_grave: bool = False


class Change(NamedTuple):
    """Something temporary that recovery did; it is in recovery_state.json from before it is done until it is undone."""

    id: str
    rule: str
    action: Action
    undo: Action
    # None: only by hand; 0: at once.
    calm_seconds: float | None
    until: str
    since_seconds: float
    since_wall_seconds: float
    calm_since_seconds: float | None = None
    tries: int = 0


class Snapshot(NamedTuple):
    """The world at one moment: findings by row, readings and memories by check, containers, and what is changed."""

    # Seconds of a clock that nobody sets.
    seconds: float
    wall_seconds: float
    findings: Mapping[str, Sequence[Finding]]
    readings: Mapping[str, Any]
    memories: Mapping[str, Mapping[str, Any]]
    # None where they could not be read; the error says why.
    containers: Sequence[Container] | None
    containers_error: str = ""
    changes: Sequence[Change] = ()
    # As the last pass knew them: one that is not among them may be there all the same.
    has_only_known_containers: bool = False

    def find(self, row: str, name: str | None = None) -> Finding | None:
        """Return the finding of a row for an object, if there is one."""
        return next((each for each in self.findings.get(row, ()) if each.object == name), None)

    def find_container(self, container_id: str) -> Container | None:
        """Return the container of an id, if it is still there."""
        return next((each for each in self.containers or () if each.id == container_id), None)


class Decision(NamedTuple):
    """What was decided about an incident, and what came of it; `told` is what the owner hears where that differs."""

    rule: str
    name: str
    read: str
    verdict: Verdict
    text: str
    action: str = ""
    outcome: str = ""
    severity: Severity | None = None
    advice: str | None = None
    told: str = ""


# What is to be done, and how it reads when it has been done.
_VERBS = {
    "restart_session": ("restart the WhatsApp session {name}", "restarted the WhatsApp session {name}"),
    "start_session": ("start the WhatsApp session {name}", "started the WhatsApp session {name}"),
    "start_sessions": (
        "start the WhatsApp sessions that ran before: {names}",
        "started the WhatsApp sessions that ran before ({names})",
    ),
    "restart_container": ("restart the container {name}", "restarted the container {name}"),
    "stop_container": ("stop the container {name}", "stopped the container {name}"),
    "start_container": ("start the container {name}", "started the container {name}"),
    "pause_workflows": ("pause the n8n workflows {names}", "paused the n8n workflows {names}"),
    "resume_workflows": ("activate the n8n workflows {names} again", "activated the n8n workflows {names} again"),
    "set_memory_limit": (
        "set the memory limit of the container {name} to {limit}",
        "set the memory limit of the container {name} to {limit}",
    ),
}


def describe(action: Action) -> str:
    """Return what an action will do, in words."""
    return _fill(_VERBS[action.verb][0], action)


def describe_done(action: Action) -> str:
    """Return what an action has done, in words."""
    return _fill(_VERBS[action.verb][1], action)


def _fill(text: str, action: Action) -> str:
    names = [str(each["name"] if isinstance(each, dict) else each) for each in action.details.get("items", ())]
    limit = format_bytes(action.details.get("memory_bytes", 0))
    return text.format(name=clean(action.name), names=clean(", ".join(names), 300) or "none", limit=limit)


def to_sentences(first: str, *others: str) -> str:
    """Return the texts as sentences; the first, which may begin with a name, stays as it is."""
    return ". ".join([first, *(each[:1].upper() + each[1:] for each in others if each)])


def format_decision(decision: Decision) -> str:
    """Return a decision on one line: what was read, decided and done, and how it turned out."""
    line = f"{decision.rule}[{decision.name}] {decision.read}: {decision.text}"
    return f"{line}: {decision.outcome}" if decision.outcome else line
