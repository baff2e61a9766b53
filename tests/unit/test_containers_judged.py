"""The judgement of containers: memory, state and restarts, without Docker."""

from collections.abc import Sequence
from typing import Any

import pytest

from vpsmon.alerts.incidents import Ledger
from vpsmon.checks.stack import container_memory, container_restarts, container_state
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Event, Finding, Previous, ReadError
from vpsmon.passes.container_names import name_containers
from vpsmon.stack.docker.cgroups import Usage
from vpsmon.stack.docker.containers import parse_container
from vpsmon.stack.docker.exit_causes import Death, describe_exit, find_cause, parse_events, recall_cause
from vpsmon.system.host import Host

NOW = 1_795_420_800.0
MEGABYTE = 1024 * 1024
SETTINGS = Settings()


def judge_memory(used_bytes: int, limit_bytes: int | None) -> Finding:
    measured = container_memory.Measured("a" * 64, 7, "n8n", Usage(used_bytes, limit_bytes, 1.0, 0))
    return container_memory.judge(container_memory.Reading([measured], 100.0), SETTINGS, None)[0]


@pytest.mark.parametrize(
    ("used", "limit", "status", "is_clear"),
    [
        (0, 100, "ok", True),
        (80, 100, "ok", True),
        (85, 100, "ok", False),
        (90, 100, "ok", False),
        (91, 100, "warning", False),
        (97, 100, "warning", False),
        (98, 100, "critical", False),
        (101, 100, "critical", False),
        (1, 0, "critical", False),
        (90_000, None, "ok", True),
    ],
)
def test_memory_is_judged_by_its_share_of_the_limit(used: int, limit: int | None, status: str, is_clear: bool) -> None:
    finding = judge_memory(used * MEGABYTE, None if limit is None else limit * MEGABYTE)
    assert (finding.status, finding.is_clear, finding.value) == (status, is_clear, used * MEGABYTE)


def test_the_message_names_usage_limit_share_and_the_limit_that_was_passed() -> None:
    finding = judge_memory(98 * MEGABYTE, 100 * MEGABYTE)
    assert finding.message == "98 MB of its limit of 100 MB (98 %), critical above 97 %"
    assert finding.object == "n8n"


def test_a_container_whose_memory_is_unknown_has_a_row_without_a_number() -> None:
    measured = container_memory.Measured("a", 7, "n8n", None, "unknown", "memory.stat is empty")
    row = container_memory.judge(container_memory.Reading([measured], 1.0), SETTINGS, None)[0]
    assert (row.status, row.value, row.reason) == ("unknown", None, "memory.stat is empty")


@pytest.mark.parametrize("check", [container_memory, container_state, container_restarts])
def test_without_containers_there_is_one_row_that_says_so(check: Any) -> None:
    needed = set(check.Reading._fields) - set(check.Reading._field_defaults) - {"containers"}
    rows = check.judge(check.Reading([], **dict.fromkeys(needed, 0.0)), SETTINGS, None)
    assert [(row.check, row.object, row.status) for row in rows] == [(*check.ROWS, None, "skipped")]
    assert rows[0].reason


def test_cpu_is_a_share_of_one_processor_since_the_pass_before() -> None:
    def reading(cpu_seconds: float | None, at: float, pid: int = 7) -> container_memory.Reading:
        measured = container_memory.Measured("a" * 64, pid, "n8n", Usage(1, None, cpu_seconds, 0))
        return container_memory.Reading([measured], at)

    previous = Previous(container_memory.remember(reading(10.0, 100.0), None), 30.0)
    assert container_memory.compute_cpu_percents(reading(25.0, 130.0), previous) == {"n8n": 50.0}
    assert container_memory.compute_cpu_percents(reading(25.0, 130.0, pid=8), previous) == {}
    assert container_memory.compute_cpu_percents(reading(9.0, 130.0), previous) == {}
    assert container_memory.compute_cpu_percents(reading(None, 130.0), previous) == {}
    assert container_memory.compute_cpu_percents(reading(25.0, 130.0), None) == {}


def state_of(**changes: Any) -> container_state.Observed:
    plain = container_state.Observed("a" * 64, "job", False, "running", 0, "", False, "", NOW - 9000, None)
    return plain._replace(**changes)


# A pass has looked before: what has ended since is news.
SEEN_BEFORE = Previous({"names": {}}, 30.0)


