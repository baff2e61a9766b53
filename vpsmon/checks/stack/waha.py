"""waha_session: whether each WhatsApp session of WAHA gets messages through, and for how long it has not.

A session that reconnects is STARTING for a moment, so only what lasts is stuck: every clock here is vpsmon's own, kept
from pass to pass by wall time, also over a reboot. When a session was last used is shown and never judged: at night it
is long ago on a healthy one. WAHA before 2026.6.1 comes back from a container restart with its sessions STOPPED; that
is told apart from a session that somebody stopped by the container's start between the two passes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, ReadError, Status, ok, skipped, unknown
from vpsmon.core.text import clean, format_duration
from vpsmon.stack.identity.choice import NOTICE_SECONDS
from vpsmon.stack.waha import (
    LOOPBACK,
    Broken,
    Session,
    Silent,
    find_waha,
    is_connected,
    needs_a_person,
    read_sessions,
    show_activity,
)
from vpsmon.system.host import Host

ROWS = {"waha_session": ""}
METRICS = {"waha_session_status": "WhatsApp sessions that are connected and that are not."}
# How long a session has been down does not start again with the machine.
KEEPS_ACROSS_BOOTS = True
# WAHA starts a browser for each session; nothing is stuck before that had its time.
_START_GRACE_SECONDS = 180.0
# After this, one on the machine itself that does not answer has been taken away; one that vanishes was deleted.
_FORGET_AFTER_SECONDS = 86_400.0
_GONE = "gone"
_NOTICE = format_duration(NOTICE_SECONDS)

Kind = Literal["connected", "person", "stopped", "down"]
TroubleKind = Literal["silent", "broken", "refused", "replaced"]


class Trouble(NamedTuple):
    """Why the sessions are not known; the refused kind is for the owner to mend, the others for a restart."""

    kind: TroubleKind
    text: str


class Reading(NamedTuple):
    """The sessions, or the trouble; `started_wall_seconds` is the start of WAHA's container, where it has one."""

    wall_seconds: float
    sessions: list[Session] | None
    trouble: Trouble | None
    started_wall_seconds: float | None
    is_on_loopback: bool
    container_id: str = ""


class _State(NamedTuple):
    """What is known of a session from pass to pass: since when it is of this kind, in wall seconds."""

    kind: Kind
    status: str
    since: float


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the sessions of WAHA, or why they are not known. Raises NotApplicable."""
    memory = previous.memory if previous else {}
    now = host.wall_seconds()
    answered = memory.get("answered_on_loopback")
    was_on_loopback = answered is not None and now - answered < _FORGET_AFTER_SECONDS
    reading = Reading(now, None, None, None, was_on_loopback)
    try:
        waha = find_waha(host, settings, was_on_loopback)
        started = waha.container.started_wall_seconds if waha.container else None
        container_id = waha.container.id if waha.container else ""
        reading = reading._replace(
            started_wall_seconds=started, is_on_loopback=waha.site == LOOPBACK, container_id=container_id
        )
        if waha.change:
            return reading._replace(trouble=Trouble("replaced", waha.change))
        return reading._replace(sessions=read_sessions(host, waha))
    except Silent as error:
        return reading._replace(trouble=Trouble("silent", str(error)))
    except Broken as error:
        return reading._replace(trouble=Trouble("broken", str(error)))
    except ReadError as error:
        return reading._replace(trouble=Trouble("refused", str(error)))


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return a finding for each session; while the API is in trouble one for it, and the sessions as unknown."""
    memory = _recall(reading.wall_seconds, previous)
    if reading.trouble is not None:
        names = sorted(clean(name) for name in memory.get("sessions", {}))
        # They keep their rows: a row that vanishes would end its incident.
        rows = [_unknown(name, "its state is not known", "WAHA's API cannot be read") for name in names]
        return [_judge_trouble(reading, reading.trouble, settings, memory), *rows]
    states = _follow(reading, memory)
    used = {session.name: session.activity_wall_seconds for session in reading.sessions or []}
    findings = [_judge_session(name, state, used.get(name), reading, settings) for name, state in states.items()]
    if memory.get("trouble_since") is not None or not findings:
        findings.insert(0, _tell_that_it_answers(bool(findings)))
    return findings


