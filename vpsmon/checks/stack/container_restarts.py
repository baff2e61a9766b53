"""container_restarts: how often each container was restarted in the last five minutes (RESTART_LOOP_WINDOW_SEC).

Docker's RestartCount counts automatic restarts, and starts anew when the container or the engine is restarted by hand;
so what counts is how it moves, by container id. Docker waits longer after each short run, up to a minute: a crash loop
settles at four or five restarts in five minutes, below any sensible limit. So a container that is `restarting`, or had
just been restarted, whenever it was looked at three times in a row, is a loop as well.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vpsmon.checks._limits import judge_above
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, skipped, unknown
from vpsmon.core.text import clean, format_duration
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.docker.exit_causes import (
    MOST_EXPLAINED,
    Death,
    describe_exit,
    find_cause,
    read_recent_deaths,
    recall_death,
)
from vpsmon.system.host import Host

ROWS = {"container_restarts": "count"}
GROUP = "containers"
METRICS = {"vpsmon_container_recent_restarts": "Restarts of a container in the last RESTART_LOOP_WINDOW_SEC."}
_SHORT_RUN_SECONDS = 10
_STRIKES_OF_A_LOOP = 3
# What `docker stop`, `docker restart` and a job that is done leave.
_STATUSES_OF_A_STOP = (0, 137, 143)
# Enough for the default window at an interval of 5 s; a longer window then counts the latest restarts only.
_MOST_OBSERVATIONS = 60
_FIRST_SIGHT = "restarts are counted from one pass to the next, and this container is seen for the first time"


class Observed(NamedTuple):
    """A container as it is now; `death` is how it ended before its latest restart, where that is known."""

    id: str
    name: str
    status: str
    restart_count: int
    created_wall_seconds: float | None
    started_wall_seconds: float | None
    inspect_error: str | None = None
    death: Death | None = None


class Reading(NamedTuple):
    """All containers, and when they were looked at."""

    containers: list[Observed]
    wall_seconds: float
    monotonic_seconds: float
    window_seconds: float


class History(NamedTuple):
    """What is known of a container's restarts: `[monotonic seconds, restarts since the look before, ordered]` each.

    Ordered are those of a person or a tool: the container had not ended by itself.
    """

    restarts: list[list[float]]
    strikes: int
    is_counted: bool
    death: Death | None


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the restart counters; and for what has just been restarted, why. Raises NotApplicable, ReadError."""
    containers = read_containers(host, settings)
    reading = Reading(
        [_observe(container) for container in containers],
        host.wall_seconds(),
        host.monotonic_seconds(),
        settings.RESTART_LOOP_WINDOW_SEC,
    )
    restarted = {each.id for each in reading.containers if _count_new(each, reading, previous)}
    if not restarted:
        return reading
    deaths = _explain_deaths(host, [each for each in containers if each.id in restarted], reading)
    return reading._replace(containers=[each._replace(death=deaths.get(each.id)) for each in reading.containers])


def _observe(container: Container) -> Observed:
    return Observed(
        container.id,
        clean(container.name),
        container.status,
        container.restart_count,
        container.created_wall_seconds,
        container.started_wall_seconds,
        clean(container.inspect_error, 200) if container.inspect_error else None,
    )


def _explain_deaths(host: Host, restarted: list[Container], reading: Reading) -> dict[str, Death]:
    deaths = read_recent_deaths(host, reading.wall_seconds - reading.window_seconds)
    known = [each for each in restarted if each.id in deaths][:MOST_EXPLAINED]
    return {each.id: deaths[each.id]._replace(cause=find_cause(host, each, deaths[each.id])) for each in known}


def _count_new(container: Observed, reading: Reading, previous: Previous | None) -> int:
    """Return the restarts since the look before; of a container first seen, those in a life within the window."""
    before = _recall(container, previous)
    if before is None:
        return container.restart_count if _is_new(container, reading) else 0
    moved = container.restart_count - int(before["count"])
    if moved < 0:
        moved = container.restart_count
    # A restart by hand or by a tool does not count up; while `restarting`, the restart to come is counted already.
    is_started_anew = before["status"] == "running" and before["started"] != container.started_wall_seconds
    return max(moved, 1 if is_started_anew and container.status == "running" else 0)


def _is_new(container: Observed, reading: Reading) -> bool:
    """Return whether all of its restarts were within the window."""
    return reading.wall_seconds - (container.created_wall_seconds or 0) <= reading.window_seconds


def _recall(container: Observed, previous: Previous | None) -> dict[str, Any] | None:
    record: dict[str, Any] | None = (previous.memory if previous else {}).get(container.id[:12])
    return record