def judge_state(**changes: Any) -> Finding:
    return container_state.judge(container_state.Reading([state_of(**changes)], NOW), SETTINGS, SEEN_BEFORE)[0]


@pytest.mark.parametrize(
    ("changes", "status", "essential_status"),
    [
        ({"status": "running"}, "ok", "ok"),
        ({"status": "running", "health": "healthy"}, "ok", "ok"),
        ({"status": "running", "health": "starting"}, "ok", "ok"),
        ({"status": "running", "health": "unhealthy"}, "warning", "critical"),
        ({"status": "restarting", "exit_code": 1}, "warning", "critical"),
        ({"status": "exited", "exit_code": 0}, "ok", "critical"),
        ({"status": "exited", "exit_code": 1}, "warning", "critical"),
        ({"status": "exited", "exit_code": 143}, "ok", "critical"),
        ({"status": "exited", "exit_code": 137}, "ok", "critical"),
        ({"status": "exited", "exit_code": 137, "is_oom_reported": True}, "warning", "critical"),
        ({"status": "exited", "exit_code": 137, "cause": "oom_of_machine"}, "warning", "critical"),
        ({"status": "exited", "exit_code": 143, "is_replaced": True}, "ok", "ok"),
        ({"status": "exited", "exit_code": 0, "start_error": "address already in use"}, "warning", "critical"),
        ({"status": "paused"}, "ok", "critical"),
        ({"status": "dead"}, "warning", "critical"),
        ({"status": "removing"}, "ok", "ok"),
        ({"status": "created", "created_wall_seconds": NOW - 5}, "ok", "ok"),
        ({"status": "created"}, "ok", "critical"),
        ({"status": "created", "start_error": "port is already allocated"}, "warning", "critical"),
        ({"status": "created", "created_wall_seconds": NOW - 5, "exit_code": 127}, "warning", "critical"),
        ({"status": "exited", "exit_code": 1, "inspect_error": "damaged"}, "unknown", "unknown"),
    ],
)
def test_each_state_is_judged_by_whether_the_container_is_essential(
    changes: dict[str, Any], status: str, essential_status: str
) -> None:
    assert judge_state(**changes).status == status
    finding = judge_state(**changes, is_essential=True)
    assert (finding.status, finding.value) == (essential_status, None)


@pytest.mark.parametrize("exit_code", [1, 137, 143])
def test_what_had_ended_before_the_first_look_is_a_row_and_no_alert_until_it_ends_again(exit_code: int) -> None:
    def look(previous: Previous | None, **changes: Any) -> tuple[Finding, Previous]:
        container = state_of(status="exited", exit_code=exit_code, is_essential=True, **changes)
        reading = container_state.Reading([container], NOW)
        finding = container_state.judge(reading, SETTINGS, previous)[0]
        return finding, Previous(container_state.remember(reading, previous), 30.0)

    first, previous = look(None, finished_wall_seconds=NOW - 300 * 86_400)
    assert (first.status, "300 d" in first.message, "before vpsmon first looked" in first.message) == ("ok", True, True)
    again, previous = look(previous, finished_wall_seconds=NOW - 300 * 86_400)
    assert again.status == "ok"
    ended_again, previous = look(previous, finished_wall_seconds=NOW - 5)
    assert ended_again.status == "critical"
    assert look(previous, finished_wall_seconds=NOW - 5)[0].status == "critical"


def test_an_order_of_the_owner_is_reported_once_and_a_crash_as_often_as_the_limits_say() -> None:
    def count_notices(exit_code: int) -> int:
        state: dict[str, Any] = {}
        count = 0
        for hour in range(50):
            finding = judge_state(status="exited", exit_code=exit_code, is_essential=True)
            ledger = Ledger(state, NOW + 3600 * hour, 600.0)
            count += len(ledger.judge([finding], {"container_state"}))
            state = ledger.to_state()
        return count

    assert count_notices(143) == 1
    assert count_notices(1) > 1


def test_an_incident_stays_open_until_the_health_check_has_passed() -> None:
    assert not judge_state(health="starting").is_clear
    assert judge_state(health="healthy").is_clear


