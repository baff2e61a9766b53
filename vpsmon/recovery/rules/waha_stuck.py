"""A WhatsApp session that is down for WAHA_STUCK_AFTER_SEC, or a WAHA whose API has not answered for so long.

What counts is judged by the check `waha_session`; a quiet session is connected, and one that waits for a person, as for
a code to scan, is never critical. First the session is restarted, which concerns one number; then the container, after
which the sessions that ran before are started: WAHA before 2026.6 leaves them stopped. Never logged out: that would
need the phone. Each login risks WhatsApp's throttling, so there are three attempts with growing pauses, then manual
action is needed.
"""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding
from vpsmon.core.text import clean
from vpsmon.recovery.model import Action, Incident, Outcome, Snapshot, Step, Words
from vpsmon.recovery.rule import Rule
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.choice import find_only
from vpsmon.stack.identity.essential import is_left_alone
from vpsmon.stack.waha import Session, is_connected, leads_to_this_machine, needs_a_person

_ROW = "waha_session"
# What the API itself is called where sessions go by their names, which are never empty.
_API = ""
# A session needs some 10 s, a container with Chromium up to a minute on a small machine.
_SESSION_SECONDS = 60.0
_CONTAINER_SECONDS = 150.0


def detect(snapshot: Snapshot, settings: Settings, memory: object) -> list[Incident]:
    """Return the sessions that are stuck, or the API that does not answer."""
    container = _find_container(snapshot, settings)
    if container is not None and is_left_alone(container):
        return []
    api = snapshot.find(_ROW)
    if api is not None and api.status == "critical":
        return [_make_api_incident(snapshot, api, container)]
    sessions = _list_sessions(snapshot)
    names = {clean(each.name): each for each in sessions}
    critical = [each for each in snapshot.findings.get(_ROW, ()) if each.object and each.status == "critical"]
    return [_make_incident(snapshot, each, names.get(each.object or ""), container) for each in critical]


def _find_container(snapshot: Snapshot, settings: Settings) -> Container | None:
    """Return the container of the WAHA that was read; where it could not be, the one that it must be."""
    reading = snapshot.readings.get("waha")
    read = snapshot.find_container(reading.container_id) if reading and reading.container_id else None
    if read is None and settings.WAHA_URL and not leads_to_this_machine(settings.WAHA_URL):
        return None  # what does not answer is elsewhere
    return read or find_only(snapshot.containers or (), settings, "waha")


def _list_sessions(snapshot: Snapshot) -> list[Session]:
    reading = snapshot.readings.get("waha")
    return list(reading.sessions or []) if reading else []


def _make_api_incident(snapshot: Snapshot, finding: Finding, container: Container | None) -> Incident:
    # One that is not running was stopped by somebody, or its engine cannot start it: container_state tells.
    can_restart = container is not None and container.status == "running"
    return Incident(
        target=_API,
        name="API",
        cause="api",
        steps=(_restart_container(snapshot, container),) * 2 if can_restart and container is not None else (),
        facts=_to_facts(finding),
        touches=container.id if container else "",
    )


def _make_incident(
    snapshot: Snapshot, finding: Finding, session: Session | None, container: Container | None
) -> Incident:
    name = finding.object or ""
    incident = Incident(
        target=session.name if session else name, name=name, cause="session", steps=(), facts=_to_facts(finding)
    )
    if session is None or needs_a_person(session.status):
        return incident
    verb = "start_session" if session.status == "STOPPED" else "restart_session"
    own = Step(Action(verb, session.name, session.name), _SESSION_SECONDS)
    if container is None or container.status != "running":
        return incident._replace(steps=(own, own, own))
    whole = _restart_container(snapshot, container)
    others_work = any(is_connected(each.status) for each in _list_sessions(snapshot))
    # Another number that works proves that the container is well, and would go down with it.
    return incident._replace(steps=(own, own, own) if others_work else (own, whole, whole), touches=container.id)


def _to_facts(finding: Finding) -> dict[str, str]:
    """Return what the check says, in its words."""
    return {"message": finding.message, "advice": finding.advice or ""}


def describe(incident: Incident, action: Action | None) -> Words:
    """Return what the check says."""
    return Words(incident.facts["message"], incident.facts["advice"])


def _restart_container(snapshot: Snapshot, container: Container | None) -> Step:
    assert container is not None  # noqa: S101 the callers have looked
    names = _list_running(snapshot)
    start = Action("start_sessions", container.id, container.name, {"items": names})
    return Step(Action("restart_container", container.id, container.name), _CONTAINER_SECONDS, start if names else None)


def _list_running(snapshot: Snapshot) -> list[str]:
    """Return the sessions that nobody has stopped, also those that the API does not tell at the moment."""
    remembered = snapshot.memories.get("waha", {}).get("sessions", {})
    by_hand = {name for name, state in remembered.items() if state[0] == "stopped"}
    listed = [each.name for each in _list_sessions(snapshot) if each.status != "STOPPED"]
    return sorted((set(listed) | set(remembered)) - by_hand)


def verify(snapshot: Snapshot, target: str, settings: Settings) -> Outcome:
    """Return whether the session is connected, or the API answers and those that ran before are connected again."""
    reading = snapshot.readings.get("waha")
    if reading is None or reading.sessions is None:
        return "failing"
    if target == _API:
        return "pending" if _is_any_coming_up(snapshot) else "repaired"
    session = next((each for each in reading.sessions if each.name == target), None)
    return "repaired" if session is not None and is_connected(session.status) else "failing"


def _is_any_coming_up(snapshot: Snapshot) -> bool:
    """Return whether a session that ran before the API was in trouble is still on its way."""
    running = _list_running(snapshot)
    return any(
        each.name in running
        and each.status != "FAILED"
        and not is_connected(each.status)
        and not needs_a_person(each.status)
        for each in _list_sessions(snapshot)
    )


RULE = Rule(
    name="waha_stuck",
    commands=("waha",),
    order=40,
    checks=("stack.waha",),
    cooldown_seconds=600.0,
    detect=detect,
    verify=verify,
    describe=describe,
)
