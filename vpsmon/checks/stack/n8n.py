"""n8n_queue and n8n_executions: whether n8n's work gets done.

A dead worker is invisible to senders and to /healthz: calls are still answered, only the queue shows it. So the queue
is judged by its length, and by whether the job that is next stays the same from pass to pass. How executions end is
shown and never judged: which failures matter, only their owner knows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, NotApplicable, Previous, ReadError, Status, ok
from vpsmon.core.text import format_duration
from vpsmon.stack.identity.choice import NOTICE_SECONDS
from vpsmon.stack.n8n.health import is_ready
from vpsmon.stack.n8n.server import (
    LOOPBACK,
    N8n,
    Queue,
    is_worker_dead,
    list_n8n,
    read_executions,
    read_queue,
)
from vpsmon.system.host import Host

ROWS = {"n8n_queue": "jobs", "n8n_executions": "executions"}
METRICS = {
    "n8n_workflow_executions": "Executions that are active or waiting now, and completed or failed in the last hour.",
    "vpsmon_n8n_queue_jobs": "Jobs that wait in the queue of n8n.",
}
# Less than the deadline of a check, so that the rows that are known do not go with it.
_TOTAL_SECONDS = 4.5
# Each of them is asked at once; who has more has another machine for them.
_MOST_N8N = 8
_NOTICE = format_duration(NOTICE_SECONDS)
# All slots taken by long executions is normal for a while.
_BUSY_AFTER_SECONDS = 600.0
_DEAD_ADVICE = "restart n8n's worker, not n8n itself; also a worker that runs but takes no jobs"
_BUSY_ADVICE = "see in n8n under Executions what runs so long; stop it, or give the worker more concurrency"
_LONG_ADVICE = "let it drain; if it grows, pause workflows that can wait, or run another worker"


class Missing(NamedTuple):
    """Why there is no value: status skipped (not applicable) or unknown (an error)."""

    status: Status
    reason: str
    remedy: str = ""


class Reading(NamedTuple):
    """The queue, the executions by status (active, waiting, completed, failed), and whether n8n is ready.

    Of several n8n it is that of the one that is meant; `name` tells them apart, and is empty where there is one.
    """

    queue: Queue | Missing
    executions: dict[str, int] | Missing
    is_ready: bool | Missing
    is_on_loopback: bool
    name: str = ""
    container_id: str = ""
    # Why N8N_API_KEY does not go to a container that is another one than before.
    change: str = ""
    others: tuple[Reading, ...] = ()

    @property
    def all(self) -> tuple[Reading, ...]:
        """The readings of all n8n."""
        return (self, *self.others)


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return queue, executions and health, read side by side. Raises NotApplicable (no n8n) or ReadError (Docker)."""
    was_on_loopback = previous is not None and previous.memory.get("is_on_loopback") is True
    deadline = time.monotonic() + _TOTAL_SECONDS
    found = list_n8n(host, settings, was_on_loopback)[:_MOST_N8N]
    answers = _run_side_by_side(deadline, *(reader for n8n in found for reader in _list_readers(host, settings, n8n)))
    first, *others = (_compose(n8n, *answers[3 * number : 3 * number + 3]) for number, n8n in enumerate(found))
    return first._replace(others=tuple(others))


def _list_readers(host: Host, settings: Settings, n8n: N8n) -> list[Callable[[], Any]]:
    return [
        lambda: read_queue(host, settings, n8n),
        lambda: read_executions(host, settings, n8n),
        lambda: is_ready(host, n8n),
    ]


def _compose(n8n: N8n, queue: Any, executions: Any, ready: Any) -> Reading:
    container_id = n8n.container.id if n8n.container else ""
    return Reading(queue, executions, ready, n8n.site == LOOPBACK, n8n.name, container_id, n8n.change)


