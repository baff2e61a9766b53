"""container_state: whether each container does what it should: runs and is healthy, or has ended well.

Which are essential, stack/identity/essential.py says. A name of ESSENTIAL_CONTAINERS that had a container once, and has
none any more, is missed for a day; one that never had any is not. Not applicable without a container engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vpsmon.checks._missing_essentials import find_essentials, follow_essentials, judge_missed
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, NotApplicable, Previous, ReadError, Status, skipped, unknown
from vpsmon.core.text import clean, format_duration, quote_foreign
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.docker.exit_causes import MOST_EXPLAINED, Cause, Death, describe_exit, find_cause, recall_cause
from vpsmon.stack.identity.choice import find_replaced_tasks
from vpsmon.stack.identity.essential import Essentials
from vpsmon.system.host import Host

ROWS = {"container_state": ""}
GROUP = "containers"
# What is gone is missed over a reboot as well: `--rm` containers go with the machine.
KEEPS_ACROSS_BOOTS = True
# Recovery starts it again, or has told why it does not.
EXCUSES_STOPPED = True
# During a deployment a container waits for those that it depends on before it is started.
_START_WAIT_SECONDS = 300
# What ended longer ago is not looked into: the logs that tell why may be gone, and it is no news.
_FRESH_DEATH_SECONDS = 900
# What a program leaves that was told to stop, was killed, or had done its work.
_STOPPED_STATUSES = (0, 143, 137)
# An engine that has been away for longer was taken off this machine.
_MISSED_SECONDS = 86_400.0
# Longer than dockerd takes to restart, or to answer on a machine that thrashes for a moment.
_PATIENCE_SECONDS = 60


class Observed(NamedTuple):
    """A container as it is now; `cause` says what ended it, "" when nothing tells, None when it was not looked for."""

    id: str
    name: str
    is_essential: bool
    status: str
    exit_code: int
    health: str
    is_oom_reported: bool
    start_error: str
    created_wall_seconds: float | None
    finished_wall_seconds: float | None
    inspect_error: str = ""
    cause: Cause | None = None
    # A task of a swarm's service in whose place another one has been started.
    is_replaced: bool = False


class Reading(NamedTuple):
    """All containers, and when they were looked at; or what is wrong with an engine that ran some a moment ago."""

    containers: list[Observed]
    wall_seconds: float
    trouble: str = ""
    # What of ESSENTIAL_CONTAINERS is there: the name of its container.
    essentials: dict[str, str] = {}  # noqa: RUF012 never changed


class _Verdict(NamedTuple):
    """Whether a container is well; `is_fault` decides for one that is not essential, `is_down` for one that is."""

    message: str
    is_fault: bool = False
    is_down: bool = False
    advice: str | None = None
    is_clear: bool = True
    # Somebody wanted it so: that is reported once at most.
    is_order: bool = False


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the state of all containers, and why those ended that have just died. Raises NotApplicable, ReadError."""
    try:
        containers = read_containers(host, settings)
    except (NotApplicable, ReadError) as error:
        reading = Reading([], host.wall_seconds(), str(error))
        if previous and previous.memory.get("names") and _is_missed(reading, previous):
            return reading
        raise
    # What `docker compose run` makes has the service of the container that it stands beside.
    names = ((clean(each.name), "" if each.is_for_one_task else each.service or "") for each in containers)
    essentials = Essentials(containers, settings)
    replaced = find_replaced_tasks(containers)
    everything = [
        _observe(container, essentials.is_essential(container))._replace(is_replaced=container.id in replaced)
        for container in containers
    ]
    reading = Reading(everything, host.wall_seconds(), essentials=find_essentials(names, settings))
    causes: dict[str, Cause] = {}
    for container, observed in zip(containers, reading.containers, strict=True):
        known = _recall_cause(observed, previous)
        if known is not None:
            causes[container.id] = known
        elif len(causes) < MOST_EXPLAINED and _is_fresh_death(observed, reading):
            causes[container.id] = find_cause(host, container, _to_death(observed))
    return reading._replace(
        containers=[each._replace(cause=causes.get(each.id)) for each in reading.containers],
    )


