"""What rules and engine speak of: what was read, what is wrong, what would help, what was decided. No input or output.

An action is data: it is written down before it is done, printed in a dry run, and undone by another action. Nothing
here holds a sentence that anything is decided by: messages.py makes the words last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from vpsmon.core.findings import Finding, Severity
from vpsmon.stack.docker.containers import Container

# pending: too early to say, for example a health check that has not run yet; gone: removed or recreated meanwhile.
Outcome = Literal["repaired", "failing", "pending", "gone"]
Verdict = Literal["act", "wait", "given up", "budget", "disabled", "person", "not needed", "hold"]
# What became of an action, also of one that undoes another. postponed: refused for now, and tried again; forgotten:
# there is nothing left to undo; dry_run: nothing was done.
Ending = Literal["", "begun", "dry_run", "refused", "undone", "postponed", "forgotten", Outcome]
# Why nothing is done now, where the verdict alone does not say it; or why something is undone.
Reason = Literal[
    "",
    "dependency",
    "unreadable",
    "pause",
    "other_repair",
    "memory_lost",
    "calm",
    "requested",
    "removed",
    "runs_again",
    "owner",
]


class Action(NamedTuple):
    """One thing to do to one container, session or set of workflows; `name` is for people."""

    verb: str
    target: str
    name: str
    details: dict[str, Any] = {}  # noqa: RUF012 never changed


class Undo(NamedTuple):
    """How a step is undone: when it has been calm for so long, or only by a person (None); `until` is for people."""

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
    # Also when it went well somebody has to look after it: a stopped container is no repair.
    needs_a_person: bool = False


class Dependency(NamedTuple):
    """What comes first: a container that is `exited`, `unhealthy` …, or `started` so many seconds ago.

    Or that the container itself is `recovering`, or that memory is `short`.
    """

    name: str
    state: str
    seconds: float = 0.0


class Incident(NamedTuple):
    """Something that is wrong: its cause, as the rule names it, and facts that JSON can hold, for the words.

    Each attempt takes the next step, counted by target; without steps manual action is needed.
    """

    target: str
    name: str
    cause: str
    steps: tuple[Step, ...]
    facts: Mapping[str, Any] = {}
    # The container that the steps touch: no two rules work at the same one at a time.
    touches: str = ""
    # Another incident comes first, so that nothing is done now.
    waits_for: Dependency | None = None
    # Nothing can be done any more, and it is dangerous.
    is_grave: bool = False


class Words(NamedTuple):
    """What a rule says of an incident: what is wrong, what may be done manually, and what to know about the action."""

    message: str
    advice: str = ""
    note: str = ""


class Change(NamedTuple):
    """Something temporary that recovery did; it is in recovery_state.json from before it is done until it is undone."""

    id: str
    rule: str
    action: Action
    undo: Action
    # None: only manually; 0: at once.
    calm_seconds: float | None
    until: str
    since_seconds: float
    since_wall_seconds: float
    calm_since_seconds: float | None = None
    tries: int = 0
    # What a newer version has written beside it.
    more: Mapping[str, Any] = {}
    # The states that recovery may have left, see last_hand.py; () where none was seen.
    left: tuple[list[Any], ...] = ()


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
    """What was decided about an incident or a change, and what came of it. Built with keywords, without any words."""

    rule: str
    target: str
    name: str
    # Of the incident, as its rule names it; `undo` where a change is undone, `memory_lost` for recovery itself.
    cause: str
    verdict: Verdict
    reason: Reason = ""
    action: Action | None = None
    ending: Ending = ""
    severity: Severity | None = None
    # How often this was tried, how long the next attempt has to wait and what it would be; the limit of the budget.
    attempts: int = 0
    wait_seconds: float | None = None
    next_action: Action | None = None
    limit: int = 0
    # There is no further attempt; the effect was looked at; it was done by signals; it was begun by an earlier run.
    is_last: bool = False
    is_verified: bool = False
    is_by_signals: bool = False
    is_of_earlier_run: bool = False
    # What an effector or a service answered, and what is left to decide for a person.
    error: str = ""
    questions: tuple[Question, ...] = ()
    # What the words are made of.
    incident: Incident | None = None
    change: Change | None = None
    recalled: Mapping[str, Any] = {}


class Question(NamedTuple):
    """A workflow that was not switched on again: `edited` while it was paused, or with `unpublished` changes."""

    name: str
    cause: Literal["edited", "unpublished"]