def _run_side_by_side(deadline: float, *readers: Callable[[], Any]) -> list[Any]:
    """Return what each returned, or why there is nothing; one that hangs does not hide the others."""
    answers: list[Any] = [Missing("unknown", f"no answer within {_TOTAL_SECONDS:g} s")] * len(readers)

    def run(position: int) -> None:
        answers[position] = _try(readers[position])

    threads = [threading.Thread(target=run, args=(position,), daemon=True) for position in range(len(readers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(answers)


def _try(reader: Callable[[], Any]) -> Any:
    try:
        return reader()
    except NotApplicable as error:
        return Missing("skipped", error.reason, error.remedy)
    except ReadError as error:
        return Missing("unknown", error.reason, error.remedy)
    except Exception as error:
        return Missing("unknown", f"unexpected {type(error).__name__}: please report this")


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return how long the queue is and whether it moves, and how executions end."""
    rows = []
    for each in reading.all:
        queue = _judge_queue(each.queue, settings, recall_of(each, previous))
        rows += [row._replace(object=each.name or None) for row in (queue, _judge_executions(each))]
    return rows


def recall_of(reading: Reading, previous: Previous | None) -> Previous | None:
    """Return what is remembered of one of several n8n; of the only one it is all that the check remembers."""
    if previous is None or not reading.name:
        return previous
    known = previous.memory.get("by_name", {}).get(reading.name)
    return Previous(known, previous.elapsed_seconds) if isinstance(known, dict) else None


def _judge_queue(queue: Queue | Missing, settings: Settings, previous: Previous | None) -> Finding:
    if isinstance(queue, Missing):
        return _without_value("n8n_queue", queue, "the queue is not known")
    limit = settings.N8N_QUEUE_MAX
    length = judge_above(queue.waiting, limit / 2, limit)
    message = _describe_queue(queue) + _describe_drain(queue, previous)
    if length.status != "ok":
        message += f", {length.status} above {length.limit:g}"
    stuck = _judge_progress(queue, previous)
    if stuck is not None:
        message += f"; {stuck.message}"
    status: Status = "critical" if "critical" in (length.status, stuck and stuck.status) else length.status
    if stuck is not None and status == "ok":
        status = stuck.status
    return Finding(
        check="n8n_queue",
        status=status,
        message=message,
        value=queue.waiting,
        advice=stuck.advice if stuck else _LONG_ADVICE,
        is_clear=length.is_clear,
    )


def _describe_queue(queue: Queue) -> str:
    if not queue.waiting:
        return f"no job waits, {queue.running} running"
    age = f", the oldest for {format_duration(queue.oldest_seconds)}" if queue.oldest_seconds is not None else ""
    return f"{queue.waiting} {'jobs wait' if queue.waiting > 1 else 'job waits'}{age}, {queue.running} running"


def _describe_drain(queue: Queue, previous: Previous | None) -> str:
    """Say how fast a queue gets shorter, and when it will be empty."""
    before = previous.memory.get("waiting") if previous else None
    if previous is None or before is None or previous.elapsed_seconds <= 0 or not 0 < queue.waiting < before:
        return ""
    per_second = (before - queue.waiting) / previous.elapsed_seconds
    return f", draining: empty in about {format_duration(queue.waiting / per_second)}"


class _Stuck(NamedTuple):
    """A queue that does not move."""

    status: Status
    message: str
    advice: str


def _judge_progress(queue: Queue, previous: Previous | None) -> _Stuck | None:
    """Return what is wrong with a queue whose next job stays the same; None when it moves, or not for long enough."""
    seconds = _count_stuck_seconds(queue, previous)
    lasting = f"no progress for {format_duration(seconds)}"
    if is_worker_dead(queue, seconds):
        return _Stuck("critical", f"{lasting} and nothing running: the worker is dead", _DEAD_ADVICE)
    if seconds >= _BUSY_AFTER_SECONDS:
        why = "the running jobs take long" if queue.running else "nothing is running"
        return _Stuck("warning", f"{lasting}: {why}", _BUSY_ADVICE)
    return None


def _count_stuck_seconds(queue: Queue, previous: Previous | None) -> float:
    """Return for how long the same job has been next, counted over passes by the clock that nobody sets."""
    if previous is None or not queue.oldest or previous.memory.get("oldest") != queue.oldest:
        return 0.0
    return float(previous.memory["stuck_seconds"]) + previous.elapsed_seconds


def _judge_executions(reading: Reading) -> Finding:
    row, health = _count_executions(reading.executions), reading.is_ready
    if reading.change:
        message = f"n8n is another container than before, so N8N_API_KEY is not sent for {_NOTICE}: {reading.change}"
        advice = "if it is not yours, set N8N_CONTAINER to the right one before that"
        return row._replace(status="warning", message=f"{message}; {row.message}", advice=advice)
    if isinstance(health, Missing):
        message = f"n8n is not responding; {row.message}"
        return row._replace(status="unknown", message=message, reason=f"n8n: {health.reason}", remedy=health.remedy)
    if not health:
        message = f"n8n runs but is not ready: its database does not answer; {row.message}"
        advice = "look at PostgreSQL first; n8n recovers by itself when its database is back"
        return row._replace(status="warning", message=message, advice=advice)
    return row._replace(message=f"n8n is healthy; {row.message}")


def _count_executions(executions: dict[str, int] | Missing) -> Finding:
    if isinstance(executions, Missing):
        return _without_value("n8n_executions", executions, "executions are not counted")
    message = (
        f"{executions['active']} active, {executions['waiting']} waiting; in the last hour"
        f" {executions['completed']} completed, {executions['failed']} failed"
    )
    return ok("n8n_executions", message, value=executions["completed"] + executions["failed"])


def _without_value(check: str, missing: Missing, message: str) -> Finding:
    return Finding(check=check, status=missing.status, message=message, reason=missing.reason, remedy=missing.remedy)


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the executions by status, and the jobs that wait; of several n8n with the name of the container."""
    return [sample for each in reading.all for sample in _measure_one(each)]


def _measure_one(reading: Reading) -> list[MetricSample]:
    samples = []
    label = (("container", reading.name),) if reading.name else ()
    if not isinstance(reading.executions, Missing):
        for status, count in reading.executions.items():
            samples.append(MetricSample("n8n_workflow_executions", count, (("status", status), *label)))
    if not isinstance(reading.queue, Missing):
        samples.append(MetricSample("vpsmon_n8n_queue_jobs", reading.queue.waiting, label))
    return samples


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the length of each queue, which job is next, and for how long it has been."""
    if not reading.name:
        return _remember_one(reading, previous)
    by_name = {each.name: _remember_one(each, recall_of(each, previous)) for each in reading.all}
    return {"by_name": by_name, "is_on_loopback": False}


def _remember_one(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    queue = reading.queue
    if isinstance(queue, Missing):
        return {**(previous.memory if previous else {}), "is_on_loopback": reading.is_on_loopback}
    return {
        "waiting": queue.waiting,
        "oldest": queue.oldest,
        "stuck_seconds": _count_stuck_seconds(queue, previous),
        "is_on_loopback": reading.is_on_loopback,
    }
