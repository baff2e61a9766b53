"""A queue of n8n that does not get its work done: more than N8N_QUEUE_MAX jobs wait, or none is run for minutes.

Jobs that wait while none is run mean a dead worker: it is restarted, not n8n itself. Else what can wait is paused:
the active workflows tagged N8N_LOW_PRIORITY_TAG, which are activated again when the queue has been below half for ten
minutes. Pausing stops what comes in, jobs that are queued already still run. A queue that drains by itself is left
alone however long it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks.stack.n8n import recall_of
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Previous
from vpsmon.core.text import clean, format_duration
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Action, Change, Incident, Outcome, Snapshot, Step, Undo, Words
from vpsmon.recovery.rule import Rule
from vpsmon.recovery.rules._dependencies import find_bad_dependency
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.bindings import Bindings
from vpsmon.stack.identity.choice import find_only
from vpsmon.stack.identity.essential import is_left_alone
from vpsmon.stack.identity.names import Neighbours
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
    """Return the dead workers, or else the queue of the n8n that is meant, which only gets longer."""
    dead = [each for stuck in _list_stuck(snapshot) for each in _list_dead(snapshot, stuck, settings)]
    queue = _find_queue(snapshot)
    if dead or queue is None or not queue.waiting:
        return dead
    is_paused = any(each.undo.verb == "resume_workflows" for each in snapshot.changes)
    if queue.waiting <= settings.N8N_QUEUE_MAX or is_paused or not _has_lasted(snapshot, queue, memory):
        return []
    main = _find_main(snapshot, snapshot.readings["n8n"].container_id, settings)
    if main is not None and is_left_alone(main):
        return []
    pause = Step(Action("pause_workflows", _PAUSE, "n8n"), 0.0)
    facts = {"waiting": queue.waiting, "limit": settings.N8N_QUEUE_MAX, "tag": clean(settings.N8N_LOW_PRIORITY_TAG)}
    return [Incident(target=_PAUSE, name="queue", cause="overflow", steps=(pause,) * _ATTEMPTS, facts=facts)]


def _find_main(snapshot: Snapshot, container_id: str, settings: Settings) -> Container | None:
    """Return the container of an n8n that was read; where N8N_URL leads to it, the one that it must be."""
    read = snapshot.find_container(container_id) if container_id else None
    return read or find_only(snapshot.containers or (), settings, "n8n")


def _find_queue(snapshot: Snapshot) -> Queue | None:
    reading = snapshot.readings.get("n8n")
    return reading.queue if reading is not None and isinstance(reading.queue, Queue) else None


def _has_lasted(snapshot: Snapshot, queue: Queue, memory: dict[str, Any]) -> bool:
    """Return whether it has been too long for minutes without getting shorter."""
    marks = memory.get("marks", [])
    if not marks or snapshot.seconds - marks[0][0] < _OVER_FOR_SECONDS:
        return False
    return bool(queue.waiting >= max(marks[0][1], marks[-1][1]))


class _Stuck(NamedTuple):
    """A queue whose jobs nobody takes, for how long, and the container of its n8n ("" where that is not known)."""

    queue: Queue
    seconds: float
    container_id: str
    name: str


def _list_queues(snapshot: Snapshot) -> list[_Stuck]:
    """Return the queues of all n8n, and for how long the same job has been next."""
    reading, memory = snapshot.readings.get("n8n"), Previous(dict(snapshot.memories.get("n8n", {})), 0.0)
    found = []
    for each in reading.all if reading is not None else ():
        known = recall_of(each, memory)
        seconds = float(known.memory.get("stuck_seconds", 0.0)) if known else 0.0
        if isinstance(each.queue, Queue):
            found.append(_Stuck(each.queue, seconds, each.container_id, each.name))
    return found


def _list_stuck(snapshot: Snapshot) -> list[_Stuck]:
    return [each for each in _list_queues(snapshot) if each.queue.waiting and is_worker_dead(each.queue, each.seconds)]


def _list_dead(snapshot: Snapshot, stuck: _Stuck, settings: Settings) -> list[Incident]:
    facts: dict[str, Any] = {"waiting": stuck.queue.waiting, "seconds": stuck.seconds}
    workers = _list_workers(snapshot, stuck, settings)
    if not workers:
        facts["containers_error"] = snapshot.containers_error
        name = f"worker of {stuck.name}" if stuck.name else "worker"
        return [Incident(target=name, name=name, cause="no_worker", steps=(), facts=facts)]
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


def _list_workers(snapshot: Snapshot, stuck: _Stuck, settings: Settings) -> list[Container]:
    """Return the running workers that take jobs from this queue; all there are where no n8n runs in a container.

    Where one does and is not the one that is meant for certain, nobody's: whose workers they are is not known.
    """
    bindings = Bindings(Neighbours(snapshot.containers or ()), settings)
    main = _find_main(snapshot, stuck.container_id, settings)
    if main is None and any(bindings.part_of(each).role == "n8n_main" for each in bindings.neighbours.containers):
        return []
    found = bindings.workers_of(main) if main is not None else bindings.neighbours.containers
    return [each for each in found if each.status == "running" and bindings.part_of(each).role == "n8n_worker"]


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
    own = [
        each
        for each in _list_queues(snapshot)
        if target in (worker.id for worker in _list_workers(snapshot, each, settings))
    ]
    if not own:
        return "pending"
    is_well = all(each.queue.running or not each.queue.waiting or not each.seconds for each in own)
    return "repaired" if is_well else "failing"


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