def _tell_that_it_answers(has_sessions: bool) -> Finding:
    if has_sessions:
        return ok("waha_session", "WAHA's API answers again")
    reason = "start a session in WAHA's dashboard and scan its code with the phone"
    return skipped("waha_session", "WAHA has no session", reason)


def _recall(wall_seconds: float, previous: Previous | None) -> dict[str, Any]:
    """Return what was remembered, its times as the clock of now would have shown them: one that was set moves none.

    Over a reboot only the time of day knows how long it took.
    """
    memory = previous.memory if previous else {}
    looked = memory.get("looked")
    if previous is None or looked is None or previous.elapsed_seconds <= 0:
        return memory
    jump = wall_seconds - (looked + previous.elapsed_seconds)
    sessions = {
        name: [kind, status, since + jump] for name, (kind, status, since) in memory.get("sessions", {}).items()
    }
    trouble_since = memory.get("trouble_since")
    moved = {} if trouble_since is None else {"trouble_since": trouble_since + jump}
    return {**memory, **moved, "sessions": sessions}


def _follow(reading: Reading, memory: dict[str, Any]) -> dict[str, _State]:
    """Return the state of each session with the time since when it is so; a time in the future counts as now."""
    before = {name: _State(*values) for name, values in memory.get("sessions", {}).items()}
    started, started_before = reading.started_wall_seconds, memory.get("started")
    is_restarted = None not in (started, started_before) and started != started_before
    states = {}
    for session in reading.sessions or []:
        last = before.get(session.name)
        kind = _classify(session, last, is_restarted)
        since = min(last.since, reading.wall_seconds) if last and last.kind == kind else reading.wall_seconds
        states[session.name] = _State(kind, session.status, since)
    for name in before.keys() - states.keys():
        if lost := _find_lost(before[name], is_restarted, reading.wall_seconds):
            states[name] = lost
    return states


def _classify(session: Session, last: _State | None, is_restarted: bool) -> Kind:
    status = session.status
    if is_connected(status):
        return "connected"
    # Since 2025.3.2 a code that nobody scans for minutes becomes FAILED: it waits for the same person.
    is_unlinked = status == "FAILED" and not session.is_linked and (last is None or last.kind == "person")
    if needs_a_person(status) or is_unlinked:
        return "person"
    if status != "STOPPED":
        return "down"
    was_dropped_before = last is not None and last.kind == "down" and last.status in ("STOPPED", _GONE)
    is_dropped_now = last is not None and last.kind != "stopped" and is_restarted
    return "down" if was_dropped_before or is_dropped_now else "stopped"


def _find_lost(last: _State, is_restarted: bool, now: float) -> _State | None:
    """Return the state of a session that WAHA no longer knows; None where somebody has deleted it."""
    if last.status == _GONE:
        since = min(last.since, now)
        return _State("down", _GONE, since) if now - since < _FORGET_AFTER_SECONDS else None
    return _State("down", _GONE, now) if is_restarted and last.kind != "stopped" else None


def _judge_session(
    name: str, state: _State, activity_wall_seconds: float | None, reading: Reading, settings: Settings
) -> Finding:
    lasting_seconds = reading.wall_seconds - state.since
    lasting = f"for {format_duration(lasting_seconds)}"
    status: Status = "warning"
    advice = "restart this session in WAHA's dashboard; if that does not help, restart WAHA's container"
    if state.kind == "connected":
        return _row(name, "ok", f"connected{show_activity(activity_wall_seconds, reading.wall_seconds)}")
    if state.kind == "stopped":
        return _row(name, "ok", f"stopped {lasting}; if it should run, start it in WAHA's dashboard")
    if state.kind == "person":
        advice = "open WAHA's dashboard and link the phone again: WhatsApp > Linked devices"
        return _row(name, "warning", f"manual action needed ({clean(state.status, 40)}) {lasting}", advice)
    if _is_over(lasting_seconds, reading, settings):
        status, lasting = "critical", f"{lasting}, critical after {format_duration(settings.WAHA_STUCK_AFTER_SEC)}"
    what = f"not connected ({clean(state.status, 40)})"
    if state.status == "STOPPED":
        what = "stopped since WAHA restarted,"
        advice = "start this session in WAHA's dashboard; WAHA 2026.6.1 and newer does it by itself"
    elif state.status == _GONE:
        what = "gone since WAHA restarted,"
        advice = "link the phone again, and keep /app/.sessions of WAHA's container in a volume"
    return _row(name, status, f"{what} {lasting}", advice)


