"""Essential containers that were there and are gone: nothing is left of them to have a row of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Previous
from vpsmon.core.text import format_duration
from vpsmon.stack.identity.essential import list_essential_names

# A deployment that removes the old container first pulls and starts the new one within this.
_DEPLOYMENT_SECONDS = 300.0
# Who removed it has had the time to hear of it, and has not put it back.
_MISSED_SECONDS = 86_400.0


class Sight(NamedTuple):
    """The container that a name of ESSENTIAL_CONTAINERS has or had, and for how many seconds it has been gone."""

    container_name: str
    gone_seconds: float | None = None


def find_essentials(containers: Iterable[tuple[str, str]], settings: Settings) -> dict[str, str]:
    """Return the essential names that have a container, of containers by name and compose service."""
    found: dict[str, str] = {}
    for container_name, service in containers:
        for name in list_essential_names(settings):
            if name in (container_name, service):
                found.setdefault(name, container_name)
    return found


def follow_essentials(essentials: Mapping[str, str], previous: Previous | None) -> dict[str, Sight]:
    """Return the essential names that have a container, or had one within the last day."""
    sights = {name: Sight(container_name) for name, container_name in essentials.items()}
    before = previous.memory.get("essentials", {}) if previous else {}
    for name, (container_name, seconds) in before.items():
        # Counted over passes by the clock that nobody sets.
        gone_seconds = 0.0 if seconds is None or previous is None else seconds + previous.elapsed_seconds
        if name not in sights and gone_seconds < _MISSED_SECONDS:
            sights[name] = Sight(container_name, gone_seconds)
    return sights


def judge_missed(sights: Mapping[str, Sight], shown: Iterable[str], settings: Settings) -> list[Finding]:
    """Return a row for each essential container that is gone; `shown` are the containers that have rows already."""
    names = set(shown)
    essential = list_essential_names(settings)
    return [
        _judge(name, sight.container_name, sight.gone_seconds)
        for name, sight in sights.items()
        if sight.gone_seconds is not None and name in essential and sight.container_name not in names
    ]


def _judge(name: str, container_name: str, gone_seconds: float) -> Finding:
    message = f"gone for {format_duration(gone_seconds)}: no container or compose service is called {name} any more"
    is_deployment = gone_seconds < _DEPLOYMENT_SECONDS
    if not is_deployment:
        message += ", and it is essential"
    return Finding(
        check="container_state",
        status="ok" if is_deployment else "critical",
        message=message,
        object=container_name,
        advice=f"docker compose up -d creates it again; if it was meant to go, take {name} out of ESSENTIAL_CONTAINERS",
        is_clear=False,
    )
