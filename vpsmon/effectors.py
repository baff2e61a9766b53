"""The only place that changes anything: containers through Docker, sessions through WAHA, workflows through n8n.

Each verb of an action is a method. All of them may be done twice: after a crash nobody knows whether the first time
took effect. What is never to be done is refused here, whatever a rule asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from vpsmon.findings import NotApplicable, ReadError
from vpsmon.host import Host
from vpsmon.log import say
from vpsmon.recovery.engine.model import Action
from vpsmon.settings import Settings
from vpsmon.stack import docker_client, waha
from vpsmon.stack.cgroups import read_usage
from vpsmon.stack.container_process import end_first_process
from vpsmon.stack.containers import Container, parse_container
from vpsmon.stack.docker_api import Engine, NotFound
from vpsmon.stack.known_containers import update
from vpsmon.stack.protection import is_essential, is_left_alone
from vpsmon.storage.content import WRONG_FORM
from vpsmon.text import clean, format_bytes

# What an engine gives a container to end that has no stop_grace_period of its own.
_DEFAULT_GRACE_SECONDS = 10
# n8n waits up to 30 s for executions to end; ended before that it leaves with 137 and loses them.
_N8N_GRACE_SECONDS = 40
# An engine under memory pressure is slow; it must not keep a recovery for ever.
_DOCKER_TIMEOUT_SECONDS = 20.0
# An engine that is not paged out answers in milliseconds. Waited for longer, the machine is frozen before it does.
_SOON_SECONDS = 4.0
# A limit is lowered only where what is used now fits in well: else the kernel would kill at once.
_FITS_SHARE = 0.9


class Refused(ReadError):
    """Nothing was done, on purpose; the text says why."""


class Gone(Refused):
    """What the action was for is no longer there."""


class Done(NamedTuple):
    """What was done, in words, where there is more to say; and what is left for a person to decide."""

    text: str = ""
    question: str = ""


class Effectors(Protocol):
    """What the engine needs; `is_real` is False for those that only say what they would do."""

    is_real: bool

    def perform(self, action: Action) -> Done:
        """Do it. Raises Refused (nothing was done) or ReadError (it may be done, or not)."""


class DryEffectors:
    """Records what it is asked to do, and does nothing."""

    is_real = False

    def __init__(self) -> None:
        self.recorded: list[Action] = []

    def perform(self, action: Action) -> Done:
        """Record the action."""
        self.recorded.append(action)
        return Done()


class RealEffectors:
    """Acts on this machine; a known container is ended by signals where the engine does not answer soon."""

    is_real = True

    def __init__(
        self, settings: Settings, make_host: Callable[[], Host] = Host, known_containers: Sequence[Container] = ()
    ) -> None:
        self._settings = settings
        self._make_host = make_host
        self._known_containers = known_containers

    def perform(self, action: Action) -> Done:
        """Do it. Raises Refused or ReadError."""
        method: Callable[[Action], Done | None] = getattr(self, f"_{action.verb}")
        try:
            return method(action) or Done()
        except NotApplicable as absence:
            raise ReadError(str(absence)) from None
        except WRONG_FORM as failure:
            # What was remembered of it may be of another form; that must not keep the rest from being done.
            raise ReadError(f"unexpected {type(failure).__name__} in {action.verb}: please report this") from None

    # --- containers ---------------------------------------------------------------------------------------------------

    def _restart_container(self, action: Action) -> None:
        with self._open(action) as (client, container):
            _refuse_unless_up(container)
            client.restart(container.id, timeout=_find_grace(container, action))

    def _stop_container(self, action: Action) -> Done:
        known = next((each for each in self._known_containers if each.id == action.target), None)
        try:
            self._stop_by_engine(action, _SOON_SECONDS if known else self._timeout_seconds)
        except Refused:
            raise
        except ReadError as error:
            if known is None:
                raise
            return self._stop_without_engine(action, known, error)
        return Done()

    def _stop_by_engine(self, action: Action, timeout_seconds: float) -> None:
        with self._open(action, timeout_seconds) as (client, container):
            _refuse_unless_up(container)
            self._refuse_unless_spare(container)
            client.stop(container.id, timeout=_find_grace(container, action))

    def _stop_without_engine(self, action: Action, known: Container, why: ReadError) -> Done:
        """End it as the engine would, and have it stopped all the same, or a policy would start it again at once."""
        host = self._make_host()
        (container,) = update(host, [known])
        self._refuse_unless_spare(container)
        if container.status == "exited":
            raise Gone(f"{clean(known.name)} does not run any more")
        try:
            end_first_process(host, container, _find_grace(container, action))
        except ReadError as failure:
            say("warning", f"{why}, and {clean(known.name)} cannot be ended without it: {failure}")
            self._stop_by_engine(action, self._timeout_seconds)
            return Done()
        with suppress(ReadError):
            self._stop_by_engine(action, _DOCKER_TIMEOUT_SECONDS)
        return Done("by signals, since Docker did not answer")

    def _refuse_unless_spare(self, container: Container) -> None:
        if is_left_alone(container):
            raise Refused(f"{clean(container.name)} carries the label vpsmon.recover=false")
        if is_essential(container, self._settings):
            raise Refused(f"{clean(container.name)} is essential and is never stopped")
        if container.is_for_one_task:
            raise Refused(f"{clean(container.name)} is for one task, and could not be started again")

    def _start_container(self, action: Action) -> None:
        with self._open(action) as (client, container):
            if container.status != "running":
                client.start(container.id)

    def _set_memory_limit(self, action: Action) -> None:
        memory_bytes, swap_bytes = action.details["memory_bytes"], action.details["memory_and_swap_bytes"]
        with self._open(action) as (client, container):
            if container.pid and memory_bytes < (container.memory_limit_bytes or 0):
                used_bytes = read_usage(self._make_host(), container.id, container.pid).memory_bytes
                if used_bytes > memory_bytes * _FITS_SHARE:
                    raise Refused(f"it uses {format_bytes(used_bytes)} now, too much for {format_bytes(memory_bytes)}")
            # Both at once: one alone is refused where it would pass the other.
            client.update_container(container.id, mem_limit=memory_bytes, memswap_limit=swap_bytes)

    @contextmanager
    def _open(self, action: Action, timeout_seconds: float | None = None) -> Iterator[tuple[Engine, Container]]:
        """Give a client and the container as it is at this moment.

        Raises Gone where it was removed, and Refused where its owner wants no hands on it.
        """
        with docker_client.open_client(timeout_seconds or self._timeout_seconds) as client:
            try:
                container = parse_container(client.inspect_container(action.target))
                if is_left_alone(container):
                    raise Refused(f"{clean(container.name)} carries the label vpsmon.recover=false")
                yield client, container
            except NotFound as error:
                # A network or image that is missing is not found either.
                if "no such container" not in error.explanation.lower():
                    raise
                raise Gone(f"the container {clean(action.name)} is no longer there") from None

    @property
    def _timeout_seconds(self) -> float:
        return _DOCKER_TIMEOUT_SECONDS * self._make_host().patience

    # --- WAHA ---------------------------------------------------------------------------------------------------------

    def _restart_session(self, action: Action) -> None:
        host = self._make_host()
        waha.restart_session(host, waha.find_waha(host, self._settings), action.target)

    def _start_session(self, action: Action) -> None:
        host = self._make_host()
        waha.start_session(host, waha.find_waha(host, self._settings), action.target)

    def _start_sessions(self, action: Action) -> Done:
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
        return Done(f"started the sessions {clean(', '.join(stopped), 200)}" if stopped else "")

    # --- n8n ----------------------------------------------------------------------------------------------------------

    def _pause_workflows(self, action: Action) -> Done:
        """Switch the workflows off, and make sure of it: n8n may fail after having done it, or lie."""
        from vpsmon.stack import n8n_api

        host = self._make_host()
        troubles = []
        for item in action.details["items"]:
            try:
                n8n_api.deactivate(host, self._settings, item["id"])
            except n8n_api.KeyRefused:
                raise
            except ReadError as error:
                troubles.append(str(error))
            now = n8n_api.read_workflow(host, self._settings, item["id"])
            if now is not None and now.is_active:
                trouble = troubles[-1] if troubles else "n8n says that it is paused, and it is still active"
                raise ReadError(f"{clean(item['name'])}: {trouble}")
        return Done()

    def _resume_workflows(self, action: Action) -> Done:
        """Switch on what nobody has changed meanwhile, with the version that ran before."""
        questions = [self._resume(self._make_host(), item) for item in action.details["items"]]
        return Done(question="; ".join(each for each in questions if each))

    def _resume(self, host: Host, item: Mapping[str, str]) -> str:
        """Return what a person has to decide, if so."""
        from vpsmon.stack import n8n_api

        now = n8n_api.read_workflow(host, self._settings, item["id"])
        if now is None or now.is_active:
            return ""  # somebody has deleted it, or switched it on
        name = clean(item["name"])
        if now.draft != item["draft"]:
            return f"{name} was edited while it was paused: publish it in n8n if it is ready"
        try:
            if not n8n_api.activate(host, self._settings, now, item["active_version"]):
                return f"{name} has changes that were never published: activate it in n8n if they are ready"
        except n8n_api.KeyRefused:
            raise
        except ReadError:
            if not _is_active(n8n_api.read_workflow(host, self._settings, item["id"])):
                raise
        if not _is_active(n8n_api.read_workflow(host, self._settings, item["id"])):
            raise ReadError(f"n8n says that {name} is active, and it is not")
        return ""


def _refuse_unless_up(container: Container) -> None:
    """A restart would start what somebody has just stopped; what was stopped by somebody is not ours to start later."""
    if container.status not in ("running", "restarting"):
        raise Refused(f"{clean(container.name)} is {container.status} by now")


def _is_active(workflow: Any) -> bool:
    return workflow is not None and workflow.is_active


def _find_grace(container: Container, action: Action) -> int:
    """Return the seconds that the container has to end: its own, else what n8n needs, else the default."""
    if container.stop_timeout_seconds is not None:
        return container.stop_timeout_seconds
    if "n8n" in container.image.rsplit("/", 1)[-1] or "n8n" in container.image.split("/"):
        return _N8N_GRACE_SECONDS
    return int(action.details.get("default_grace_seconds", _DEFAULT_GRACE_SECONDS))
