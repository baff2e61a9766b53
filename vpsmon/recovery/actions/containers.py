"""What is done to containers: through the engine, or by signals where that does not respond."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean, format_bytes
from vpsmon.recovery.actions.outcome import Done, Gone, Refused
from vpsmon.recovery.last_hand import is_as_left, read_left
from vpsmon.recovery.model import Action
from vpsmon.stack.docker import client as docker_client
from vpsmon.stack.docker.api import Engine, NotFound
from vpsmon.stack.docker.cgroups import read_usage
from vpsmon.stack.docker.containers import Container, parse_container
from vpsmon.stack.docker.remembered import update
from vpsmon.stack.docker.stop_by_signal import end_first_process
from vpsmon.stack.identity.essential import Essentials, is_left_alone
from vpsmon.stack.identity.roles import find_part
from vpsmon.system.host import Host
from vpsmon.system.log import say

# What an engine gives a container to end that has no stop_grace_period of its own.
_DEFAULT_GRACE_SECONDS = 10
# n8n waits up to 30 s for executions to end; ended before that it leaves with 137 and loses them.
_N8N_GRACE_SECONDS = 40
# What is killed before its checkpoint or its last save recovers at the next start, for as long as it may take.
_DATABASE_GRACE_SECONDS = 60
# An engine under memory pressure is slow; it must not keep a recovery for ever.
_DOCKER_TIMEOUT_SECONDS = 20.0
# An engine that is not paged out answers in milliseconds. Waited for longer, the machine is frozen before it does.
_SOON_SECONDS = 4.0
# A limit is lowered only where what is used now fits in well: else the kernel would kill at once.
_FITS_SHARE = 0.9


class ContainerEffectors:
    """Acts on containers; a known one is ended by signals where the engine does not answer soon."""

    _settings: Settings
    _make_host: Callable[[], Host]
    _known_containers: Sequence[Container]

    def _restart_container(self, action: Action) -> None:
        with self._open(action) as (client, container):
            _refuse_unless_up(container)
            client.restart(container.id, timeout=self._find_grace(container, action))

    def _stop_container(self, action: Action) -> Done:
        known = next((each for each in self._known_containers if each.id == action.target), None)
        if known is not None:
            return self._stop_known(action, known)
        return self._stop_by_engine(action)

    def _stop_by_engine(self, action: Action, timeout_seconds: float | None = None) -> Done:
        with self._open(action, timeout_seconds) as (client, container):
            _refuse_unless_up(container)
            self._refuse_unless_spare(container)
            client.stop(container.id, timeout=self._find_grace(container, action))
            return _see_what_is_left(client, action._replace(verb="start_container"))

    def _stop_known(self, action: Action, known: Container) -> Done:
        """Stop one that the kernel says is there; from then on, that it has ended is never a refusal but our doing."""
        (container,) = update(self._make_host(), [known])
        if container.status == "exited":
            raise Gone(f"{clean(known.name)} does not run any more")
        self._refuse_unless_spare(container)
        try:
            return self._stop_by_engine(action, _SOON_SECONDS)
        except Refused:
            raise
        except ReadError as why:
            return self._stop_without_engine(action, container, why)

    def _stop_without_engine(self, action: Action, container: Container, why: ReadError) -> Done:
        """End it as the engine would, and have it stopped all the same, or a policy would start it again at once."""
        try:
            end_first_process(self._make_host(), container, self._find_grace(container, action))
        except ReadError as failure:
            say("warning", f"{why}, and {clean(container.name)} cannot be ended without it: {failure}")
            with suppress(Refused):
                self._stop_by_engine(action)
            return Done()
        left: Sequence[Any] = ()
        with suppress(ReadError):
            left = self._stop_by_engine(action, _DOCKER_TIMEOUT_SECONDS).left
        return Done(is_by_signals=True, left=left)

    def _refuse_unless_spare(self, container: Container) -> None:
        _refuse_if_left_alone(container)
        others = [each for each in self._known_containers if each.id != container.id]
        if Essentials([container, *others], self._settings).is_essential(container):
            raise Refused(f"{clean(container.name)} is essential and is never stopped")
        if container.is_for_one_task:
            raise Refused(f"{clean(container.name)} is for one task, and could not be started again")

    def _start_container(self, action: Action) -> None:
        with self._open(action) as (client, container):
            _refuse_unless_as_left(container, action)
            if container.status != "running":
                client.start(container.id)

    def _set_memory_limit(self, action: Action) -> Done:
        memory_bytes, memory_and_swap_bytes = action.details["memory_bytes"], action.details["memory_and_swap_bytes"]
        with self._open(action) as (client, container):
            _refuse_unless_as_left(container, action)
            if container.pid and memory_bytes < (container.memory_limit_bytes or 0):
                used_bytes = read_usage(self._make_host(), container.id, container.pid).memory_bytes
                if used_bytes > memory_bytes * _FITS_SHARE:
                    raise Refused(f"it uses {format_bytes(used_bytes)} now, too much for {format_bytes(memory_bytes)}")
            # Both at once: one alone is refused where it would pass the other.
            client.update_container(container.id, mem_limit=memory_bytes, memswap_limit=memory_and_swap_bytes)
            return _see_what_is_left(client, action)

    def _find_grace(self, container: Container, action: Action) -> int:
        """Return the seconds that the container has to end; a database at least a minute, whatever it asks for."""
        is_database = find_part(container, self._settings).role in ("database", "cache")
        return max(_find_own_grace(container, action), _DATABASE_GRACE_SECONDS if is_database else 0)

    @contextmanager
    def _open(self, action: Action, timeout_seconds: float | None = None) -> Iterator[tuple[Engine, Container]]:
        """Give a client and the container as it is at this moment.

        Raises Gone where it was removed, and Refused where its owner wants no hands on it.
        """
        with docker_client.open_client(timeout_seconds or self._timeout_seconds) as client:
            try:
                container = parse_container(client.inspect_container(action.target))
                _refuse_if_left_alone(container)
                yield client, container
            except NotFound as error:
                # A network or image that is missing is not found either.
                if "no such container" not in error.explanation.lower():
                    raise
                raise Gone(f"the container {clean(action.name)} is no longer there") from None

    @property
    def _timeout_seconds(self) -> float:
        return _DOCKER_TIMEOUT_SECONDS * self._make_host().patience


def _see_what_is_left(client: Engine, undo: Action) -> Done:
    """Return it as the engine tells after the change, which may differ from what was asked for."""
    try:
        return Done(left=read_left(undo, parse_container(client.inspect_container(undo.target))))
    except ReadError:
        return Done()


def _refuse_unless_as_left(container: Container, action: Action) -> None:
    if not is_as_left(action, action.details.get("left", ()), container):
        raise Refused(f"somebody has changed {clean(container.name)} meanwhile")


def _refuse_unless_up(container: Container) -> None:
    """A restart would start what somebody has just stopped; what was stopped by somebody is not ours to start later."""
    if container.status not in ("running", "restarting"):
        raise Refused(f"{clean(container.name)} is {container.status} by now")


def _refuse_if_left_alone(container: Container) -> None:
    if is_left_alone(container):
        raise Refused(f"{clean(container.name)} carries the label vpsmon.recover=false")


def _find_own_grace(container: Container, action: Action) -> int:
    """Return the seconds that the container has to end: its own, else what n8n needs, else the default."""
    if container.stop_timeout_seconds is not None:
        return container.stop_timeout_seconds
    if "n8n" in container.image.rsplit("/", 1)[-1] or "n8n" in container.image.split("/"):
        return _N8N_GRACE_SECONDS
    return int(action.details.get("default_grace_seconds", _DEFAULT_GRACE_SECONDS))