def _follow(container: Observed, reading: Reading, previous: Previous | None) -> History:
    before = _recall(container, previous)
    oldest = reading.monotonic_seconds - reading.window_seconds
    restarts = [each for each in (before["restarts"] if before else []) if each[0] > oldest]
    new = _count_new(container, reading, previous)
    if new:
        restarts.append([round(reading.monotonic_seconds, 1), new, 0 if _ends_by_itself(container, before) else new])
    return History(
        restarts[-_MOST_OBSERVATIONS:],
        (before["strikes"] if before else 0) + 1 if _is_strike(container, reading, before) else 0,
        before is not None or _is_new(container, reading),
        container.death or (recall_death(before) if before and restarts else None),
    )


def _ends_by_itself(container: Observed, before: dict[str, Any] | None) -> bool:
    """Return whether its engine restarted it, or it ended as no stop does: by its own status, or for want of memory."""
    if before is None or (container.restart_count and container.restart_count != int(before["count"])):
        return True
    death = container.death
    return death is not None and (bool(death.cause) or death.exit_code not in _STATUSES_OF_A_STOP)


def _is_strike(container: Observed, reading: Reading, before: dict[str, Any] | None) -> bool:
    """Return whether it is waiting for a restart, or runs for less than 10 s since an automatic one not seen before."""
    if container.status == "restarting":
        return True
    if before is None or container.status != "running" or not container.restart_count:
        return False
    run_seconds = reading.wall_seconds - (container.started_wall_seconds or 0)
    return before["started"] != container.started_wall_seconds and run_seconds < _SHORT_RUN_SECONDS


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return one finding for each container, a warning where it restarts again and again."""
    if not reading.containers:
        reason = "there is no container; docker compose up -d starts the stack"
        return [skipped("container_restarts", "nothing to count", reason)]
    return [_judge_container(each, _follow(each, reading, previous), settings) for each in reading.containers]


def _count(history: History) -> int:
    return int(sum(each[1] for each in history.restarts))


def _count_ordered(history: History) -> int:
    # The version before did not know which were.
    return int(sum(each[2] for each in history.restarts if len(each) > 2))


def _judge_container(container: Observed, history: History, settings: Settings) -> Finding:
    if container.inspect_error:
        reason = f"Docker cannot inspect it: {container.inspect_error}"
        return unknown("container_restarts", "cannot be counted", reason, object=container.name)
    if not history.is_counted:
        return skipped("container_restarts", "not counted yet", _FIRST_SIGHT, object=container.name)
    count, ordered = _count(history), _count_ordered(history)
    judgement = judge_above(count - ordered, settings.RESTART_LOOP_COUNT, float("inf"))
    is_looping = history.strikes >= _STRIKES_OF_A_LOOP
    window = format_duration(settings.RESTART_LOOP_WINDOW_SEC)
    message = f"{count} restart{'' if count == 1 else 's'} in {window}"
    if ordered:
        message += f", {ordered} of them by hand or by a tool"
    if judgement.status != "ok":
        message += f", warning above {settings.RESTART_LOOP_COUNT}"
    elif is_looping:
        message += f", and it was restarting each of the last {history.strikes} times it was looked at"
    if history.death:
        message += f"; before the last one it {describe_exit(history.death.exit_code, history.death.cause)}"
    return Finding(
        check="container_restarts",
        status="warning" if is_looping else judgement.status,
        message=message,
        object=container.name,
        value=count,
        advice=f"it ends soon after each start: docker logs --tail 50 {container.name} shows why",
        is_clear=judgement.is_clear and not history.strikes,
    )


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the restarts in the window of each container whose restarts are counted."""
    histories = {
        each.name: _follow(each, reading, previous) for each in reading.containers if each.inspect_error is None
    }
    return [
        MetricSample("vpsmon_container_recent_restarts", _count(history), (("container", name),))
        for name, history in histories.items()
        if history.is_counted
    ]


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return for each container that exists what the next pass compares with; a removed one is forgotten."""
    known = (each for each in reading.containers if not each.inspect_error)
    return {each.id[:12]: _to_record(each, _follow(each, reading, previous)) for each in known}


def _to_record(container: Observed, history: History) -> dict[str, Any]:
    return {
        "count": container.restart_count,
        "status": container.status,
        "started": container.started_wall_seconds,
        "restarts": history.restarts,
        "strikes": history.strikes,
        "death": history.death,
        # For the version before, which decides by this sentence.
        "cause": describe_exit(history.death.exit_code, history.death.cause) if history.death else "",
    }
