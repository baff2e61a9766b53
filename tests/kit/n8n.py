"""A local server that answers as n8n does: health, the public API, and webhooks that vanish with their workflow.

Bodies, cursors and refusals are those of live n8n 1.123.81 and 2.40.7; the workflows and executions it starts with are
in tests/fixtures/n8n (v1: queue mode of 1.123.81, v2: queue mode of 2.40.7), as received.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kit.local_server import HTML, Answer, LocalServer, Request, reply

KEY = "n8n-key-for-tests-only"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "n8n"
SCOPES = frozenset(
    ["workflow:list", "workflow:read", "workflow:activate", "workflow:deactivate", "execution:list", "tag:list"]
)
_STATUSES = {
    1: ["canceled", "error", "running", "success", "waiting"],
    2: ["canceled", "crashed", "error", "new", "running", "success", "unknown", "waiting"],
}
# Left out of a list that asks for no status; seen in both, but for waiting, which 2.40.7 lists.
_NOT_LISTED = {1: {"new", "running", "waiting"}, 2: {"new", "running"}}
_LARGEST_PAGE = 250
_DEPRECATED = "@1784764800"


class FakeN8n(LocalServer):
    """n8n of major version 1 or 2; `on_webhook` is called with the workflow id of each call that is taken."""

    def __init__(self, major: int = 2, key: str = KEY, address: str = "127.0.0.1") -> None:
        super().__init__(address)
        self.health_path = ["healthz"]
        self.major = major
        self.key = key
        self.scopes = SCOPES
        self.is_database_down = False
        # Workflows whose activation is refused with 409, and those where an answer of 200 changes nothing.
        self.conflicts: set[str] = set()
        self.deaf: set[str] = set()
        # As behind a proxy that takes the query away.
        self.ignores_tags = False
        self.actions: list[tuple[str, str]] = []
        self.on_webhook: Callable[[str], None] = lambda workflow_id: None
        folder = FIXTURES / f"v{major}"
        self.workflows: dict[str, dict[str, Any]] = {
            each["id"]: each for each in json.loads((folder / "workflows-all.json").read_text())["data"]
        }
        self.tags: list[dict[str, Any]] = json.loads((folder / "tags.json").read_text())["data"]
        pages = [json.loads(file.read_text())["data"] for file in sorted(folder.glob("executions-*.json"))]
        self.executions: dict[int, dict[str, Any]] = {int(each["id"]): each for page in pages for each in page}

    def find(self, name: str) -> dict[str, Any]:
        """The workflow of that name."""
        return next(each for each in self.workflows.values() if each["name"] == name)

    def edit(self, workflow_id: str) -> str:
        """Save a change without publishing it, and return the version of the draft."""
        version = str(uuid.uuid4())
        self.workflows[workflow_id]["versionId"] = version
        return version

    def judge(self, request: Request) -> Answer:
        parts = request.parts
        if parts[: len(self.health_path)] == self.health_path:
            is_ready = not (self.is_database_down and parts[len(self.health_path) :] == ["readiness"])
            return reply({"status": "ok" if is_ready else "error"}, 200 if is_ready else 503)
        if parts[0] == "webhook":
            return self._call_webhook(request)
        if parts[:2] == ["api", "v1"]:
            return self._refuse(request) or self._call_api(request, parts[2:])
        page = f"<!DOCTYPE html>\n<html><body><pre>Cannot {request.verb} {request.path}</pre></body></html>\n"
        return Answer(404, page.encode(), HTML)

    def _refuse(self, request: Request) -> Answer | None:
        if self.is_database_down:
            return reply({"code": 503, "message": "Database is not ready!"}, 503)
        key = request.headers.get("x-n8n-api-key")
        if key == self.key:
            return None
        if self.major == 1:
            return reply({"message": "unauthorized" if key else "'X-N8N-API-KEY' header required"}, 401)
        return reply({"message": "Unauthorized"}, 401)

    def _call_api(self, request: Request, parts: list[str]) -> Answer:
        match (request.verb, *parts):
            case ("GET", "workflows"):
                return self._with_scope("workflow:list") or self._list_workflows(request.parameters)
            case ("GET", "workflows", workflow_id):
                return self._with_scope("workflow:read") or self._show(workflow_id)
            case ("PATCH", "workflows", _):
                return reply({"message": "PATCH method not allowed"}, 405)
            case ("POST", "workflows", workflow_id, "activate" | "deactivate" as action):
                deprecated = {"Deprecation": _DEPRECATED} if self.major >= 2 else {}
                return self._switch(workflow_id, action == "activate", action, request.body, deprecated)
            case ("POST", "workflows", workflow_id, "publish" | "unpublish" as action) if self.major >= 2:
                return self._switch(workflow_id, action == "publish", action, request.body, {})
            case ("GET", "executions"):
                return self._with_scope("execution:list") or self._list_executions(request.parameters)
            case ("GET", "tags"):
                return self._with_scope("tag:list") or reply({"data": self.tags, "nextCursor": None})
        return _not_found()

    def _with_scope(self, scope: str) -> Answer | None:
        return None if scope in self.scopes else reply({"message": "Forbidden"}, 403)

    def _list_workflows(self, parameters: dict[str, str]) -> Answer:
        wanted = set(parameters["tags"].split(",")) if parameters.get("tags") and not self.ignores_tags else set()
        found = [
            workflow
            for workflow in self.workflows.values()
            if wanted <= {tag["name"] for tag in workflow["tags"]}
            and parameters.get("active", str(workflow["active"]).lower()) == str(workflow["active"]).lower()
        ]
        limit, refusal = self._page_size(parameters)
        offset = int(_read_cursor(parameters).get("offset", 0))
        rest = offset + limit < len(found)
        cursor = _make_cursor({"limit": limit, "offset": offset + limit}) if rest else None
        return refusal or reply({"data": found[offset : offset + limit], "nextCursor": cursor})

    def _page_size(self, parameters: dict[str, str]) -> tuple[int, Answer | None]:
        limit = int(_read_cursor(parameters).get("limit", parameters.get("limit", 100)))
        if self.major == 1 and limit > _LARGEST_PAGE:
            return limit, reply({"message": f"request/query/limit must be <= {_LARGEST_PAGE}"}, 400)
        return limit, None

    def _list_executions(self, parameters: dict[str, str]) -> Answer:
        status = parameters.get("status")
        if status is not None and status not in _STATUSES[self.major]:
            return reply({"message": self._explain_status(status)}, 400)
        limit, refusal = self._page_size(parameters)
        last = int(_read_cursor(parameters).get("lastId", 10**12))
        found = [
            execution
            for number, execution in sorted(self.executions.items(), reverse=True)
            if number < last and self._is_listed(execution["status"], status)
        ]
        page = found[:limit]
        cursor = _make_cursor({"lastId": page[-1]["id"], "limit": limit}) if len(found) > limit else None
        return refusal or reply({"data": page, "nextCursor": cursor})

    def _is_listed(self, status: str, wanted: str | None) -> bool:
        return status == wanted if wanted else status not in _NOT_LISTED[self.major]

    def _explain_status(self, status: str) -> str:
        allowed = _STATUSES[self.major]
        if self.major == 1:
            return f"request/query/status must be equal to one of the allowed values: {', '.join(allowed)}"
        values = " | ".join(f"'{each}'" for each in allowed)
        return f"request/query/status Invalid enum value. Expected {values}, received '{status}'"

    def _show(self, workflow_id: str) -> Answer:
        return reply(self.workflows[workflow_id]) if workflow_id in self.workflows else _not_found()

    def _switch(self, workflow_id: str, is_on: bool, action: str, body: bytes, headers: dict[str, str]) -> Answer:
        if refusal := self._with_scope("workflow:activate" if is_on else "workflow:deactivate"):
            return refusal
        workflow = self.workflows.get(workflow_id)
        if workflow is None:
            return _not_found() if self.major == 1 or is_on else reply({"message": _NOT_YOURS}, 404)
        if is_on and workflow_id in self.conflicts:
            return reply({"message": "There is a conflict with one of the webhooks."}, 409)
        self.actions.append((action, workflow_id))
        if workflow_id not in self.deaf:
            asked = json.loads(body).get("versionId") if body and self.major >= 2 else None
            version = asked or workflow["versionId"] if is_on else None
            workflow |= {"active": is_on, "activeVersionId": version}
            workflow["activeVersion"] = {"versionId": version, "workflowId": workflow_id} if is_on else None
        shown = {name: value for name, value in workflow.items() if name != "tags"}
        return reply(shown | {"description": None, "versionCounter": 1}, 200, **headers)

    def _call_webhook(self, request: Request) -> Answer:
        path = "/".join(request.parts[1:])
        for workflow in self.workflows.values():
            for node in workflow["nodes"] if workflow["active"] else []:
                if (node["parameters"].get("path"), node["parameters"].get("httpMethod")) == (path, request.verb):
                    self.on_webhook(workflow["id"])
                    return reply({"message": "Workflow was started"})
        message = f'The requested webhook "{request.verb} {path}" is not registered.'
        return reply({"code": 404, "message": message}, 404)


_NOT_YOURS = "You do not have permission to deactivate this workflow. Ask the owner to share it with you."


def _not_found() -> Answer:
    return reply({"message": "Not Found"}, 404)


def _make_cursor(content: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()


def _read_cursor(parameters: dict[str, str]) -> dict[str, Any]:
    cursor = parameters.get("cursor")
    content: dict[str, Any] = json.loads(base64.b64decode(cursor)) if cursor else {}
    return content
