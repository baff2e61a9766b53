"""A simulated stack, and days of incidents, faults and crashes on it, for the real checks, rules and engine.

The machine is simulated (its containers, memory, sessions and queue, and what helps against what), and so is what acts
on it, which keeps the books for the invariants: an action that must never happen fails at once.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from vpsmon.checks.kernel import memory, pressure, refaults, swap
from vpsmon.checks.stack import container_memory, container_restarts, container_state, n8n, waha
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.passes.run_check import Attempt
from vpsmon.recovery.actions.outcome import Done, Gone, Refused
from vpsmon.recovery.engine.store import Record
from vpsmon.recovery.model import Action
from vpsmon.recovery.rules import load_rules
from vpsmon.recovery.run import run_rules
from vpsmon.stack.docker.cgroups import Usage
from vpsmon.stack.docker.containers import Container, parse_container
from vpsmon.stack.docker.exit_causes import Death
from vpsmon.stack.identity.essential import find_essential_name
from vpsmon.stack.n8n.api import Workflow
from vpsmon.stack.n8n.server import Queue
from vpsmon.stack.waha import Session
from vpsmon.state.content import WRONG_FORM
from vpsmon.state.recovery_file import Clocks, list_excused_ids
from vpsmon.system.memory_shortage import Shortage

MEGABYTE = 1024 * 1024
SETTINGS = DEFAULTS._replace(N8N_QUEUE_MAX=100)
RULES = load_rules()
ESSENTIAL = ("postgres", "redis", "n8n", "waha", "traefik")
NAMES = (*ESSENTIAL, "n8n-worker", "crm", "mailer")
LIMIT = 256 * MEGABYTE
# A day, and the longest calm that recovery waits for.
LONGEST_EXCUSE_SECONDS = 86_400 + 32 * 600
AT_ITS_LIMIT = Death(wall_seconds=0.0, exit_code=137, cause="oom_at_limit")


class Crash(BaseException):
    """kill -9 of the recovery."""


class SimContainer:
    """A container: what is wrong with it, and what would help."""

    def __init__(self, stack: SimStack, name: str) -> None:
        stack.serial += 1
        self.id = f"{stack.serial:012x}".ljust(64, "0")  # the checks know it by its first 12 digits
        self.name = name
        self.status = "running"
        self.is_unhealthy = False
        self.heals_on_restart = False
        self.loops = False
        self.looped_until = -1e9
        # A loop that ends when there is so much room; without, none helps.
        self.needs_bytes = 0
        self.limit = LIMIT
        self.restarts = 0
        self.started = stack.wall()
        self.finished: float | None = None
        self.stopped_by_recovery = False
        # What its owner has said last: that it shall run or not, or how much memory it shall have.
        self.order = ""
        self.own_limit = LIMIT
        # Why its last start failed; `starts_again`: the next one does not.
        self.start_error = ""
        self.starts_again = True

    @property
    def is_up(self) -> bool:
        return self.status in ("running", "restarting")


class SimStack:
    """The machine at a moment, and its clocks."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.serial = 0
        self.seconds = 1000.0
        self.wall_offset = 1_800_000_000.0
        self.boot = 1
        self.boot_seconds = 0.0
        self.containers = {name: SimContainer(self, name) for name in NAMES}
        self.culprits: set[str] = set()
        self.pages = 1000
        self.session = "WORKING"
        self.session_cure = ""
        self.waiting = 0
        self.inflow = 0.0
        self.next_job = 1
        self.is_worker_dead = False
        self.workflows = {"w1": True, "w2": True}
        self.docker_hangs = False

    def wall(self) -> float:
        return self.seconds + self.wall_offset

    def is_thrashing(self) -> bool:
        return any(self.containers[name].status == "running" for name in self.culprits)

    def advance(self, seconds: float) -> None:
        """Let time pass, and what goes on go on."""
        self.seconds += seconds
        if self.is_thrashing():
            self.pages += int(seconds * 3000)
        for each in self.containers.values():
            if each.loops:
                each.looped_until = self.seconds
            if each.loops and each.status == "running":
                each.restarts += max(1, int(seconds / 40))
                each.started = self.wall() - 3
        growth = self.inflow if any(self.workflows.values()) else -self.inflow / 2
        self.waiting = max(0, int(self.waiting + seconds * growth))
        if not self.is_worker_dead:
            self.next_job += max(1, int(seconds))

    def reboot(self) -> None:
        self.boot += 1
        self.boot_seconds = self.seconds
        self.pages = 1000
        for each in self.containers.values():
            each.restarts = 0
            if each.status == "running":
                each.started = self.wall()

    def mend(self) -> None:
        """What recovery did not mend, a person mends; what recovery changed, it has to undo itself."""
        self.culprits = set()
        self.session, self.session_cure = "WORKING", ""
        self.waiting, self.inflow, self.is_worker_dead = 0, 0.0, False
        for each in self.containers.values():
            each.is_unhealthy = each.loops = each.heals_on_restart = False
            each.needs_bytes = 0
            if each.status == "exited" and not each.stopped_by_recovery:
                each.status, each.started, each.start_error, each.order = "running", self.wall(), "", ""

    def recreate(self, name: str) -> None:
        self.containers[name] = SimContainer(self, name)


