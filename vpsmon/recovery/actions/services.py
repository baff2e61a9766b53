"""What is done to the sessions of WAHA and the workflows of n8n, through their APIs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.recovery.actions.outcome import Done
from vpsmon.recovery.model import Action, Question
from vpsmon.stack import waha
from vpsmon.system.host import Host


class ServiceEffectors:
    """Acts on WAHA and n8n."""

    _settings: Settings
    _make_host: Callable[[], Host]

    def _restart_session(self, action: Action) -> None:
        host = self._make_host()
        waha.restart_session(host, waha.find_waha(host, self._settings), action.target)

    def _start_session(self, action: Action) -> None:
        host = self._make_host()
        waha.start_session(host, waha.find_waha(host, self._settings), action.target)

    def _start_sessions(self, action: Action) -> None:
        """Start those of the named sessions that are stopped."""
        host = self._make_host()
        found = waha.find_waha(host, self._settings)
        statuses = {session.name: session.status for session in waha.read_sessions(host, found)}
        if not statuses:
            # Its API may answer before it has read which sessions it has.
            raise ReadError("WAHA lists none of the sessions that ran before")
        stopped = [name for name in action.details["items"] if statuses.get(name) == "STOPPED"]
        for name in stopped:
            waha.start_session(host, found, name)

    def _pause_workflows(self, action: Action) -> None:
        """Switch the workflows off, and make sure of it: n8n may fail after having done it, or lie."""
        from vpsmon.stack.n8n import api as n8n_api

        host = self._make_host()
        for item in action.details["items"]:
            trouble = "n8n says that it is paused, and it is still active"
            try:
                n8n_api.deactivate(host, self._settings, item["id"])
            except n8n_api.KeyRefused:
                raise
            except ReadError as error:
                trouble = str(error)
            now = n8n_api.read_workflow(host, self._settings, item["id"])
            if now is not None and now.is_active:
                raise ReadError(f"{clean(item['name'])}: {trouble}")

    def _resume_workflows(self, action: Action) -> Done:
        """Switch on what nobody has changed meanwhile, with the version that ran before."""
        questions = [self._resume(self._make_host(), item) for item in action.details["items"]]
        return Done(questions=tuple(each for each in questions if each is not None))

    def _resume(self, host: Host, item: Mapping[str, str]) -> Question | None:
        """Return what a person has to decide, if so."""
        from vpsmon.stack.n8n import api as n8n_api

        now = n8n_api.read_workflow(host, self._settings, item["id"])
        if now is None or now.is_active:
            return None  # somebody has deleted it, or switched it on
        name = clean(item["name"])
        if now.draft != item["draft"]:
            return Question(name, "edited")
        try:
            if not n8n_api.activate(host, self._settings, now, item["active_version"]):
                return Question(name, "unpublished")
        except n8n_api.KeyRefused:
            raise
        except ReadError:
            if not _is_active(n8n_api.read_workflow(host, self._settings, item["id"])):
                raise
        if not _is_active(n8n_api.read_workflow(host, self._settings, item["id"])):
            raise ReadError(f"n8n says that {name} is active, and it is not")
        return None


def _is_active(workflow: Any) -> bool:
    return workflow is not None and workflow.is_active
