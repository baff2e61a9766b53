"""Each recovery rule: what it takes for an incident, which steps it wants, and which look-alikes it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from vpsmon.checks.kernel import swap
from vpsmon.checks.stack import container_memory, n8n, waha
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Finding, ReadError, Starting, Status
from vpsmon.passes.run_check import Attempt
from vpsmon.recovery.model import Action, Change, Dependency, Incident, Snapshot
from vpsmon.recovery.rules import (
    container_unhealthy,
    list_rule_names,
    load_rules,
    n8n_queue_overflow,
    restart_loop,
    start_failed,
    swap_thrashing,
    waha_stuck,
)
from vpsmon.stack.docker.cgroups import Usage
from vpsmon.stack.docker.containers import Container, parse_container
from vpsmon.stack.docker.exit_causes import Death, find_cause
from vpsmon.stack.n8n.server import Queue
from vpsmon.stack.waha import Session
from vpsmon.system.host import Host
from vpsmon.system.memory_shortage import Shortage

NOW = 1_800_000_000.0
MEGABYTE = 1024 * 1024


def container(name: str, status: str = "running", health: str | None = None, **more: Any) -> Container:
    """A container as Docker tells it."""
    labels = {"com.docker.compose.service": name, **more.pop("labels", {})}
    state = {"Status": status, "Health": {"Status": health} if health else None}
    inspected = {"Id": name.ljust(64, "0"), "Name": name, "State": state, "Config": {"Labels": labels}}
    return parse_container(inspected)._replace(**{"started_wall_seconds": NOW - 5, **more})


def finding(row: str, status: Status, name: str | None = None, value: float | None = 1.0) -> Finding:
    return Finding(check=row, status=status, message=f"{row} is {status}", object=name, value=value, unit="")


def look(
    *containers: Container,
    findings: tuple[Finding, ...] = (),
    seconds: float = 5000.0,
    memories: dict[str, Any] | None = None,
    changes: tuple[Change, ...] = (),
    **readings: Any,
) -> Snapshot:
    """A snapshot."""
    by_row: dict[str, list[Finding]] = {}
    for each in findings:
        by_row.setdefault(each.check, []).append(each)
    return Snapshot(seconds, NOW, by_row, readings, memories or {}, list(containers), "", changes)


def verbs(incident: Incident) -> list[str]:
    return [step.action.verb for step in incident.steps]


def test_every_rule_has_the_shape_and_a_word_of_its_own() -> None:
    rules = load_rules()
    assert [rule.name for rule in rules] == [
        "swap_thrashing",
        "start_failed",
        "container_unhealthy",
        "restart_loop",
        "waha_stuck",
        "n8n_queue_overflow",
    ]
    assert {word for rule in rules for word in rule.commands} == {"swap", "unhealthy", "loops", "waha", "queue"}
    for rule in rules:
        assert rule.cooldown_seconds > 0
        assert rule.checks
        assert rule.detect.__doc__
        assert rule.verify.__doc__
    assert sorted(rule.name for rule in rules) == list_rule_names()


# --- container_unhealthy ---------------------------------------------------------------------------------------------


def follow_health(*story: tuple[float, Container]) -> list[Incident]:
    memory: dict[str, Any] = {}
    incidents: list[Incident] = []
    for seconds, each in story:
        snapshot = look(each, seconds=seconds)
        memory = container_unhealthy.remember(snapshot, DEFAULTS, memory)
        incidents = container_unhealthy.detect(snapshot, DEFAULTS, memory)
    return incidents


def test_unhealthy_counts_when_it_lasts() -> None:
    sick = container("app", health="unhealthy")
    assert follow_health((0, sick), (299, sick)) == []
    (incident,) = follow_health((0, sick), (300, sick))
    assert verbs(incident) == ["restart_container"] * 3


@pytest.mark.parametrize(
    "between",
    [
        container("app", health="healthy"),
        container("app", health="starting"),
        container("app", "restarting", "unhealthy"),
        container("app", health="unhealthy", started_wall_seconds=NOW - 1),
    ],
)
def test_what_was_well_or_restarted_in_between_starts_anew(between: Container) -> None:
    sick = container("app", health="unhealthy")
    assert follow_health((0, sick), (200, between), (300, sick)) == []


def test_the_database_comes_first_and_holds_back_the_others() -> None:
    sick = [container(name, health="unhealthy") for name in ("n8n", "postgres", "crm")]
    snapshot = look(*sick)
    memory = {each.id: [0, each.started_wall_seconds] for each in sick}
    incidents = container_unhealthy.detect(snapshot, DEFAULTS, memory)
    assert [(each.name, each.waits_for is not None) for each in incidents] == [
        ("postgres", False),
        # Nothing says that it needs the database.
        ("crm", False),
        ("n8n", True),
    ]


def test_a_database_with_the_name_of_its_stack_comes_before_what_does_not_wait_for_it() -> None:
    labels = {"com.docker.compose.service": "postgres"}
    database = container("crm-postgres-1", health="unhealthy", labels=labels, project="crm")
    other = container("blog", health="unhealthy", project="blog")
    memory = {each.id: [0, NOW - 5] for each in (database, other)}
    incidents = container_unhealthy.detect(look(database, other), DEFAULTS, memory)
    assert [(each.name, each.waits_for) for each in incidents] == [("crm-postgres-1", None), ("blog", None)]


def test_what_needs_a_database_that_was_just_restarted_gets_time_to_recover() -> None:
    sick = container("n8n", health="unhealthy", started_wall_seconds=NOW - 5000)
    memory = {sick.id: [0, sick.started_wall_seconds]}
    for age, is_held in ((20, True), (91, False), (-3600, False)):
        snapshot = look(sick, container("postgres", started_wall_seconds=NOW - age))
        (incident,) = container_unhealthy.detect(snapshot, DEFAULTS, memory)
        assert (incident.waits_for is not None) == is_held, age


def test_one_whose_network_an_essential_one_uses_is_left_to_a_person() -> None:
    sick = container("vpn", health="unhealthy")
    snapshot = look(sick, container("n8n", network_mode=f"container:{sick.id}"))
    (incident,) = container_unhealthy.detect(snapshot, DEFAULTS, {sick.id: [0, NOW - 5]})
    assert incident.steps == ()
    assert "docker restart vpn n8n" in container_unhealthy.describe(incident, None).advice


def test_a_stack_of_its_own_does_not_wait_for_the_database_of_another() -> None:
    sick = container("app", health="unhealthy", project="blog")
    snapshot = look(sick, container("postgres", "exited", project="crm"))
    (incident,) = container_unhealthy.detect(snapshot, DEFAULTS, {sick.id: [0, NOW - 5]})
    assert incident.waits_for is None


def test_nothing_unhealthy_is_restarted_while_memory_is_short() -> None:
    sick = container("app", health="unhealthy")
    memory = {sick.id: [0.0, sick.started_wall_seconds]}

    def wait_for(available_mb: int, full_percent: float) -> Dependency | None:
        shortage = Shortage(1000 * MEGABYTE, available_mb * MEGABYTE, 0, 0, full_percent)
        (incident,) = container_unhealthy.detect(look(sick), DEFAULTS, memory)
        machine: Any = Answering(None, swap.Reading(shortage, 0, 0))
        return container_unhealthy.prepare(incident, machine, DEFAULTS).waits_for

    assert wait_for(20, 30.0) == Dependency("memory", "short")
    assert wait_for(500, 0.0) is None


class Answering:
    """A machine whose checks all answer the same."""

    def __init__(self, error: Exception | None, reading: Any = None) -> None:
        self.error = error
        self.reading = reading
        self.asked: list[str] = []

    def read(self, checks: Any, recall: Any) -> list[Attempt]:
        self.asked += [each.__name__.rpartition(".")[2] for each in checks]
        return [Attempt(each, self.reading, self.error) for each in checks]


@pytest.mark.parametrize(
    ("name", "asked", "error", "state"),
    [
        ("postgres", ["postgres"], Starting("the database system is starting up"), "recovering"),
        ("redis", ["redis"], Starting("it is loading its data"), "recovering"),
        ("postgres", ["postgres"], ReadError("nobody answers"), None),
        ("postgres", ["postgres"], None, None),
        ("app", [], Starting("not asked"), None),
    ],
)
def test_a_database_that_says_it_is_on_its_way_is_waited_for(
    name: str, asked: list[str], error: Exception | None, state: str | None
) -> None:
    sick = container(name, health="unhealthy")
    memory = {sick.id: [0.0, sick.started_wall_seconds]}
    (incident,) = container_unhealthy.detect(look(sick), DEFAULTS, memory)
    machine: Any = Answering(error)
    waits_for = container_unhealthy.prepare(incident, machine, DEFAULTS).waits_for
    assert machine.asked == ["swap", *asked]
    assert (waits_for.state if waits_for else None) == state


# --- swap_thrashing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["swap_in", "file_refaults"])
def test_both_phases_of_thrashing_want_the_largest_that_can_be_spared(row: str) -> None:
    names = {"postgres": 900, "small": 1, "large": 300, "untouchable": 500, "network": 400}
    containers = [
        container(
            name,
            labels={"vpsmon.recover": "false"} if name == "untouchable" else {},
            network_mode="container:network" if name == "postgres" else "bridge",
        )
        for name in names
    ]
    measured = [
        container_memory.Measured(each.id, 1, each.name, Usage(names[each.name] * MEGABYTE, None, 1, 0))
        for each in containers
    ]
    reading = container_memory.Reading(measured, 1.0)
    snapshot = look(*containers, findings=(finding(row, "critical"),), container_memory=reading)
    incidents = swap_thrashing.detect(snapshot, DEFAULTS, {})
    assert [each.name for each in incidents] == ["large", "small"]
    assert verbs(incidents[0]) == ["stop_container"]


@pytest.mark.parametrize("status", ["ok", "warning", "unknown", "skipped"])
def test_without_a_real_shortage_nothing_is_stopped(status: Status) -> None:
    findings = (finding("swap_in", status), finding("file_refaults", status))
    assert swap_thrashing.detect(look(container("crm"), findings=findings), DEFAULTS, {}) == []


@pytest.mark.parametrize(
    ("available", "score", "is_stopped"),
    [("critical", 30.0, True), ("critical", 19.0, False), ("critical", None, False), ("warning", 90.0, False)],
    ids=["hardly any and waiting", "nobody waits", "no pressure is reported", "enough is left"],
)
def test_a_machine_too_slow_for_high_rates_thrashes_when_hardly_any_memory_is_left_and_tasks_wait(
    available: Status, score: float | None, is_stopped: bool
) -> None:
    findings = (
        finding("swap_in", "ok"),
        finding("memory_available", available),
        finding("memory_pressure", "ok" if score else "skipped", value=score),
    )
    incidents = swap_thrashing.detect(look(container("leaky"), findings=findings), DEFAULTS, {})
    assert [each.name for each in incidents] == (["leaky"] if is_stopped else [])


def test_what_is_made_for_one_task_is_not_stopped_because_it_could_not_be_started_again() -> None:
    for more in ({"is_for_one_task": True}, {"inspect_error": "damaged"}):
        snapshot = look(container("backup", **more), findings=(finding("swap_in", "critical"),))
        assert verbs(swap_thrashing.detect(snapshot, DEFAULTS, {})[0]) == []


def test_the_container_that_plays_an_essential_part_is_essential_whatever_it_is_called() -> None:
    snapshot = look(container("db"), findings=(finding("swap_in", "critical"),))
    settings = DEFAULTS._replace(POSTGRES_CONTAINER="db")
    assert swap_thrashing.detect(snapshot, DEFAULTS, {})[0].name == "db"
    assert swap_thrashing.detect(snapshot, settings, {})[0].name == "machine"


def test_labels_override_the_list_of_essential_containers() -> None:
    containers = [
        container("crm", labels={"vpsmon.essential": "true"}),
        container("traefik", labels={"vpsmon.essential": "false"}),
    ]
    snapshot = look(*containers, findings=(finding("swap_in", "critical"),))
    assert [each.name for each in swap_thrashing.detect(snapshot, DEFAULTS, {})] == ["traefik"]


STOPPED = Change(
    "1", "swap_thrashing", Action("stop_container", "x", "x"), Action("start_container", "x", "x"), 600, "", 0, 0
)


def test_it_is_calm_only_when_memory_is_not_short() -> None:
    short = swap.Reading(Shortage(1000, 1, 1000, 500, 20.0), 1, 1)
    well = swap.Reading(Shortage(1000 * MEGABYTE, 500 * MEGABYTE, 1000, 500, 20.0), 1, 1)
    rate = (finding("swap_in", "ok"),)
    assert swap_thrashing.is_calm(look(swap=well, findings=rate), DEFAULTS, STOPPED)
    assert not swap_thrashing.is_calm(look(swap=short, findings=rate), DEFAULTS, STOPPED)
    assert not swap_thrashing.is_calm(look(swap=None), DEFAULTS, STOPPED)
    assert swap_thrashing.wants_second_look(look(swap=short), DEFAULTS)


# --- restart_loop ----------------------------------------------------------------------------------------------------

LIMITED = container("crm", memory_limit_bytes=100 * MEGABYTE, memory_and_swap_limit_bytes=100 * MEGABYTE)
AT_ITS_LIMIT = {"container_restarts": {LIMITED.id[:12]: {"death": [NOW, 137, True, "oom_at_limit"]}}}


def loop(
    each: Container,
    available_mb: int = 500,
    memories: dict[str, Any] | None = None,
    changes: tuple[Change, ...] = (),
) -> list[Incident]:
    shortage = Shortage(1000 * MEGABYTE, available_mb * MEGABYTE, 0, 0, None)
    findings = (finding("container_restarts", "warning", each.name),)
    snapshot = look(each, findings=findings, memories=memories, changes=changes, swap=swap.Reading(shortage, 1, 1))
    return restart_loop.detect(snapshot, DEFAULTS, {})


def test_killed_at_its_limit_it_gets_a_quarter_more_twice_and_then_is_stopped() -> None:
    (incident,) = loop(LIMITED, memories=AT_ITS_LIMIT)
    assert verbs(incident) == ["set_memory_limit", "set_memory_limit", "stop_container"]
    step = incident.steps[0]
    assert step.action.details == {"memory_bytes": 125 * MEGABYTE, "memory_and_swap_bytes": 125 * MEGABYTE}
    assert step.undo is not None
    assert step.undo.action.details["memory_bytes"] == 100 * MEGABYTE


@pytest.mark.parametrize(("together_mb", "raised_mb"), [(300, 325), (100, 125), (-1, -1), (None, 225)])
def test_a_raise_takes_no_swap_away(together_mb: int | None, raised_mb: int) -> None:
    def to_bytes(count_mb: int | None) -> int | None:
        return count_mb if count_mb in (None, -1) else count_mb * MEGABYTE

    limited = LIMITED._replace(memory_and_swap_limit_bytes=to_bytes(together_mb))
    step = loop(limited, memories=AT_ITS_LIMIT)[0].steps[0]
    assert step.action.details["memory_and_swap_bytes"] == to_bytes(raised_mb)
    assert step.undo is not None
    before = to_bytes(200 if together_mb is None else together_mb)
    assert step.undo.action.details == {"memory_bytes": 100 * MEGABYTE, "memory_and_swap_bytes": before}


def test_what_was_raised_twice_is_not_raised_again_however_much_later() -> None:
    (first,) = loop(LIMITED, memories=AT_ITS_LIMIT)
    undo = first.steps[0].undo
    assert undo is not None
    change = Change("1", "restart_loop", first.steps[0].action, undo.action, 86_400, "", 0, 0)
    for limit_mb, verb in ((125, "set_memory_limit"), (156, "restart_container")):
        raised = LIMITED._replace(memory_limit_bytes=limit_mb * MEGABYTE)
        (incident,) = loop(raised, memories=AT_ITS_LIMIT, changes=(change,))
        assert verbs(incident)[0] == verb


def test_what_the_version_before_remembered_of_a_death_in_words_still_counts() -> None:
    words = "it ended with 137: the OOM killer ended it at its memory limit"
    (incident,) = loop(LIMITED, memories={"container_restarts": {LIMITED.id[:12]: {"cause": words}}})
    assert verbs(incident)[0] == "set_memory_limit"
    records: tuple[Any, ...] = ({"cause": 7}, {"death": [1]}, {"death": None, "cause": words}, [])
    for damaged in records:
        (incident,) = loop(LIMITED, memories={"container_restarts": {LIMITED.id[:12]: damaged}})
        assert verbs(incident)[0] == "restart_container"


def test_without_room_on_the_host_no_limit_is_raised() -> None:
    (incident,) = loop(LIMITED, available_mb=120, memories=AT_ITS_LIMIT)
    assert verbs(incident) == ["restart_container", "restart_container", "stop_container"]


def test_an_essential_one_is_never_stopped() -> None:
    (incident,) = loop(container("n8n"))
    assert verbs(incident) == ["restart_container", "restart_container"]


def test_one_that_has_become_stable_is_left_alone_although_its_restarts_still_count() -> None:
    assert loop(container("crm", started_wall_seconds=NOW - 121)) == []
    assert loop(container("crm", "exited")) == []
    assert loop(container("crm", labels={"vpsmon.recover": "false"})) == []


def test_a_kill_at_the_limit_has_the_cause_that_the_rule_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    from vpsmon.system.kernel_log import OomKill

    kill = OomKill.__new__(OomKill, *[None] * len(OomKill._fields))  # type: ignore[arg-type]
    kill = kill._replace(microseconds=0, container_id=LIMITED.id, is_machine_wide=False)
    monkeypatch.setattr("vpsmon.stack.docker.exit_causes._read_kernel_kills", lambda host: [kill])
    host = Host(wall_clock=lambda: NOW, monotonic_clock=lambda: 0.0)
    assert find_cause(host, LIMITED, Death(wall_seconds=NOW, exit_code=137)) == "oom_at_limit"


def test_a_clock_that_was_set_back_makes_no_loop_of_one_that_has_become_stable() -> None:
    assert loop(container("crm", started_wall_seconds=NOW + 3000)) == []
    back = look(container("crm", started_wall_seconds=NOW + 3000))
    assert restart_loop.verify(back, container("crm").id, DEFAULTS) == "pending"


def test_the_old_limit_waits_for_its_own_container_only() -> None:
    raised = Change("1", "restart_loop", STOPPED.action, Action("set_memory_limit", LIMITED.id, "crm"), 600, "", 0, 0)
    rows = {"crm": finding("container_restarts", "ok", "crm"), "job": finding("container_restarts", "warning", "job")}
    both = look(LIMITED, container("job"), findings=tuple(rows.values()))
    assert restart_loop.is_calm(both, DEFAULTS, raised)
    looping = look(LIMITED, findings=(finding("container_restarts", "warning", "crm"),))
    assert not restart_loop.is_calm(looping, DEFAULTS, raised)


# --- start_failed ----------------------------------------------------------------------------------------------------

PORT_IN_USE = "driver failed: port is already allocated"


def failed(**more: Any) -> list[Incident]:
    plain = {"restart_policy": "always", "start_error": PORT_IN_USE, "finished_wall_seconds": NOW - 60}
    one = container(more.pop("name", "redis"), more.pop("status", "exited"), labels=more.pop("labels", {}))
    changes = more.pop("changes", ())
    return start_failed.detect(look(one._replace(**{**plain, **more}), changes=changes), DEFAULTS, {})


def test_what_should_run_and_could_not_be_started_is_started_a_few_times() -> None:
    (incident,) = failed()
    assert verbs(incident) == ["start_container"] * 3
    assert (
        start_failed.describe(incident, None).message
        == f"redis should run (restart policy always) and does not: {PORT_IN_USE}"
    )
    assert failed(restart_policy="unless-stopped", status="created")


@pytest.mark.parametrize(
    "more",
    [
        {"start_error": "", "exit_code": 137},  # docker stop
        {"restart_policy": "no"},
        {"status": "running"},
        {"labels": {"vpsmon.recover": "false"}},
        {"restart_policy": "on-failure", "name": "job", "exit_code": 1, "restart_count": 5},
        {"restart_policy": "on-failure", "start_error": "", "exit_code": 143, "restart_count": 5},
        {"restart_policy": "on-failure", "start_error": "", "exit_code": 1, "restart_count": 0},
    ],
)
def test_what_somebody_stopped_or_need_not_run_is_not_started(more: dict[str, Any]) -> None:
    assert failed(**more) == []


def test_an_essential_one_that_docker_has_given_up_is_started() -> None:
    given_up = {"restart_policy": "on-failure", "start_error": "", "exit_code": 1, "restart_count": 5}
    (incident,) = failed(**given_up, most_restarts=5)
    assert "it exited (1) and Docker has given up" in start_failed.describe(incident, None).message
    # Without a maximum Docker never gives up: somebody has stopped it while it waited for its next start.
    assert failed(**given_up) == []


def test_what_recovery_has_stopped_itself_or_what_lies_there_for_long_is_not_started() -> None:
    undo = Action("start_container", container("redis").id, "redis")
    assert failed(changes=(STOPPED._replace(undo=undo),)) == []
    (incident,) = failed(finished_wall_seconds=NOW - 90_000)
    assert incident.steps == ()


def test_its_start_is_verified_when_it_stays_up() -> None:
    def outcome(**more: Any) -> str:
        one = container("redis", **more)
        return start_failed.verify(look(one), one.id, DEFAULTS)

    assert outcome(started_wall_seconds=NOW - 11) == "repaired"
    assert outcome(started_wall_seconds=NOW - 9) == "pending"
    assert outcome(started_wall_seconds=NOW - 60, health="starting") == "pending"
    assert outcome(status="exited") == "failing"
    assert start_failed.verify(look(), "gone", DEFAULTS) == "gone"


# --- waha_stuck ------------------------------------------------------------------------------------------------------


def stuck(*sessions: Session, status: Status = "critical", **more: Any) -> list[Incident]:
    reading = waha.Reading(NOW, list(sessions), None, None, False)
    findings = (finding("waha_session", status, sessions[0].name),)
    return waha_stuck.detect(look(container("waha", **more), findings=findings, waha=reading), DEFAULTS, {})


def test_the_session_first_then_the_container() -> None:
    (incident,) = stuck(Session("default", "FAILED", None))
    assert verbs(incident) == ["restart_session", "restart_container", "restart_container"]
    follow_up = incident.steps[1].follow_up
    assert follow_up is not None
    assert follow_up.details == {"items": ["default"]}


def test_where_other_numbers_work_the_container_is_well_and_left_alone() -> None:
    (incident,) = stuck(Session("default", "FAILED", None), Session("sales", "WORKING", None))
    assert verbs(incident) == ["restart_session"] * 3


def test_one_that_lost_its_start_is_started() -> None:
    (incident,) = stuck(Session("default", "STOPPED", None))
    assert verbs(incident)[0] == "start_session"


def test_no_step_logs_out_and_nothing_is_done_for_a_code_or_before_its_time() -> None:
    assert stuck(Session("default", "FAILED", None), status="warning") == []
    assert stuck(Session("default", "FAILED", None), labels={"vpsmon.recover": "false"}) == []
    (incident,) = stuck(Session("default", "SCAN_QR_CODE", None))
    assert incident.steps == ()


def test_a_container_that_somebody_stopped_is_not_started_for_its_api() -> None:
    silent = waha.Reading(NOW, None, waha.Trouble("silent", "its container waha is exited"), None, False)
    findings = (finding("waha_session", "critical"),)
    snapshot = look(container("waha", "exited"), findings=findings, waha=silent)
    (incident,) = waha_stuck.detect(snapshot, DEFAULTS, {})
    assert incident.steps == ()
    memories = {"waha": {"sessions": {"default": ["down", "FAILED", 1.0], "off": ["stopped", "STOPPED", 1.0]}}}
    snapshot = look(container("waha"), findings=findings, waha=silent, memories=memories)
    (incident,) = waha_stuck.detect(snapshot, DEFAULTS, {})
    assert incident.steps[0].follow_up is not None
    assert incident.steps[0].follow_up.details == {"items": ["default"]}


# --- n8n_queue_overflow ----------------------------------------------------------------------------------------------


def queue_at(
    seconds: float, waiting: int, running: int = 1, stuck_seconds: float = 0.0, *containers: Container
) -> Snapshot:
    reading = n8n.Reading(Queue(True, waiting, running, "7", None), n8n.Missing("skipped", ""), True, False)
    memories = {"n8n": {"stuck_seconds": stuck_seconds}}
    return look(*containers, seconds=seconds, n8n=reading, memories=memories)


def follow_queue(*story: tuple[float, int]) -> list[Incident]:
    memory: dict[str, Any] = {}
    incidents: list[Incident] = []
    for seconds, waiting in story:
        snapshot = queue_at(seconds, waiting)
        memory = n8n_queue_overflow.remember(snapshot, DEFAULTS, memory)
        incidents = n8n_queue_overflow.detect(snapshot, DEFAULTS, memory)
    return incidents


def test_a_queue_that_stays_too_long_is_paused_and_one_that_drains_is_not() -> None:
    (incident,) = follow_queue((0, 1001), (300, 1500))
    assert verbs(incident)[0] == "pause_workflows"
    assert follow_queue((0, 1001)) == []
    assert follow_queue((0, 1001), (60, 5000)) == []
    assert follow_queue((0, 9000), (300, 8000), (600, 7000)) == []
    assert follow_queue((0, 9000), (300, 900), (600, 9000)) == []
    assert follow_queue((0, 1001), (8000, 1500)) == []


def test_a_dead_worker_is_found_by_its_command() -> None:
    main = container("n8n", image="n8nio/n8n", command=("n8n", "start"))
    worker = container("worker", image="n8nio/n8n:2", command=("tini", "--", "n8n", "worker"))
    other = container("celery", image="python", command=("celery", "worker"))
    (incident,) = n8n_queue_overflow.detect(queue_at(0, 3, 0, 180, main, worker, other), DEFAULTS, {})
    assert (incident.name, verbs(incident)) == ("worker", ["restart_container"] * 3)
    assert n8n_queue_overflow.detect(queue_at(0, 3, 0, 179, main, worker), DEFAULTS, {}) == []
    assert n8n_queue_overflow.detect(queue_at(0, 3, 1, 999, main, worker), DEFAULTS, {}) == []
    (missing,) = n8n_queue_overflow.detect(queue_at(0, 3, 0, 180, main), DEFAULTS, {})
    assert missing.steps == ()


def test_workflows_of_an_n8n_that_is_left_alone_are_not_paused() -> None:
    alone = container("n8n", labels={"vpsmon.recover": "false"})
    snapshot = queue_at(600, 2000, 1, 0.0, alone)
    assert n8n_queue_overflow.detect(snapshot, DEFAULTS, {"marks": [[0, 1500]]}) == []


def test_a_worker_whose_database_is_down_is_not_restarted() -> None:
    worker = container("worker", image="n8nio/n8n:2", command=("n8n", "worker"))
    snapshot = queue_at(0, 3, 0, 180, worker, container("postgres", "exited"))
    (incident,) = n8n_queue_overflow.detect(snapshot, DEFAULTS, {})
    assert incident.waits_for == Dependency("postgres", "exited")


def test_it_is_paused_once() -> None:
    pause, resume = Action("pause_workflows", "", ""), Action("resume_workflows", "", "")
    change = Change("x", "n8n_queue_overflow", pause, resume, 600, "", 0, 0)
    snapshot = queue_at(600, 2000)._replace(changes=(change,))
    assert n8n_queue_overflow.detect(snapshot, DEFAULTS, {"marks": [[0, 1500]]}) == []