class SimHost:
    """What the checks' memories ask of a host."""

    def __init__(self, stack: SimStack) -> None:
        self._stack = stack
        self.identities: dict[str, dict[str, Any]] = {}

    def monotonic_seconds(self) -> float:
        return self._stack.seconds - self._stack.boot_seconds

    def wall_seconds(self) -> float:
        return self._stack.wall()

    def read_proc(self, name: str) -> str:
        return f"boot-{self._stack.boot}"


class SimMachine:
    """Readings as the checks would have made them."""

    has_only_known_containers = False

    def __init__(self, stack: SimStack) -> None:
        self.stack = stack

    def start_look(self) -> Any:
        return SimHost(self.stack)

    def monotonic_seconds(self) -> float:
        return SimHost(self.stack).monotonic_seconds()

    def wall_seconds(self) -> float:
        return self.stack.wall()

    def sleep(self, seconds: float) -> None:
        # One second of sleep is ten here: what is waited for has happened by then or never does.
        self.stack.advance(seconds * 10)
        if self.stack.dice.random() < 0.05:
            self.stack.mend()  # between one look and the next

    def read(self, checks: Sequence[Any], recall: Any) -> list[Attempt]:
        self.stack.advance(0.1)
        return [self._read(check) for check in checks]

    def _read(self, check: Any) -> Attempt:
        if check.__name__ not in READERS:
            return Attempt(check, None, NotApplicable("not here"))
        if self.stack.docker_hangs and ".stack." in check.__name__:
            return Attempt(check, None, ReadError("Docker does not answer in time"))
        return Attempt(check, READERS[check.__name__](self.stack), None)

    def read_containers(self) -> list[Container]:
        if self.stack.docker_hangs:
            raise ReadError("Docker does not answer in time")
        return [inspect(self.stack, each) for each in self.stack.containers.values()]

    def list_low_priority_workflows(self) -> list[Workflow]:
        return [Workflow(each, each, True, "v1", "v1") for each, is_on in self.stack.workflows.items() if is_on]

    def read_last_log_lines(self, container_id: str, count: int) -> list[str]:
        return ["the end"]


def inspect(stack: SimStack, each: SimContainer) -> Container:
    health = {"Status": "unhealthy" if each.is_unhealthy else "healthy"}
    state = {"Status": each.status, "Pid": 7, "Health": health}
    command = ["n8n", "worker"] if each.name == "n8n-worker" else ["serve"]
    inspected = {"Id": each.id, "Name": each.name, "State": state, "Path": command[0], "Args": command[1:]}
    parsed = parse_container(inspected)
    return parsed._replace(
        memory_limit_bytes=each.limit,
        restart_count=each.restarts,
        started_wall_seconds=each.started,
        finished_wall_seconds=each.finished,
        memory_and_swap_limit_bytes=2 * each.limit,
        restart_policy="always",
        start_error=each.start_error,
    )


