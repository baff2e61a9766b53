"""What copies of the resident monitor do besides passes: read monitor.conf again, note containers, recover.

The watcher imports none of it before it is needed: a name that Python knows is memory, too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from vpsmon.config.settings import Config
from vpsmon.resident.reexec import Orders, pack_orders
from vpsmon.system.log import say

if TYPE_CHECKING:
    from vpsmon.checks import Check
    from vpsmon.stack.docker.containers import Container
    from vpsmon.system.host import Host

# What preload.py loads for it as soon as memory is short.
LOADED_LATE = (
    "vpsmon.checks.stack.container_memory",
    "vpsmon.recovery.rules.swap_thrashing",
    "vpsmon.recovery.run",
)
# An engine that thrashes too took 7 to 30 s for a list that else takes milliseconds, and 90 s for a stop. Nothing else
# helps then, so it gets a minute, and five for the stop.
_PATIENCE = 15.0


def reload_config(orders: Orders, descriptor: int) -> int:
    """Read monitor.conf again and write new orders to the descriptor, or say every fault; return the exit status."""
    from vpsmon.config.load import ConfigError, load_config

    try:
        config = load_config(orders.config_option, os.environ)
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        return 1
    with open(descriptor, "wb") as file:
        file.write(pack_orders(config, orders.config_option, orders.interval_option_seconds))
    return 0


def note_containers(config: Config, events: bytes) -> int:
    """Remember the containers that these events name as a pass would have seen them; return the exit status."""
    from vpsmon.checks.stack import container_memory
    from vpsmon.core.findings import NotApplicable, ReadError
    from vpsmon.passes.context import PassContext
    from vpsmon.stack.docker.containers import inspect_named
    from vpsmon.state.directory import StateError
    from vpsmon.state.shm_fallback import SparedState
    from vpsmon.system.host import Host

    context = PassContext(Host(patience=_PATIENCE), config, SparedState(config.state_directory))
    check = cast("Check", container_memory)
    try:
        containers = inspect_named(context.host, events)
        with context.state.lock():
            memories = context.recall_memories()
            memories.keep(check, container_memory.add_known(memories.recall(check), containers, config.settings))
            context.state.commit({context.memories_file: memories.to_state()}, {})
    except (NotApplicable, ReadError, StateError):
        return 1  # the next pass says why
    return 0


def recover_memory(config: Config) -> int:
    """Run the one rule that helps a machine that thrashes, here and at once; return 0 when it does so no more, else 1.

    A program that is started needs seconds then; the rule looks again itself before it does anything. What it has to
    tell is sent by a pass: to send may take longer than it takes to fill up the swap.
    """
    from vpsmon.recovery.rules.swap_thrashing import RULE
    from vpsmon.recovery.run import recover
    from vpsmon.state.directory import StateError
    from vpsmon.system.host import Host

    def make_host() -> Host:
        return Host(patience=_PATIENCE)

    try:
        known = _recall_containers(make_host(), config)
        result = recover(config, [RULE], make_host=make_host, known_containers=known)
    except StateError as error:
        say("error", str(error))
        return 1
    return 0 if result.is_over and not result.is_other_running else 1


def _recall_containers(host: Host, config: Config) -> list[Container]:
    """Return the containers as the last pass saw them, if one of them can be spared: then Docker need not be asked."""
    from vpsmon.checks.stack import container_memory
    from vpsmon.passes.context import PassContext
    from vpsmon.recovery.rules.swap_thrashing import list_spare
    from vpsmon.stack.docker.remembered import update
    from vpsmon.state.shm_fallback import SparedState

    memories = PassContext(host, config, SparedState(config.state_directory)).recall_memories()
    known = container_memory.recall_containers(memories.recall(cast("Check", container_memory)))
    return known if list_spare(update(host, known), config.settings) else []


def start_recovery(config_path: str | None) -> int:
    """Have a recovery started, and say how; return the exit status."""
    from vpsmon.recovery.start import start_recovery as start

    try:
        say("info", f"critical: starting {start(config_path)}")
    except OSError as error:
        say("error", f"recovery could not be started: {error.strerror}; its timer comes next")
        return 1
    return 0