@pytest.mark.parametrize(
    ("exit_code", "cause", "text"),
    [
        (137, "oom_at_limit", "exited (137): the OOM killer ended it at its memory limit"),
        (137, "", "exited (137): killed manually, by a stop that timed out"),
        (134, "heap_full", "the JavaScript heap was full"),
        (134, None, "it aborted"),
        (143, None, "it was asked to stop (SIGTERM)"),
        (3, None, "exited (3) (1 min ago)"),
    ],
)
def test_the_ways_to_end_are_told_apart(exit_code: int, cause: str | None, text: str) -> None:
    finding = judge_state(status="exited", exit_code=exit_code, cause=cause, finished_wall_seconds=NOW - 60)
    assert text in finding.message


def test_a_failed_start_is_told_and_not_how_it_had_ended_before() -> None:
    finding = judge_state(status="exited", exit_code=137, start_error="address already in use")
    assert finding.message == "not running: its last start failed: address already in use"


def test_an_engine_that_stays_away_is_critical_after_a_minute_and_keeps_the_names() -> None:
    memory = container_state.remember(container_state.Reading([state_of()], NOW), None)
    statuses = []
    for later in (30, 60, 89, 91):
        previous = Previous(memory, 30.0)
        reading = container_state.Reading([], NOW + later, "Docker does not answer")
        (finding,) = container_state.judge(reading, SETTINGS, previous)
        statuses.append(finding.status)
        memory = container_state.remember(reading, previous)
    assert statuses == ["unknown", "unknown", "unknown", "critical"]
    assert finding.message == "Docker has not been responding for 1 min 1 s; it had 1 container"
    back = container_state.Reading([state_of()], NOW + 120)
    assert "trouble_since" not in container_state.remember(back, Previous(memory, 30.0))


def test_a_cause_that_the_version_before_remembered_in_words_still_counts() -> None:
    words = "the OOM killer ended it because the whole machine was out of memory"
    assert (recall_cause(words), recall_cause("oomd"), recall_cause("of a newer version")) == (
        "oom_of_machine",
        "oomd",
        "",
    )


def test_names_and_causes_are_remembered_for_containers_that_exist_only() -> None:
    dead = state_of(status="exited", exit_code=137, finished_wall_seconds=NOW, cause="oomd")
    memory = container_state.remember(container_state.Reading([dead, state_of(id="b" * 64)], NOW), None)
    assert memory["names"] == {"a" * 12: "job", "b" * 12: "job"}
    assert memory["causes"] == {"a" * 12: [NOW, "oomd"]}