def shortage(stack: SimStack) -> Shortage:
    is_bad = stack.is_thrashing()
    available = (20 if is_bad else 500) * MEGABYTE
    return Shortage(1000 * MEGABYTE, available, 1000 * MEGABYTE, 500 * MEGABYTE, 20.0 if is_bad else 0.0)


def read_pressure(stack: SimStack) -> pressure.Reading:
    return pressure.Reading(60.0, 20.0, 0, 0) if stack.is_thrashing() else pressure.Reading(0.0, 0.0, 0, 0)


def read_restarts(stack: SimStack) -> container_restarts.Reading:
    seen = []
    for each in stack.containers.values():
        death = AT_ITS_LIMIT if each.needs_bytes else None
        counters = (each.status, each.restarts, 0.0, each.started)
        seen.append(container_restarts.Observed(each.id, each.name, *counters, None, death))
    return container_restarts.Reading(seen, stack.wall(), SimHost(stack).monotonic_seconds(), 300)


def read_memory(stack: SimStack) -> container_memory.Reading:
    sizes = {"crm": 200, "mailer": 100}
    running = [each for each in stack.containers.values() if each.status == "running"]
    measured = [
        container_memory.Measured(each.id, 7, each.name, Usage(sizes.get(each.name, 50) * MEGABYTE, None, 1.0, 0))
        for each in running
    ]
    return container_memory.Reading(measured, SimHost(stack).monotonic_seconds())


def read_waha(stack: SimStack) -> waha.Reading:
    sessions = [Session("default", stack.session, None)]
    return waha.Reading(stack.wall(), sessions, None, stack.containers["waha"].started, False)


def read_n8n(stack: SimStack) -> n8n.Reading:
    running = 0 if stack.is_worker_dead else 3
    queue = Queue(True, stack.waiting, running, str(stack.next_job) if stack.waiting else "", None)
    return n8n.Reading(queue, n8n.Missing("skipped", "not here"), True, False)


READERS: dict[str, Any] = {
    swap.__name__: lambda stack: swap.Reading(shortage(stack), stack.pages, 0),
    refaults.__name__: lambda stack: refaults.Reading(shortage(stack), 0),
    memory.__name__: lambda stack: memory.Reading(*shortage(stack)[:2]),
    pressure.__name__: read_pressure,
    container_state.__name__: lambda stack: container_state.Reading([], stack.wall()),
    container_restarts.__name__: read_restarts,
    container_memory.__name__: read_memory,
    waha.__name__: read_waha,
    n8n.__name__: read_n8n,
}