def _is_over(lasting_seconds: float, reading: Reading, settings: Settings) -> bool:
    """Return whether it has lasted too long, and WAHA has had its time to start."""
    started = reading.started_wall_seconds
    grace_seconds = min(_START_GRACE_SECONDS, settings.WAHA_STUCK_AFTER_SEC)
    is_starting = started is not None and 0 <= reading.wall_seconds - started < grace_seconds
    return lasting_seconds >= settings.WAHA_STUCK_AFTER_SEC and not is_starting


def _row(name: str, status: Status, text: str, advice: str | None = None) -> Finding:
    return Finding(check="waha_session", status=status, message=text, object=clean(name), advice=advice)


def _unknown(name: str | None, message: str, reason: str) -> Finding:
    return unknown("waha_session", message, reason, object=name)


def _judge_trouble(reading: Reading, trouble: Trouble, settings: Settings, memory: dict[str, Any]) -> Finding:
    if trouble.kind == "refused":
        return _unknown(None, "the sessions cannot be read", f"WAHA: {trouble.text}")
    if trouble.kind == "replaced":
        message = f"WAHA is another container than before, so WAHA_API_KEY is not sent for {_NOTICE}: {trouble.text}"
        advice = "if it is not yours, set WAHA_CONTAINER to the right one before that"
        return Finding(check="waha_session", status="warning", message=message, advice=advice)
    lasting_seconds = reading.wall_seconds - _trouble_since(reading, memory)
    is_over = _is_over(lasting_seconds, reading, settings)
    if trouble.kind == "broken" and not is_over:
        return _unknown(None, "the sessions cannot be read", f"WAHA: {trouble.text}")
    lasting = f"for {format_duration(lasting_seconds)}"
    message = f"WAHA's API has given no usable answer {lasting}: {trouble.text}"
    advice = "look into WAHA's log (docker logs) and restart its container"
    return Finding(check="waha_session", status="critical" if is_over else "warning", message=message, advice=advice)


def _trouble_since(reading: Reading, memory: dict[str, Any]) -> float:
    since = memory.get("trouble_since")
    return reading.wall_seconds if since is None else min(since, reading.wall_seconds)


def remember(reading: Reading, previous: Previous | None) -> dict[str, Any]:
    """Return since when each session is as it is, since when the API is in trouble, and when WAHA was started."""
    memory = _recall(reading.wall_seconds, previous)
    looked = {"looked": reading.wall_seconds}
    if reading.trouble is None:
        sessions = {name: list(state) for name, state in _follow(reading, memory).items()}
        started = memory.get("started") if reading.started_wall_seconds is None else reading.started_wall_seconds
        answered = reading.wall_seconds if reading.is_on_loopback else None
        return {"sessions": sessions, "started": started, "answered_on_loopback": answered, **looked}
    if reading.trouble.kind in ("refused", "replaced"):
        return {**memory, **looked}
    return {**memory, "trouble_since": _trouble_since(reading, memory), **looked}


def count_connections(reading: Reading) -> dict[str, int] | None:
    """Return how many sessions are connected and disconnected; None where that is not known."""
    if reading.sessions is None:
        return None
    connected = sum(is_connected(session.status) for session in reading.sessions)
    return {"connected": connected, "disconnected": len(reading.sessions) - connected}


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return how many sessions are connected and disconnected."""
    counts = count_connections(reading) or {}
    return [MetricSample("waha_session_status", count, (("status", status),)) for status, count in counts.items()]
