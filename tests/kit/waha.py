"""A local server that answers as WAHA does, with sessions that start, fail and come back.

Written from the sources of WAHA 2024.10.8 and newer (SessionInfo, server and sessions controllers), its documentation
and what users report in its issues; not compared with a running one. The status of an answer to a POST is that of its
framework, NestJS: 201.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.kit.local_server import Answer, LocalServer, Request, reply

KEY = "waha-key-for-tests-only"
NEW = "2026.7.1"
OLD = "2024.10.8"
# Sessions have presence and timestamps from here on.
_FIRST_WITH_ACTIVITY = (2025, 11, 2)
# The free tier has all features, and starts its former sessions by itself, from here on.
_FIRST_COMPLETE = (2026, 6, 1)
_FIRST_WITH_NAMED_ACTIONS = (2024, 9)


@dataclass
class FakeSession:
    """A session; at the monotonic time `then_at` its status becomes `then`."""

    name: str
    status: str = "WORKING"
    activity_milliseconds: int | None = None
    # {} instead, as is seen with NOWEB in a session that works.
    has_empty_timestamps: bool = False
    then: str = ""
    then_at: float = 0.0


class FakeWaha(LocalServer):
    """WAHA's API; `key` "" leaves it open, as old versions do."""

    def __init__(self, version: str = NEW, key: str = KEY, address: str = "127.0.0.1") -> None:
        super().__init__(address)
        self.version = version
        self.key = key
        self.sessions: dict[str, FakeSession] = {}
        # How a restart goes: how long it takes, and where it leads; None: it is accepted, and nothing happens.
        self.start_seconds = 0.2
        self.start_leads_to: str | None = "WORKING"
        self.actions: list[tuple[str, str]] = []
        self.is_stopping = False
        self._started = time.time()

    @property
    def version_number(self) -> tuple[int, ...]:
        """The version, comparable."""
        return tuple(int(part) for part in self.version.split("."))

    def add(self, name: str, status: str = "WORKING", activity_milliseconds: int | None = None) -> FakeSession:
        """Add a session."""
        self.sessions[name] = FakeSession(name, status, activity_milliseconds)
        return self.sessions[name]

    def restart_container(self) -> None:
        """Do to the sessions what a restart of the container does in this version."""
        with self.lock:
            self._started = time.time()
            for session in self.sessions.values():
                session.activity_milliseconds = None
                was_running = self._status(session) != "STOPPED"
                session.status, session.then = "STOPPED", ""
                if was_running and self.version_number >= _FIRST_COMPLETE:
                    self._start(session)

    def judge(self, request: Request) -> Answer:
        if self.key and self.key not in (request.headers.get("x-api-key"), request.parameters.get("x-api-key")):
            return reply({"message": "Unauthorized", "statusCode": 401}, 401)
        match (request.verb, *request.parts):
            case ("GET", "ping"):
                return reply({"message": "pong"})
            case ("GET", "health"):
                return self._health()
            case ("GET", "api", "version") | ("GET", "api", "server", "version"):
                browser = "/usr/bin/google-chrome-stable"
                return reply({"version": self.version, "engine": "NOWEB", "tier": "CORE", "browser": browser})
            case ("GET", "api", "server", "status"):
                uptime = time.time() - self._started
                times = {"startTimestamp": round(self._started * 1000), "uptime": round(uptime * 1000)}
                return reply(times | {"worker": {"id": "waha"}})
            case ("POST", "api", "server", "stop"):
                self.is_stopping = True
                return reply({"stopping": True}, 201)
            case ("GET", "api", "sessions"):
                return self._list(request.parameters.get("all") == "true")
            case ("GET", "api", "sessions", name) if name in self.sessions:
                return reply(self._show(self.sessions[name]) | {"engine": {"engine": "NOWEB"}})
            case ("GET", "api", "sessions", name, "me") if name in self.sessions:
                return reply(self._show(self.sessions[name])["me"])
            case ("POST", "api", "sessions", name, action) if name in self.sessions:
                return self._act(self.sessions[name], action)
            case (_, "api", "sessions", _, *_):
                return reply({"message": "Session not found", "error": "Not Found", "statusCode": 404}, 404)
        message = f"Cannot {request.verb} {request.path}"
        return reply({"message": message, "error": "Not Found", "statusCode": 404}, 404)

    def _health(self) -> Answer:
        if self.version_number < _FIRST_COMPLETE:
            return reply({"statusCode": 422, "message": "The feature is available only in Plus version"}, 422)
        spaces = {"mediaFiles.space": {"status": "up"}, "sessionsFiles.space": {"status": "up"}}
        return reply({"status": "ok", "info": spaces, "error": {}, "details": spaces})

    def _list(self, also_stopped: bool) -> Answer:
        shown = [self._show(session) for session in self.sessions.values()]
        return reply([each for each in shown if also_stopped or each["status"] != "STOPPED"])

    def _show(self, session: FakeSession) -> dict[str, Any]:
        status = self._status(session)
        is_working = status == "WORKING"
        me: dict[str, str] | None = {"id": "79111111@c.us", "pushName": "WAHA"} if is_working else None
        old = {"name": session.name, "status": status, "config": {"webhooks": [], "debug": False}, "me": me}
        if self.version_number < _FIRST_WITH_ACTIVITY:
            return old
        if me is not None:
            me = {**me, "lid": "123123@lid", "jid": "123123:12@s.whatsapp.net"}
        timestamps = {} if session.has_empty_timestamps else {"activity": session.activity_milliseconds}
        presence = "offline" if is_working else None
        return old | {"me": me, "assignedWorker": "waha", "presence": presence, "timestamps": timestamps}

    def _status(self, session: FakeSession) -> str:
        if session.then and time.monotonic() >= session.then_at:
            session.status, session.then = session.then, ""
        return session.status

    def _act(self, session: FakeSession, action: str) -> Answer:
        if action not in ("start", "stop", "restart", "logout") or self.version_number < _FIRST_WITH_NAMED_ACTIONS:
            path = f"/api/sessions/{session.name}/{action}"
            return reply({"message": f"Cannot POST {path}", "error": "Not Found", "statusCode": 404}, 404)
        self.actions.append((action, session.name))
        is_running = self._status(session) not in ("STOPPED", "FAILED")
        if action in ("stop", "logout"):
            session.status, session.then = "STOPPED", ""
        elif action == "restart" or not is_running:
            self._start(session)
        return reply(self._show(session), 201)

    def _start(self, session: FakeSession) -> None:
        if self.start_leads_to is None:
            return
        session.status, session.then = "STARTING", self.start_leads_to
        session.then_at = time.monotonic() + self.start_seconds
