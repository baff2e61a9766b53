"""The only place that changes anything: containers through Docker, sessions through WAHA, workflows through n8n.

Each verb of an action is a method. All of them may be done twice: after a crash nobody knows whether the first time
took effect. What is never to be done is refused here, whatever a rule asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.recovery.actions.containers import ContainerEffectors
from vpsmon.recovery.actions.outcome import Done
from vpsmon.recovery.actions.services import ServiceEffectors
from vpsmon.recovery.model import Action
from vpsmon.stack.docker.containers import Container
from vpsmon.state.content import WRONG_FORM
from vpsmon.system.host import Host


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


class RealEffectors(ContainerEffectors, ServiceEffectors):
    """Acts on this machine."""

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