class Essentials:
    """Passes that see which of the essential names have a container."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] | None = None

    def look(self, after_seconds: float, settings: Settings = SETTINGS, **essentials: str) -> dict[str, str]:
        """Return the status of each container that is missed."""
        seen = [state_of(id=name.ljust(64, "0"), name=name) for name in essentials.values()]
        reading = container_state.Reading(seen, NOW, essentials=essentials)
        previous = None if self.memory is None else Previous(self.memory, after_seconds)
        rows = container_state.judge(reading, settings, previous)
        self.memory = container_state.remember(reading, previous)
        return {row.object or "": row.status for row in rows if row.object not in essentials.values()}


def test_an_essential_container_that_is_removed_is_missed_for_a_day() -> None:
    passes = Essentials()
    assert passes.look(0, n8n="crm-n8n-1", redis="redis") == {}
    assert passes.look(30, redis="redis") == {"crm-n8n-1": "ok"}
    assert passes.look(299, redis="redis") == {"crm-n8n-1": "ok"}
    assert passes.look(30, redis="redis") == {"crm-n8n-1": "critical"}
    assert passes.look(0, redis="redis") == {"crm-n8n-1": "critical"}, "after a reboot"
    assert passes.look(86_000, redis="redis") == {"crm-n8n-1": "critical"}
    assert passes.look(100, redis="redis") == {}
    assert passes.look(100, redis="redis") == {}


def test_what_comes_back_or_never_was_or_is_not_essential_any_more_is_not_missed() -> None:
    passes = Essentials()
    assert passes.look(0, n8n="n8n") == {}
    assert passes.look(30) == {"n8n": "ok"}
    assert passes.look(30, n8n="crm-n8n-1") == {}, "made anew under another name"
    assert passes.look(30) == {"crm-n8n-1": "ok"}
    assert passes.look(400) == {"crm-n8n-1": "critical"}
    assert passes.look(30, SETTINGS._replace(ESSENTIAL_CONTAINERS=("redis",))) == {"": "skipped"}


def test_a_removed_one_says_what_to_do() -> None:
    memory = {"essentials": {"n8n": ["crm-n8n-1", 600.0]}}
    (row,) = container_state.judge(container_state.Reading([], NOW), SETTINGS, Previous(memory, 30.0))
    assert row.message == "gone for 10 min: no container or compose service is called n8n any more, and it is essential"
    assert row.advice is not None
    assert "ESSENTIAL_CONTAINERS" in row.advice


class Life:
    """A container that is looked at again and again."""

    def __init__(self) -> None:
        self.previous: Previous | None = None
        self.seconds = 0.0

    def look(self, after_seconds: float = 30.0, age_seconds: float = 9000, **changes: Any) -> Finding:
        self.seconds += after_seconds
        now = NOW + self.seconds
        plain = container_restarts.Observed("a" * 64, "n8n", "running", 0, now - age_seconds, NOW - 5000)
        reading = container_restarts.Reading([plain._replace(**changes)], now, 1000 + self.seconds, 300)
        finding = container_restarts.judge(reading, SETTINGS, self.previous)[0]
        self.previous = Previous(container_restarts.remember(reading, self.previous), after_seconds)
        return finding


def test_a_healthy_one_that_is_restarted_by_hand_again_and_again_is_no_loop() -> None:
    life = Life()
    life.look()
    for number in range(7):
        stopped = Death(0.0, (143, 137, 0)[number % 3])
        finding = life.look(after_seconds=40, started_wall_seconds=float(number), death=stopped)
        assert (finding.value, finding.status) == (number + 1, "ok")
    assert finding.message.startswith(
        "7 restarts in 5 min, 7 of them by hand or by a tool; before the last one it exited"
    )


@pytest.mark.parametrize("death", [Death(0.0, 3), Death(0.0, 137, cause="oom_at_limit")])
def test_one_that_ends_by_itself_and_is_started_by_a_tool_is_a_loop(death: Death) -> None:
    life = Life()
    life.look()
    findings = [life.look(after_seconds=40, started_wall_seconds=float(number), death=death) for number in range(7)]
    assert findings[-1].status == "warning"


def test_the_first_look_has_no_count_and_says_so() -> None:
    finding = Life().look(restart_count=9)
    assert (finding.status, finding.value) == ("skipped", None)
    assert finding.reason and "first time" in finding.reason


def test_restarts_of_a_young_container_all_count_at_the_first_look() -> None:
    assert Life().look(age_seconds=100, restart_count=6).status == "warning"
    assert Life().look(age_seconds=100, restart_count=5).status == "ok"


def test_restarts_are_counted_over_the_window_and_forgotten_after_it() -> None:
    life = Life()
    life.look(restart_count=2)
    assert [life.look(restart_count=count, started_wall_seconds=count).value for count in (4, 4, 7)] == [2, 2, 5]
    assert life.look(restart_count=8, started_wall_seconds=8.0).status == "warning"
    assert life.look(after_seconds=400, restart_count=8, started_wall_seconds=8.0).value == 0


def test_a_count_that_falls_was_reset_and_counts_from_the_new_value() -> None:
    life = Life()
    life.look(restart_count=40)
    assert life.look(restart_count=2, started_wall_seconds=1.0).value == 2


def test_one_restart_by_hand_counts_once_and_is_no_loop() -> None:
    life = Life()
    life.look(restart_count=0)
    findings = [life.look(started_wall_seconds=1.0) for _ in range(4)]
    assert [(finding.value, finding.status) for finding in findings] == [(1, "ok")] * 4


def test_a_restart_that_was_counted_while_waiting_is_not_counted_again_when_it_happens() -> None:
    life = Life()
    life.look(restart_count=7)
    assert life.look(status="restarting", restart_count=8).value == 1
    assert life.look(restart_count=8, started_wall_seconds=2.0).value == 1


def test_a_new_container_of_a_deployment_is_no_restart() -> None:
    life = Life()
    life.look(restart_count=3)
    assert life.look(id="b" * 64, age_seconds=10, started_wall_seconds=NOW).value == 0
    assert set(life.previous.memory) == {"b" * 12} if life.previous else False


def test_three_looks_in_a_row_at_a_restarting_container_are_a_loop_below_the_limit() -> None:
    life = Life()
    statuses = [life.look(after_seconds=60, status="restarting", restart_count=20 + n // 2).status for n in range(4)]
    assert statuses == ["skipped", "ok", "warning", "warning"]
    calm = life.look(restart_count=21, started_wall_seconds=NOW)
    assert (calm.status, calm.is_clear) == ("ok", True)


def test_three_short_runs_in_a_row_are_a_loop_below_the_limit() -> None:
    life = Life()
    life.look(restart_count=20)
    findings = []
    for number in range(3):
        started = NOW + life.seconds + 60 - 3
        findings.append(life.look(after_seconds=60, restart_count=21 + number, started_wall_seconds=started))
    assert [finding.status for finding in findings] == ["ok", "ok", "warning"]


def test_looking_often_at_one_short_run_is_no_loop() -> None:
    life = Life()
    life.look(restart_count=20)
    started = NOW + life.seconds
    looks = [life.look(after_seconds=1, restart_count=21, started_wall_seconds=started) for _ in range(6)]
    assert {finding.status for finding in looks} == {"ok"}


def test_what_is_remembered_stays_small_whatever_happens() -> None:
    life = Life()
    for number in range(500):
        life.look(after_seconds=0.1, restart_count=number, started_wall_seconds=float(number))
    assert life.previous is not None
    assert len(life.previous.memory["a" * 12]["restarts"]) <= 60


def test_events_of_docker_give_the_latest_death_and_whether_memory_ran_out() -> None:
    lines = [
        '{"Action":"oom","Actor":{"ID":"a","Attributes":{}},"timeNano":1000000000}',
        '{"Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"137"}},"timeNano":2000000000}',
        '{"Action":"die","Actor":{"ID":"b","Attributes":{"exitCode":"1"}},"timeNano":3000000000}',
        '{"Action":"die","Actor":{"ID":"b","Attributes":{"exitCode":"2"}},"timeNano":4000000000}',
    ]
    broken = ["", "{", "[]", "null", '{"Action":"die"}', '{"Action":"die","Actor":{"ID":"c","Attributes":{}}}']
    assert parse_events(lines + broken) == {
        "a": Death(wall_seconds=2.0, exit_code=137, is_oom_reported=True),
        "b": Death(wall_seconds=4.0, exit_code=2),
    }


class Witness(Host):
    """A machine whose kernel log may not be read, and whose journal of systemd-oomd holds this."""

    def __init__(self, journal: str | None) -> None:
        super().__init__(kernel_log="/nowhere", wall_clock=lambda: NOW)
        self.journal = journal

    def run(self, command: Sequence[str], timeout_seconds: float) -> str:
        if command[0] != "journalctl" or self.journal is None:
            raise ReadError(f"{command[0]} is not installed")
        return self.journal


OOMD_LINE = "Killed /system.slice/docker-{}.scope due to memory pressure for /system.slice being 51.07% > 50.00%"


@pytest.mark.parametrize(
    ("journal", "is_oom_reported", "cause"),
    [
        (OOMD_LINE.format("a" * 64), False, "oomd"),
        (OOMD_LINE.format("b" * 64), False, ""),
        ("", True, "oom_in_container"),
        (None, False, ""),
    ],
)
def test_a_kill_that_the_kernel_did_not_log_is_told_by_systemd_oomd_or_by_docker(
    journal: str | None, is_oom_reported: bool, cause: str
) -> None:
    container = parse_container({"Id": "a" * 64})
    assert find_cause(Witness(journal), container, Death(NOW - 5, 137, is_oom_reported)) == cause


def test_an_exit_status_without_a_meaning_is_just_told() -> None:
    assert describe_exit(42) == "exited (42)"


def test_a_victim_of_the_oom_killer_gets_the_name_of_its_container_and_keeps_its_key() -> None:
    event = Event("boot:1:2", "0123456789ab", "OOM killer ended x in container 0123456789ab: why", NOW)
    finding = Finding(
        check="oom_kills", status="critical", message=event.message, value=1, unit="count", events=(event,)
    )
    named = name_containers([finding], {"0123456789ab": "crm-waha-1"})[0]
    assert named.message == named.events[0].message == "OOM killer ended x in container crm-waha-1: why"
    assert (named.events[0].object, named.events[0].key) == ("crm-waha-1", "boot:1:2")
    assert name_containers([finding], {}) == [finding]
