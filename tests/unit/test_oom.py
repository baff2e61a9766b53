"""OOM kills: the kernel's lines, hostile names, the cursor, and the counter for what the log has lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.host import BOOT_ID, FakeMachine
from vpsmon.checks.kernel import oom
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Event, Finding, Previous
from vpsmon.system.kernel_log import OomKill, find_kills, parse_dmesg, parse_kmsg

CONTAINER = "0123456789abcdef" * 4
# Captured on Debian 12, Linux 6.18, cgroup v1, Docker 20.10: a container with --memory 20m.
CGROUP_KILL = [
    f"6,5476,2453760890,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={CONTAINER},mems_allowed=0,"
    f"oom_memcg=/docker/{CONTAINER},task_memcg=/docker/{CONTAINER},task=tail,pid=2731,uid=0\n",
    "3,5477,2453760900,-;Memory cgroup out of memory: Killed process 2731 (tail) total-vm:22232kB, anon-rss:20096kB, "
    "file-rss:1264kB, shmem-rss:0kB, UID:0 pgtables:84kB oom_score_adj:0\n SUBSYSTEM=x\n",
]
# Captured on Debian 12, Linux 6.1, cgroup v2, a 1 GB machine: the machine itself ran out of memory.
MACHINE_KILL = [
    "6,604,150164600,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=redis-server.service,"
    "mems_allowed=0,global_oom,task_memcg=/system.slice/ssh.service,task=python3,pid=932,uid=0\n",
    "3,605,150164642,-;Out of memory: Killed process 932 (python3) total-vm:1447496kB, anon-rss:792136kB, "
    "file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:2404kB oom_score_adj:0\n",
]


def kills_in(*records: str) -> list[OomKill]:
    return find_kills(parse_kmsg(records))


def test_a_kill_in_a_container_is_read_with_victim_size_and_container() -> None:
    (kill,) = kills_in(*CGROUP_KILL)
    assert kill == OomKill(5477, 2453760900, 2731, "tail", (20096 + 1264) * 1024, False, CONTAINER)


def test_a_kill_of_the_whole_machine_is_told_apart() -> None:
    (kill,) = kills_in(*MACHINE_KILL)
    assert (kill.name, kill.pid, kill.is_machine_wide, kill.container_id) == ("python3", 932, True, None)


@pytest.mark.parametrize(
    "cgroup",
    [
        f"/docker/{CONTAINER}",
        f"/system.slice/docker-{CONTAINER}.scope",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{CONTAINER}.scope",
        f"/machine.slice/libpod-{CONTAINER}.scope/container",
        f"/docker/{CONTAINER}/nested",
    ],
)
def test_the_container_is_found_in_the_cgroup_of_every_driver(cgroup: str) -> None:
    summary = CGROUP_KILL[0].replace(f"task_memcg=/docker/{CONTAINER}", f"task_memcg={cgroup}")
    assert kills_in(summary, CGROUP_KILL[1])[0].container_id == CONTAINER


def test_a_process_that_names_itself_like_a_field_confuses_nothing() -> None:
    # Provoked with a program called `a,pid=1,uid=9`; a name may hold up to 15 bytes.
    summary = CGROUP_KILL[0].replace("task=tail,pid=2731", "task=a,pid=1,uid=9,pid=2731")
    (kill,) = kills_in(summary, CGROUP_KILL[1].replace("(tail)", "(a,pid=1,uid=9)"))
    assert (kill.pid, kill.name, kill.container_id) == (2731, "a,pid=1,uid=9", CONTAINER)
    (kill,) = kills_in(CGROUP_KILL[1].replace("(tail)", "(x) total-vm:1)"))
    assert (kill.pid, kill.name) == (2731, "x) total-vm:1")


def test_a_line_that_a_program_wrote_into_the_log_is_not_the_kernel_s() -> None:
    forged = "12,900,1,-;Out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:1kB"
    assert kills_in(forged) == []


@pytest.mark.parametrize(
    "record", ["", "garbage", "3,x,5,-;Killed process", ";", "3,1,1,-;Out of memory: Killed process"]
)
def test_records_of_another_form_are_passed_over(record: str) -> None:
    assert kills_in(record) == []


def test_all_victims_of_a_group_kill_belong_to_its_container() -> None:
    second = CGROUP_KILL[1].replace("5477", "5478").replace("2731 (tail)", "2732 (sh)")
    assert [kill.container_id for kill in kills_in(*CGROUP_KILL, second)] == [CONTAINER, CONTAINER]


def test_dmesg_gives_the_same_kill_without_a_sequence_number() -> None:
    output = "<6>[ 2453.760890] " + CGROUP_KILL[0].partition(";")[2] + "<3>[ 2453.760900] "
    output += CGROUP_KILL[1].partition(";")[2]
    (kill,) = find_kills(parse_dmesg(output))
    assert (kill.sequence, kill.microseconds, kill.container_id) == (-1, 2453760900, CONTAINER)


# No log is empty: the kernel's version is its first line.
BOOT_RECORD = "5,0,0,-;Linux version 6.1.0"


class Log:
    """A machine on which processes are killed, and the passes that look at it."""

    def __init__(self, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine = machine
        self.records = [BOOT_RECORD]
        self.memory: dict[str, Any] | None = None
        self._monkeypatch = monkeypatch

    def kill(self, count: int = 1, is_logged: bool = True) -> None:
        counter = int(next(line.split()[1] for line in self._vmstat() if line.startswith("oom_kill"))) + count
        self.machine.change("vmstat", "oom_kill", counter)
        for number in range(count):
            pid = str(1000 + len(self.records) + number)
            text = MACHINE_KILL[1].partition(";")[2].replace("932", pid)
            if is_logged:
                self.records.append(f"3,{len(self.records)},{len(self.records) + 1},-;{text}")

    def _vmstat(self) -> list[str]:
        return (self.machine.root / "vmstat").read_text().splitlines()

    def pass_once(self) -> Finding:
        host = self.machine.host()
        self._monkeypatch.setattr(host, "read_kernel_log", lambda: iter(list(self.records)))
        previous = None if self.memory is None else Previous(self.memory, 30.0)
        reading = oom.read(host, DEFAULTS, previous)
        (finding,) = oom.judge(reading, DEFAULTS, previous)
        self.memory = oom.remember(reading, previous)
        return finding

    def events(self) -> list[Event]:
        return list(self.pass_once().events)


@pytest.fixture
def log(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(machine, monkeypatch)


def test_kills_from_before_the_first_pass_are_no_news(log: Log) -> None:
    log.kill(3)
    assert log.events() == []
    assert log.events() == []


def test_each_kill_is_found_once(log: Log) -> None:
    log.pass_once()
    log.kill(2)
    finding = log.pass_once()
    assert (finding.status, finding.value, len(finding.events)) == ("critical", 2, 2)
    assert "python3 (pid 1001, 774 MB resident): the whole machine was out of memory" in finding.message
    assert log.pass_once().value == 0


def test_a_kill_keeps_its_key_when_the_cursor_is_lost(log: Log) -> None:
    log.pass_once()
    before = log.memory
    log.kill()
    (first,) = log.events()
    log.memory = before
    (again,) = log.events()
    assert first.key == again.key


def test_a_kill_that_the_log_does_not_hold_yet_gets_its_name_in_the_next_pass(log: Log) -> None:
    log.pass_once()
    log.kill(is_logged=False)
    assert log.events() == []
    log.machine.change("vmstat", "oom_kill", 0)
    log.kill()
    assert [event.object for event in log.events()] == ["python3"]
    assert log.events() == []


def test_kills_that_the_log_has_lost_are_counted(log: Log) -> None:
    log.pass_once()
    log.kill(5, is_logged=False)
    log.pass_once()
    (event,) = log.events()
    assert event.message == "OOM killer ended 5 more processes: the kernel log no longer holds the name"
    assert log.events() == []


def test_kills_since_a_reboot_are_news(log: Log) -> None:
    log.kill(2)
    log.pass_once()
    del log.records[1:]
    log.machine.change("vmstat", "oom_kill", 0)
    log.machine.write({"sys/kernel/random/boot_id": BOOT_ID.replace("1", "9")})
    log.kill()
    assert len(log.events()) == 1
    assert log.events() == []


def test_without_the_kernel_log_the_counter_still_tells(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.pass_once()
    log.kill()
    monkeypatch.setattr("vpsmon.system.host.Host.run", lambda *arguments: "")
    host = log.machine.host()
    (log.machine.root / "kmsg").unlink()
    previous = Previous(log.memory or {}, 30.0)

    def deny(*arguments: object) -> str:
        from vpsmon.core.findings import ReadError

        raise ReadError("dmesg failed: Operation not permitted")

    monkeypatch.setattr(host, "run", deny)
    (finding,) = oom.judge(oom.read(host, DEFAULTS, previous), DEFAULTS, previous)
    assert (finding.status, finding.value) == ("critical", 1)
    assert "CAP_SYSLOG" in (finding.reason or "")


# In the form of Linux 4.15 (mm/oom_kill.c and mm/memcontrol.c of that version): the machine, and a control group.
OLD_MACHINE_KILL = [
    "6,700,90000000,-;Out of memory: Kill process 4711 (node) score 812 or sacrifice child\n",
    "3,701,90000001,-;Killed process 4711 (node) total-vm:1447496kB, anon-rss:792136kB, file-rss:4kB, shmem-rss:0kB\n",
]
OLD_CGROUP_KILL = [
    f"6,710,91000000,-;Task in /docker/{CONTAINER} killed as a result of limit of /docker/{CONTAINER}\n",
    "6,711,91000001,-;Memory cgroup out of memory: Kill process 4712 (node) score 900 or sacrifice child\n",
    "3,712,91000002,-;Killed process 4712 (node) total-vm:1447496kB, anon-rss:792136kB, file-rss:4kB, shmem-rss:0kB\n",
]


def test_kills_of_an_older_kernel_have_their_scope_and_container() -> None:
    group, machine = kills_in(*OLD_CGROUP_KILL, *OLD_MACHINE_KILL)
    assert (group.pid, group.is_machine_wide, group.container_id) == (4712, False, CONTAINER)
    assert (machine.pid, machine.is_machine_wide, machine.container_id) == (4711, True, None)


def to_dmesg(record: str, stamp: str) -> str:
    return f"<3>{stamp}{record.partition(';')[2]}"


@pytest.mark.parametrize("stamp", ["[ 2453.760900] ", "[ 2453.760900][    T1] ", "[ 2453.760900][   C0] "])
def test_dmesg_names_the_victim_with_and_without_the_caller(stamp: str) -> None:
    (kill,) = find_kills(parse_dmesg("".join(to_dmesg(record, stamp) for record in CGROUP_KILL)))
    assert (kill.microseconds, kill.pid, kill.container_id) == (2453760900, 2731, CONTAINER)


def test_a_log_without_times_names_as_many_victims_as_the_counter_has_new_ones(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.records = []
    printed = "".join(to_dmesg(record, "") for record in CGROUP_KILL)
    monkeypatch.setattr("vpsmon.system.host.Host.run", lambda *arguments: printed)
    log.kill(is_logged=False)
    assert log.events() == []
    printed += "".join(to_dmesg(record, "") for record in MACHINE_KILL)
    log.kill(is_logged=False)
    (event,) = log.events()
    assert event.message.startswith("OOM killer ended python3 (pid 932, 774 MB resident)")
    assert log.events() == []