class SimEffectors:
    """Acts on the simulated stack, with the faults of a bad day; keeps the books that the invariants need."""

    is_real = True

    def __init__(self, stack: SimStack) -> None:
        self.stack = stack
        # Those of the urgent rule have a budget of their own.
        self.times: dict[bool, list[float]] = {False: [], True: []}
        self.total = 0
        self.crashes = 0
        self.with_faults = True
        self.by_hand = False

    def perform(self, action: Action) -> Done:
        self._check(action)
        fault = self.stack.dice.random() if self.with_faults else 1.0
        if fault < 0.03:
            raise ReadError("no answer")
        self._crash(0.03 < fault < 0.05)
        self.stack.advance(5)
        if 0.11 < fault < 0.13:
            self._let_it_vanish(action)
        try:
            done = getattr(self, f"_{action.verb}")(action)
        except WRONG_FORM as failure:
            raise ReadError(f"unexpected {type(failure).__name__}") from None  # as the real ones do
        self._crash(0.05 < fault < 0.08)
        if fault < 0.11:
            raise ReadError("HTTP 500")
        return done or Done()

    def _let_it_vanish(self, action: Action) -> None:
        """Somebody makes the container anew while recovery reaches for it."""
        for each in list(self.stack.containers.values()):
            if each.id == action.target:
                self.stack.recreate(each.name)

    def _crash(self, is_so: bool) -> None:
        if is_so:
            self.crashes += 1
            raise Crash

    def _check(self, action: Action) -> None:
        """The invariants at the moment of an action."""
        stack = self.stack
        self.total += 1
        if action.verb != "start_sessions" and not self.by_hand:
            is_urgent = "default_grace_seconds" in action.details
            times = [each for each in self.times[is_urgent] if stack.seconds - each < 3600] + [stack.seconds]
            self.times[is_urgent] = times
            assert len(times) <= SETTINGS.RECOVERY_MAX_ACTIONS_PER_HOUR, f"more actions in an hour: {action}"
        if action.verb == "start_session":
            assert stack.session == "STOPPED", "a session was started for nothing"
        container = next((each for each in stack.containers.values() if each.id == action.target), None)
        if container is None:
            return
        name = container.name
        # That a loop has just ended shows only when it has been running for a while.
        looped = container.loops or stack.seconds - container.looped_until < 300
        if action.verb == "stop_container":
            assert not find_essential_name(inspect(stack, container), SETTINGS), f"{name} is essential"
            assert stack.is_thrashing() or looped, f"{name} was stopped for nothing"
        elif action.verb == "restart_container":
            is_stuck = name == "waha" and stack.session not in ("WORKING", "SCAN_QR_CODE")
            is_dead = name == "n8n-worker" and stack.is_worker_dead
            assert container.is_unhealthy or looped or is_stuck or is_dead, f"{name} was restarted for nothing"
        elif action.verb == "start_container":
            is_failed = bool(container.start_error)
            assert container.order != "stop", f"{name} was started against its owner's order"
            assert container.stopped_by_recovery or is_failed or container.is_up, f"{name} was started for nothing"
        elif action.verb == "set_memory_limit":
            assert container.order != "limit" or action.details["memory_bytes"] >= container.own_limit, (
                f"the limit of {name} was set back against its owner's order"
            )
            is_back = action.details["memory_bytes"] == container.own_limit
            assert looped or is_back, f"{name} got another limit for nothing"

    def _find(self, action: Action) -> SimContainer:
        container = next((each for each in self.stack.containers.values() if each.id == action.target), None)
        if self.stack.docker_hangs:
            raise ReadError("Docker does not answer in time")
        if container is None:
            raise Gone("no longer there")
        return container

    def _find_up(self, action: Action) -> SimContainer:
        container = self._find(action)
        if not container.is_up:
            raise Refused("somebody has stopped it")
        return container

    def _stop_container(self, action: Action) -> Done:
        container = self._find_up(action)
        container.status, container.stopped_by_recovery = "exited", True
        container.finished = self.stack.wall()
        return Done(left=[container.started, container.finished])

    def _start_container(self, action: Action) -> None:
        container = self._find(action)
        if container.start_error and not container.starts_again:
            raise ReadError(container.start_error)
        container.status, container.started, container.stopped_by_recovery = "running", self.stack.wall(), False
        container.start_error = ""

    def _restart_container(self, action: Action) -> None:
        container = self._find_up(action)
        container.status, container.started, container.restarts = "running", self.stack.wall(), 0
        if container.heals_on_restart:
            container.is_unhealthy = container.loops = False
        if container.name == "waha" and self.stack.session_cure == "container":
            self.stack.session = "STOPPED"
        if container.name == "n8n-worker":
            self.stack.is_worker_dead = False

    def _set_memory_limit(self, action: Action) -> None:
        container = self._find(action)
        container.limit = action.details["memory_bytes"]
        if container.needs_bytes and container.limit >= container.needs_bytes:
            container.loops, container.started = False, self.stack.wall()

    def _restart_session(self, action: Action) -> None:
        assert self.stack.session not in ("WORKING", "SCAN_QR_CODE", "STOPPED"), "a session was restarted for nothing"
        if self.stack.session_cure == "session":
            self.stack.session = "WORKING"

    def _start_session(self, action: Action) -> None:
        self.stack.session = "WORKING"

    def _start_sessions(self, action: Action) -> None:
        if self.stack.session == "STOPPED":
            self.stack.session = "WORKING"

    def _pause_workflows(self, action: Action) -> None:
        assert self.stack.waiting > SETTINGS.N8N_QUEUE_MAX, "workflows were paused for nothing"
        for item in action.details["items"]:
            self.stack.workflows[item["id"]] = False

    def _resume_workflows(self, action: Action) -> None:
        for item in action.details["items"]:
            self.stack.workflows[item["id"]] = True


