"""A queue of n8n that does not get its work done: more than N8N_QUEUE_MAX jobs wait, or none is run for minutes.

Jobs that wait while none is run mean a dead worker: it is restarted, not n8n itself. Else what can wait is paused:
the active workflows tagged N8N_LOW_PRIORITY_TAG, which are activated again when the queue has been below half for ten
minutes. Pausing stops what comes in, jobs that are queued already still run. A queue that drains by itself is left
alone however long it is.
"""

from __future__ import annotations

from typing import Any

from vpsmon.config.settings import Settings
from vpsmon.core.text import clean, format_duration
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Step, Undo, Words
from vpsmon.recovery.rule import Rule
from vpsmon.recovery.rules._dependencies import find_bad_dependency
from vpsmon.stack.command_line import read_options
from vpsmon.stack.docker.containers import Container, find_container
from vpsmon.stack.identity.essential import is_left_alone
from vpsmon.stack.n8n.server import Queue, is_worker_dead

_ATTEMPTS = 3
# A burst is over, or at least drains, after this.
_OVER_FOR_SECONDS = 120.0
_MARK_EVERY_SECONDS = 60.0
_LONGEST_GAP_SECONDS = 900.0
_MOST_MARKS = 6
_CALM_SECONDS = 600.0
_WORKER_SECONDS = 90.0
_PAUSE = "pause"
_UNTIL = "the queue has been below half for 10 min"


def remember(snapshot: Snapshot, settings: Settings, memory: dict[str, Any]) -> dict[str, Any]:
    """Return how long the queue was lately, while it is too long: marks of [seconds, jobs waiting]."""
    queue = _find_queue(snapshot)
    if queue is None:
        return memory
    if queue.waiting <= settings.N8N_QUEUE_MAX:
        return {}
    marks = [[float(seconds), float(waiting)] for seconds, waiting in memory.get("marks", [])]
    if marks and snapshot.seconds - marks[-1][0] > _LONGEST_GAP_SECONDS:
        marks = []  # nobody knows what the queue did meanwhile
    if not marks or snapshot.seconds - marks[-1][0] >= _MARK_EVERY_SECONDS:
        marks.append([snapshot.seconds, queue.waiting])
    return {"marks": marks[-_MOST_MARKS:]}


def detect(snapshot: Snapshot, settings: Settings, memory: dict[str, Any]) -> list[Incident]:
    """Return the dead workers, or else the queue that only gets longer."""
    queue = _find_queue(snapshot)
    if queue is None or not queue.waiting:
        return []
    if _is_dead(snapshot, queue):
        return _list_dead(snapshot, queue, settings)
    is_paused = any(each.undo.verb == "resume_workflows" for each in snapshot.changes)
    if queue.waiting <= settings.N8N_QUEUE_MAX or is_paused or not _has_lasted(snapshot, queue, memory):
        return []
    main = find_container(snapshot.containers or [], settings.N8N_CONTAINER)
    if main is not None and is_left_alone(main):
        return []
    pause = Step(Action("pause_workflows", _PAUSE, "n8n"), 0.0)
    facts = {"waiting": queue.waiting, "limit": settings.N8N_QUEUE_MAX, "tag": clean(settings.N8N_LOW_PRIORITY_TAG)}
    return [Incident(target=_PAUSE, name="queue", cause="overflow", steps=(pause,) * _ATTEMPTS, facts=facts)]


def _find_queue(snapshot: Snapshot) -> Queue | None:
    reading = snapshot.readings.get("n8n")
    return reading.queue if reading is not None and isinstance(reading.queue, Queue) else None


def _has_lasted(snapshot: Snapshot, queue: Queue, memory: dict[str, Any]) -> bool:
    """Return whether it has been too long for minutes without getting shorter."""
    marks = memory.get("marks", [])
    if not marks or snapshot.seconds - marks[0][0] < _OVER_FOR_SECONDS:
        return False
    return bool(queue.waiting >= max(marks[0][1], marks[-1][1]))


def _is_dead(snapshot: Snapshot, queue: Queue) -> bool:
    stuck_seconds = float(snapshot.memories.get("n8n", {}).get("stuck_seconds", 0.0))
    return is_worker_dead(queue, stuck_seconds)