def _observe(container: Container, is_essential: bool) -> Observed:
    return Observed(
        container.id,
        clean(container.name),
        is_essential,
        container.status,
        container.exit_code,
        container.health or "",
        container.is_oom_killed,
        quote_foreign(container.start_error, 200),
        container.created_wall_seconds,
        container.finished_wall_seconds,
        clean(container.inspect_error or "", 200),
    )


def _is_missed(reading: Reading, previous: Previous) -> bool:
    """Return whether an engine that is away may come back."""
    return reading.wall_seconds - _trouble_since(reading, previous) < _MISSED_SECONDS


def _recall_cause(container: Observed, previous: Previous | None) -> Cause | None:
    finished, cause = (previous.memory if previous else {}).get("causes", {}).get(container.id[:12], (None, ""))
    return recall_cause(str(cause)) if finished is not None and finished == container.finished_wall_seconds else None


def _is_fresh_death(container: Observed, reading: Reading) -> bool:
    has_ended = container.status in ("exited", "restarting", "dead") and container.exit_code != 0
    return has_ended and reading.wall_seconds - (container.finished_wall_seconds or 0) < _FRESH_DEATH_SECONDS


def _to_death(container: Observed) -> Death:
    return Death(
        wall_seconds=container.finished_wall_seconds or 0,
        exit_code=container.exit_code,
        is_oom_reported=container.is_oom_reported,
    )


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return one finding for each container, critical where an essential one is down or nobody can tell any more."""
    if reading.trouble:
        return [_judge_trouble(reading, previous)]
    shown = [each.name for each in reading.containers]
    missed = judge_missed(follow_essentials(reading.essentials, previous), shown, settings)
    if not reading.containers and not missed:
        reason = "there is no container; docker compose up -d starts the stack"
        return [skipped("container_state", "nothing to look at", reason)]
    settled = _list_settled(reading, previous)
    return [_judge_container(each, reading.wall_seconds, settled) for each in reading.containers] + missed


def _list_settled(reading: Reading, previous: Previous | None) -> dict[str, float | None]:
    """Return when those ended that had ended before vpsmon first looked, and have not been started since."""
    ended = {
        each.id[:12]: each.finished_wall_seconds
        for each in reading.containers
        if each.status == "exited" and not each.start_error and not each.inspect_error
    }
    if previous is None or "names" not in previous.memory:
        return ended
    before = previous.memory.get("settled", {})
    return {identity: finished for identity, finished in ended.items() if before.get(identity, -1) == finished}


def _judge_trouble(reading: Reading, previous: Previous | None) -> Finding:
    """An engine may be slow for a moment; one that stays away leaves the whole stack without anybody to restart it."""
    lasted_seconds = reading.wall_seconds - _trouble_since(reading, previous)
    names = previous.memory["names"].values() if previous else ()
    known = f"it had {len(names)} container{'' if len(names) == 1 else 's'}"
    if lasted_seconds < _PATIENCE_SECONDS:
        return unknown("container_state", f"Docker is not responding; {known}", reading.trouble)
    message = f"Docker has not been responding for {format_duration(lasted_seconds)}; {known}"
    advice = "systemctl status docker says whether it runs; restarting it restarts the containers too"
    return Finding(check="container_state", status="critical", message=message, reason=reading.trouble, advice=advice)


def _trouble_since(reading: Reading, previous: Previous | None) -> float:
    since = previous.memory.get("trouble_since") if previous else None
    return reading.wall_seconds if since is None else min(float(since), reading.wall_seconds)


def _judge_container(container: Observed, now_seconds: float, settled: Mapping[str, float | None]) -> Finding:
    if container.inspect_error:
        reason = f"Docker cannot inspect it: {container.inspect_error}"
        return unknown("container_state", container.status, reason, object=container.name)
    verdict = _assess(container, now_seconds)
    if container.is_replaced:
        verdict = _Verdict(f"{container.status}: its service has another task in its place")
    elif container.id[:12] in settled:
        verdict = _Verdict(f"{verdict.message}, before vpsmon first looked")
    status: Status = "warning" if verdict.is_fault else "ok"
    message = verdict.message
    if verdict.is_down and container.is_essential:
        status = "critical"
        message += ", and it is essential"
    return Finding(
        check="container_state",
        status=status,
        message=message,
        object=container.name,
        advice=verdict.advice,
        is_clear=verdict.is_clear,
        is_reported_once=verdict.is_order,
    )


def _assess(container: Observed, now_seconds: float) -> _Verdict:
    """Return the verdict on a container in one of the states that Docker knows."""
    name = container.name
    look = f"docker logs --tail 50 {name} shows why"
    if container.status == "running":
        return _assess_health(container, look)
    if container.status == "restarting":
        how = describe_exit(container.exit_code, container.cause or "")
        return _Verdict(f"restarting: {how}", True, True, f"{look} it does not stay up")
    if container.status == "exited":
        return _assess_end(container, now_seconds, look)
    if container.status == "created":
        return _assess_created(container, now_seconds)
    if container.status == "paused":
        return _Verdict("paused", False, True, f"docker unpause {name} resumes it")
    if container.status == "removing":
        return _Verdict("being removed")
    return _Verdict(f"{container.status}: it could not be removed", True, True, f"docker rm --force {name}")


def _assess_health(container: Observed, look: str) -> _Verdict:
    if container.health == "unhealthy":
        advice = f"docker restart {container.name} may help; {look} it is unhealthy"
        return _Verdict("running, but its health check fails", True, True, advice)
    if container.health == "starting":
        # No verdict yet: this ends no incident, and starts none.
        return _Verdict("running, waiting for its first health check", is_clear=False)
    return _Verdict("running and healthy" if container.health else "running")


def _is_by_hand(container: Observed) -> bool:
    """Return whether somebody has stopped it: no restart policy undoes what `docker stop` and `docker kill` leave."""
    return container.exit_code in _STOPPED_STATUSES and not container.is_oom_reported and not container.cause


def _assess_end(container: Observed, now_seconds: float, look: str) -> _Verdict:
    if container.start_error:
        # How it ended before says nothing of why it does not run now.
        advice = f"docker start {container.name} tries again, or says why it cannot"
        return _Verdict(f"not running: its last start failed: {container.start_error}", True, True, advice)
    message = f"not running: {describe_exit(container.exit_code, container.cause or '')}"
    if container.finished_wall_seconds is not None:
        message += f" ({format_duration(now_seconds - container.finished_wall_seconds)} ago)"
    advice = f"docker start {container.name}; {look} it ended"
    return _Verdict(message, not _is_by_hand(container), True, advice, is_order=_is_by_hand(container))


def _assess_created(container: Observed, now_seconds: float) -> _Verdict:
    advice = f"docker start {container.name} starts it, or says why it cannot"
    if container.start_error or container.exit_code:
        why = container.start_error or f"status {container.exit_code}"
        return _Verdict(f"could not be started: {why}", True, True, advice)
    age_seconds = now_seconds - (container.created_wall_seconds or 0)
    if age_seconds < _START_WAIT_SECONDS:
        return _Verdict("created, not started yet", is_clear=False)
    return _Verdict("created, but never started", False, True, advice)


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return the name of each container by the start of its id, the causes found, and which essential ones exist."""
    if reading.trouble:
        return {**(previous.memory if previous else {}), "trouble_since": _trouble_since(reading, previous)}
    looked_into = [each for each in reading.containers if each.cause is not None]
    return {
        "names": {each.id[:12]: each.name for each in reading.containers},
        "settled": _list_settled(reading, previous),
        "causes": {each.id[:12]: [each.finished_wall_seconds, each.cause] for each in looked_into},
        "essentials": {name: list(each) for name, each in follow_essentials(reading.essentials, previous).items()},
    }