class SimStore:
    """State that survives a crash before or after it is written."""

    def __init__(self, stack: SimStack) -> None:
        self.stack = stack
        self.text = ""
        self.pass_state: dict[str, Any] = {}
        self.largest = 0
        self.notices: list[Any] = []
        self.events: list[str] = []
        self.with_crashes = True

    def load(self) -> tuple[dict[str, Any], bool]:
        try:
            return (json.loads(self.text) if self.text else {}), False
        except ValueError:
            self.text = ""
            return {}, True

    def load_pass_state(self) -> dict[str, Any]:
        return self.pass_state

    def set_aside(self) -> None:
        raise AssertionError("recovery cannot read what it has written")

    def commit(self, record: Record) -> None:
        fault = self.stack.dice.random() if self.with_crashes else 1.0
        if fault < 0.005:
            raise Crash
        self.text = json.dumps(record.content)
        self.notices += record.notices
        self.events += record.events
        self.largest = max(self.largest, len(self.text))
        if fault < 0.01:
            raise Crash

    def keep_memories(self, pass_state: dict[str, Any]) -> None:
        self.pass_state = pass_state


class Simulation:
    """Days of incidents on one stack."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 dice, not keys
        self.stack = SimStack(self.dice)
        self.effectors = SimEffectors(self.stack)
        self.store = SimStore(self.stack)
        self.killed = 0
        self.excused_since: dict[str, float] = {}

    def recover(self, restores: bool = False) -> None:
        try:
            run_rules(SETTINGS, RULES, SimMachine(self.stack), self.effectors, self.store, restores)
        except Crash:
            self.killed += 1
        self._check_excuses()

    def _check_excuses(self) -> None:
        """An excuse ends: what stands still for days is a finding, whatever recovery has in mind."""
        host = SimHost(self.stack)
        clocks = Clocks(host.read_proc("sys/kernel/random/boot_id"), host.monotonic_seconds())
        excused = list_excused_ids(json.loads(self.store.text or "{}"), SETTINGS, clocks)
        self.excused_since = {each: self.excused_since.get(each, self.stack.seconds) for each in excused}
        for since in self.excused_since.values():
            assert self.stack.seconds - since < LONGEST_EXCUSE_SECONDS, "an excuse without end"

    def live_a_day(self) -> None:
        """Two incidents at most, some trouble around them, then the rest of the day in peace."""
        for _ in range(self.dice.choice((1, 1, 2))):
            self.dice.choice(INCIDENTS)(self)
        for _ in range(self.dice.randrange(4, 16)):
            if self.dice.random() < 0.15:
                self.dice.choice(TROUBLES)(self)
            self.recover()
            self.stack.docker_hangs = False
            self.stack.advance(self.dice.choice((5, 300, 300, 300, 600)))
        self.stack.mend()
        for hours in (0.1, 0.2, 0.3, 8, 8, 6):
            self.stack.advance(hours * 3600)
            self.recover()


def thrash(simulation: Simulation) -> None:
    choices = ({"crm"}, {"mailer"}, {"crm", "mailer"}, {"n8n"}, {"crm", "postgres"})
    simulation.stack.culprits = set(simulation.dice.choice(choices))


def fall_ill(simulation: Simulation) -> None:
    container = simulation.stack.containers[simulation.dice.choice(NAMES)]
    container.is_unhealthy = True
    container.heals_on_restart = simulation.dice.random() < 0.6


def loop(simulation: Simulation) -> None:
    container = simulation.stack.containers[simulation.dice.choice(("crm", "mailer", "n8n", "traefik"))]
    container.loops = True
    container.heals_on_restart = simulation.dice.random() < 0.3
    container.needs_bytes = simulation.dice.choice((0, int(LIMIT * 1.2), int(LIMIT * 1.5), LIMIT * 9))


def lose_session(simulation: Simulation) -> None:
    simulation.stack.session = simulation.dice.choice(("FAILED", "STARTING"))
    simulation.stack.session_cure = simulation.dice.choice(("session", "container", "none"))
    simulation.recover()
    simulation.stack.advance(3700)


def overflow(simulation: Simulation) -> None:
    simulation.stack.waiting = simulation.dice.randrange(50, 400)
    simulation.stack.inflow = simulation.dice.choice((0.5, 0.1, -0.5))


def lose_worker(simulation: Simulation) -> None:
    simulation.stack.waiting = simulation.dice.randrange(1, 400)
    simulation.stack.is_worker_dead = True


def fail_to_start(simulation: Simulation) -> None:
    container = simulation.stack.containers[simulation.dice.choice(NAMES)]
    container.status, container.start_error = "exited", "port is already allocated"
    container.finished = simulation.stack.wall()
    container.starts_again = simulation.dice.random() < 0.6


def be_stopped_by_hand(simulation: Simulation) -> None:
    stop_by_hand(simulation, simulation.stack.containers[simulation.dice.choice(NAMES)])


def stop_by_hand(simulation: Simulation, container: SimContainer) -> None:
    container.status, container.order, container.stopped_by_recovery = "exited", "stop", False
    container.finished, container.start_error = simulation.stack.wall(), ""


def be_idle(simulation: Simulation) -> None:
    simulation.stack.session = simulation.dice.choice(("WORKING", "SCAN_QR_CODE", "STOPPED"))


INCIDENTS = (
    *(thrash, thrash, fall_ill, loop, lose_session, overflow, lose_worker),
    *(fail_to_start, be_stopped_by_hand, be_idle),
)


def jump(simulation: Simulation) -> None:
    simulation.stack.wall_offset += simulation.dice.choice((-86400, -3600, 3600, 86400))


def reboot(simulation: Simulation) -> None:
    simulation.stack.reboot()


def hang(simulation: Simulation) -> None:
    simulation.stack.docker_hangs = True


def deploy(simulation: Simulation) -> None:
    simulation.stack.recreate(simulation.dice.choice(NAMES))


def meddle(simulation: Simulation) -> None:
    """Somebody starts by hand what recovery has stopped."""
    for each in simulation.stack.containers.values():
        if each.status == "exited":
            each.status, each.started, each.stopped_by_recovery = "running", simulation.stack.wall(), False
            each.order = ""


def raise_by_hand(simulation: Simulation) -> None:
    """Somebody gives more to what recovery has given more."""
    for each in simulation.stack.containers.values():
        if each.limit != each.own_limit:
            each.limit = each.own_limit = 2 * each.limit
            each.order = "limit"


def stop_for_good(simulation: Simulation) -> None:
    """Somebody starts what recovery has stopped, and then stops it himself, between two looks.

    Not where recovery was killed before it saw how it left it: nobody can know then.
    """
    changes = json.loads(simulation.store.text or "{}").get("changes", [])
    seen = {each["undo"][1] for each in changes if each["left"]}
    for each in simulation.stack.containers.values():
        if each.stopped_by_recovery and each.id in seen and each.finished != simulation.stack.wall():
            each.started = simulation.stack.wall()
            stop_by_hand(simulation, each)


TROUBLES = (jump, reboot, hang, deploy, meddle, raise_by_hand, raise_by_hand, stop_for_good)