def _list_dead(snapshot: Snapshot, queue: Queue, settings: Settings) -> list[Incident]:
    facts: dict[str, Any] = {"waiting": queue.waiting, "seconds": float(snapshot.memories["n8n"]["stuck_seconds"])}
    workers = [each for each in snapshot.containers or () if each.status == "running" and _is_worker(each, settings)]
    if not workers:
        facts["containers_error"] = snapshot.containers_error
        return [Incident(target="worker", name="worker", cause="no_worker", steps=(), facts=facts)]
    return [
        Incident(
            target=each.id,
            name=clean(each.name),
            cause="dead_worker",
            steps=(Step(Action("restart_container", each.id, each.name), _WORKER_SECONDS),) * _ATTEMPTS,
            facts=facts,
            touches=each.id,
            waits_for=find_bad_dependency(snapshot, each, settings),
        )
        for each in workers
        if not is_left_alone(each)
    ]


def _is_worker(container: Container, settings: Settings) -> bool:
    """Return whether it is a worker of n8n: `n8n worker`, and of n8n's image or one that says so itself."""
    main = find_container([container], settings.N8N_CONTAINER)
    words = read_options(container)
    is_of_n8n = "n8n" in container.image or "n8n" in container.name or "n8n" in (container.service or "")
    return main is None and is_of_n8n and "worker" in words


def prepare(incident: Incident, machine: Machine, settings: Settings) -> Incident:
    """Find out which workflows there are to pause. Raises ReadError."""
    if incident.target != _PAUSE:
        return incident
    from vpsmon.stack.n8n.api import KeyRefused

    try:
        found = machine.list_low_priority_workflows()
    except KeyRefused as refusal:
        return incident._replace(steps=(), cause="key_refused", facts={**incident.facts, "refusal": str(refusal)})
    if not found:
        return incident._replace(steps=(), cause="nothing_to_pause")
    keys = ("id", "name", "active_version", "draft")
    details = {"items": [{key: getattr(each, key) for key in keys} for each in found]}
    undo = Undo(Action("resume_workflows", _PAUSE, "n8n", details), _CALM_SECONDS, _UNTIL)
    step = Step(Action("pause_workflows", _PAUSE, "n8n", details), 0.0, undo=undo)
    return incident._replace(steps=(step,) * _ATTEMPTS)


def describe(incident: Incident, action: Action | None) -> Words:
    """Return how long the queue is, and what becomes of workflows that are paused."""
    facts, waiting = incident.facts, incident.facts["waiting"]
    if incident.cause in ("dead_worker", "no_worker"):
        lasting = format_duration(facts["seconds"])
        message = f"{waiting} jobs wait for n8n and none has been run for {lasting}: the worker is dead"
        if incident.cause == "dead_worker":
            return Words(message, "look into the log of n8n's worker; does it reach Redis and PostgreSQL?")
        why = facts["containers_error"] or "no running container has the command `worker`"
        return Words(message, f"start n8n's worker: {why}")
    message = f"{waiting} jobs wait for n8n, more than {facts['limit']}, and they do not get fewer"
    advice = f"give n8n's worker more concurrency, or tag workflows that can wait with {facts['tag']}"
    if incident.cause == "key_refused":
        advice = facts["refusal"]
    elif incident.cause == "nothing_to_pause":
        advice = f"no active workflow may be paused: {advice}"
    note = (
        "callers of their webhooks get 404 meanwhile, and jobs that are queued already still run; "
        f"they are activated again when {_UNTIL}"
    )
    return Words(message, advice, note)


def verify(snapshot: Snapshot, target: str, settings: Settings) -> Outcome:
    """Return whether the worker takes jobs; of a pause that was cut off nobody knows which workflows it has reached."""
    if target == _PAUSE:
        return "failing"
    if snapshot.containers is not None and snapshot.find_container(target) is None:
        return "gone"
    queue = _find_queue(snapshot)
    if queue is None:
        return "pending"
    stuck_seconds = float(snapshot.memories.get("n8n", {}).get("stuck_seconds", 0.0))
    return "repaired" if queue.running or not queue.waiting or stuck_seconds == 0 else "failing"


def is_calm(snapshot: Snapshot, settings: Settings, change: Change) -> bool:
    """Return whether the queue is below half of what is too long."""
    queue = _find_queue(snapshot)
    return queue is not None and queue.waiting < settings.N8N_QUEUE_MAX / 2


RULE = Rule(
    name="n8n_queue_overflow",
    commands=("queue",),
    order=50,
    checks=("stack.n8n",),
    cooldown_seconds=900.0,
    detect=detect,
    verify=verify,
    describe=describe,
    remember=remember,
    prepare=prepare,
    is_calm=is_calm,
)
