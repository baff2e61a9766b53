"""`vpsmon recover` from end to end: one at a time on this machine, with this machine or with nothing at the far end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vpsmon.config.settings import Config, Settings
from vpsmon.passes.check_memory import FILE as PASS_FILE
from vpsmon.passes.check_memory import IDENTITIES
from vpsmon.passes.context import PassContext
from vpsmon.passes.stack_stage import deliver
from vpsmon.recovery.actions import DryEffectors, Effectors, RealEffectors
from vpsmon.recovery.engine.engine import Engine
from vpsmon.recovery.engine.journal import Entry, Journal
from vpsmon.recovery.engine.memory import QUIET_SECONDS, Book
from vpsmon.recovery.engine.real_machine import RealMachine
from vpsmon.recovery.engine.store import DryStore, RealStore, Store, hold_recovery_lock
from vpsmon.recovery.engine.world import World
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Change, Decision
from vpsmon.recovery.rule import Rule
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.identity.known import prepare_known
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.directory import StateError
from vpsmon.state.shm_fallback import SparedState
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id


class Result(NamedTuple):
    """What a run decided, what is changed at its end, and whether it could do its job."""

    entries: list[Entry]
    changes: list[Change]
    is_complete: bool = True
    # Another recovery is under way, so this one has done nothing.
    is_other_running: bool = False
    # No rule sees an incident any more.
    is_over: bool = True
    # What could not be read, and why.
    unread: tuple[str, ...] = ()

    @property
    def decisions(self) -> list[Decision]:
        """What was decided, without the words."""
        return [entry.decision for entry in self.entries]


def recover(
    config: Config,
    rules: Sequence[Rule],
    is_dry: bool = False,
    restores: bool = False,
    make_host: Callable[[], Host] = Host,
    sleep: Callable[[float], None] = time.sleep,
    known_containers: Sequence[Container] = (),
) -> Result:
    """Run the rules once, or undo all changes; what there is to report waits in the outbox. Raises StateError.

    Where containers are known already, the engine is asked for nothing but to act, and not waited for.
    """
    context = PassContext(make_host(), config, SparedState(config.state_directory))
    settings = config.settings
    known = context.state.load(PASS_FILE).get(IDENTITIES)

    def make_knowing_host() -> Host:
        host = make_host()
        prepare_known(host, known)
        return host

    machine = RealMachine(settings, make_host, sleep, known_containers)
    # An action goes to whom the rules have seen, and a key to nobody else.
    effectors = RealEffectors(settings, make_knowing_host, known_containers)
    if is_dry:
        return run_rules(settings, rules, machine, DryEffectors(), DryStore(context.state), restores)
    with hold_recovery_lock(context.state) as is_only_one:
        if not is_only_one:
            # One that only looks loses nothing; somebody who wants something undone must know that it was not.
            return Result([], [], is_complete=not restores, is_other_running=True)
        return run_rules(settings, rules, machine, effectors, RealStore(context), restores)


def send_alerts(config: Config, result: Result, make_host: Callable[[], Host] = Host) -> Result:
    """Send what waits in the outbox, unless another process does; return the result, incomplete where that failed."""
    try:
        deliver(PassContext(make_host(), config, SparedState(config.state_directory)), waits=False)
    except StateError as error:
        # What was done has to be shown all the same.
        return result._replace(is_complete=False, unread=(*result.unread, str(error)))
    return result


def run_rules(
    settings: Settings,
    rules: Sequence[Rule],
    machine: Machine,
    effectors: Effectors,
    store: Store,
    restores: bool = False,
) -> Result:
    """Run the rules on a machine. Raises StateError."""
    journal = _open_journal(machine, store, rules)
    world = World(machine, settings, rules, store.load_pass_state())
    engine = Engine(rules, machine, world, effectors, journal, settings)
    is_complete = engine.restore() if restores else engine.run()
    store.keep_memories(world.memories)
    return Result(
        journal.entries, journal.book.changes, is_complete, unread=tuple(engine.unread), is_over=engine.is_over
    )


def _open_journal(machine: Machine, store: Store, rules: Sequence[Rule]) -> Journal:
    """Return the journal with what was remembered; without it recovery only looks for a while, and says so."""
    content, is_lost = store.load()
    host = machine.start_look()
    clocks = (read_boot_id(host), host.monotonic_seconds(), host.wall_seconds())
    try:
        book = Book(content, *clocks)
    except WRONG_FORM:
        store.set_aside()
        book, is_lost = Book({}, *clocks), True
    journal = Journal(book, store, machine, rules)
    if is_lost:
        book.quiet_until = journal.now() + QUIET_SECONDS
        journal.say(_note_loss())
        journal.commit()
    return journal


def _note_loss() -> Decision:
    return Decision(
        rule="recovery",
        target="",
        name="memory",
        cause="memory_lost",
        verdict="wait",
        reason="memory_lost",
        severity="critical",
        wait_seconds=QUIET_SECONDS,
    )
