"""The kernel checks on a /proc of the test's own: healthy, at the limit, over it, absent and malformed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.host import FakeMachine
from vpsmon.checks.kernel import disk, memory, oom, pressure, refaults, swap
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Finding, NotApplicable, Previous, ReadError
from vpsmon.system.disk_space import DiskSpace
from vpsmon.system.proc import PAGE_BYTES

KB_IN_MB = 1024


def judge_memory(machine: FakeMachine, available_kb: int) -> Finding:
    machine.change("meminfo", "MemAvailable:", available_kb)
    (finding,) = memory.judge(memory.read(machine.host(), DEFAULTS, None), DEFAULTS, None)
    return finding


@pytest.mark.parametrize(
    ("available_mb", "status", "is_clear"),
    [
        (600, "ok", True),
        (110, "ok", True),
        (109, "ok", False),
        (100, "ok", False),
        (99, "warning", False),
        (50, "warning", False),
        (49, "critical", False),
        (0, "critical", False),
    ],
)
def test_available_memory_is_judged_below_its_limits(
    machine: FakeMachine, available_mb: int, status: str, is_clear: bool
) -> None:
    finding = judge_memory(machine, available_mb * KB_IN_MB)
    assert (finding.status, finding.is_clear) == (status, is_clear)
    assert finding.value == available_mb * 1024 * 1024


def test_the_message_names_value_total_and_limit(machine: FakeMachine) -> None:
    assert judge_memory(machine, 42 * KB_IN_MB).message == "42 MB of 977 MB memory available, critical below 50 MB"


@pytest.mark.parametrize("text", ["", "garbage", "MemTotal: x kB\n", "\x00\x01\n", "MemTotal: -5 kB\n"])
def test_a_broken_meminfo_is_an_error_that_names_the_file(machine: FakeMachine, text: str) -> None:
    machine.write({"meminfo": text})
    with pytest.raises(ReadError, match="meminfo"):
        memory.read(machine.host(), DEFAULTS, None)


def judge_pressure(machine: FakeMachine, some: str, full: str, previous: Previous | None = None) -> Finding:
    machine.write({"pressure/memory": f"some {some}\nfull {full}\n"})
    (finding,) = pressure.judge(pressure.read(machine.host(), DEFAULTS, None), DEFAULTS, previous)
    return finding


@pytest.mark.parametrize(
    ("some", "full", "score", "status"),
    [
        ("0.00", "0.00", 0, "ok"),
        ("99.00", "20.00", 59.5, "ok"),
        ("100.00", "20.00", 60, "warning"),
        ("100.00", "60.00", 80, "critical"),
        ("100.00", "100.00", 100, "critical"),
    ],
)
def test_the_pressure_score_is_the_mean_of_some_and_full(
    machine: FakeMachine, some: str, full: str, score: float, status: str
) -> None:
    tail = "avg60=0.00 avg300=0.00 total=1000"
    finding = judge_pressure(machine, f"avg10={some} {tail}", f"avg10={full} {tail}")
    assert (finding.value, finding.status) == (score, status)


def test_a_stall_between_two_passes_is_not_lost(machine: FakeMachine) -> None:
    memory_before = dict(pressure.Reading(0.0, 0.0, 0, 0)._asdict())
    some = "avg10=1.00 avg60=0.00 avg300=0.00 total=27000000"
    full = "avg10=1.00 avg60=0.00 avg300=0.00 total=21000000"
    finding = judge_pressure(machine, some, full, Previous(memory_before, 30.0))
    assert finding.value == 80  # 27 s and 21 s of 30 s
    short_span = judge_pressure(machine, some, full, Previous(memory_before, 1.0))
    assert short_span.value == 1


def test_a_kernel_without_pressure_says_what_would_change_that(machine: FakeMachine) -> None:
    (machine.root / "pressure/memory").unlink()
    with pytest.raises(NotApplicable, match="psi=1"):
        pressure.read(machine.host(), DEFAULTS, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some\nfull\n",
        "some avg10=0.00 total=5\n",
        "some avg10=x total=1\nfull avg10=1 total=1\n",
        "some avg10=nan total=1\nfull avg10=0.00 total=1\n",
        "some avg10=155000.00 total=1\nfull avg10=0.00 total=1\n",
    ],
)
def test_a_broken_pressure_file_is_an_error(machine: FakeMachine, text: str) -> None:
    machine.write({"pressure/memory": text})
    with pytest.raises(ReadError, match="format"):
        pressure.read(machine.host(), DEFAULTS, None)


def read_swap(machine: FakeMachine) -> swap.Reading:
    return swap.read(machine.host(), DEFAULTS, None)


def judge_swap(machine: FakeMachine, previous: Previous | None = None) -> dict[str, Finding]:
    return {finding.check: finding for finding in swap.judge(read_swap(machine), DEFAULTS, previous)}


@pytest.mark.parametrize(("used_mb", "status"), [(0, "ok"), (921, "ok"), (922, "warning"), (1004, "critical")])
def test_a_swap_smaller_than_the_limits_counts_when_it_is_nearly_full(
    machine: FakeMachine, used_mb: int, status: str
) -> None:
    machine.change("meminfo", "SwapFree:", (1024 - used_mb) * KB_IN_MB)
    finding = judge_swap(machine)["swap_usage"]
    assert (finding.status, finding.value) == (status, used_mb * 1024 * 1024)


@pytest.mark.parametrize(
    ("used_mb", "status"), [(1024, "ok"), (1025, "warning"), (2048, "warning"), (2049, "critical")]
)
def test_a_large_swap_is_judged_by_the_limits_alone(machine: FakeMachine, used_mb: int, status: str) -> None:
    machine.change("meminfo", "SwapTotal:", 8192 * KB_IN_MB)
    machine.change("meminfo", "SwapFree:", (8192 - used_mb) * KB_IN_MB)
    assert judge_swap(machine)["swap_usage"].status == status


def test_without_swap_every_swap_row_says_so(machine: FakeMachine) -> None:
    machine.change("meminfo", "SwapTotal:", 0)
    machine.change("meminfo", "SwapFree:", 0)
    findings = judge_swap(machine)
    assert {finding.status for finding in findings.values()} == {"skipped"}
    assert all("mkswap" in (finding.reason or "") for finding in findings.values())
    assert (findings["swap_in"].value, findings["swap_out"].value) == (None, None)


def test_swap_rates_are_kilobytes_of_pages_over_real_time(machine: FakeMachine) -> None:
    findings = judge_swap(machine, Previous({"pages_in": 0, "pages_out": 1000}, 10.0))
    assert findings["swap_in"].value == 1000 * PAGE_BYTES / 1024 / 10
    assert findings["swap_out"].value == 1000 * PAGE_BYTES / 1024 / 10


@pytest.mark.parametrize("previous", [None, Previous({}, 10.0), Previous({"pages_in": 5000, "pages_out": 5000}, 10.0)])
def test_without_a_comparable_pass_before_there_is_no_rate(machine: FakeMachine, previous: Previous | None) -> None:
    findings = judge_swap(machine, previous)
    assert (findings["swap_in"].value, findings["swap_in"].status) == (None, "skipped")
    assert (findings["swap_out"].value, findings["swap_out"].status) == (None, "skipped")


def make_short(machine: FakeMachine) -> None:
    machine.change("meminfo", "MemAvailable:", 30 * KB_IN_MB)
    machine.write({"pressure/memory": "some avg10=40.00 total=1\nfull avg10=15.00 total=1\n"})


def test_swap_in_is_thrashing_only_when_memory_is_short_too(machine: FakeMachine) -> None:
    machine.change("vmstat", "pswpin", 100_000)
    previous = Previous({"pages_in": 0, "pages_out": 0}, 10.0)
    assert judge_swap(machine, previous)["swap_in"].status == "warning"
    make_short(machine)
    finding = judge_swap(machine, previous)["swap_in"]
    assert finding.status == "critical"
    assert "thrashing" in finding.message


def judge_refaults(machine: FakeMachine) -> Finding:
    machine.change("vmstat", "workingset_refault_file", 100_000)
    (finding,) = refaults.judge(refaults.read(machine.host(), DEFAULTS, None), DEFAULTS, Previous({"pages": 0}, 10.0))
    return finding


def test_refaults_of_a_large_file_are_harmless_while_there_is_swap(machine: FakeMachine) -> None:
    make_short(machine)
    assert judge_refaults(machine).status == "ok"


def test_refaults_with_full_swap_are_a_warning_and_critical_when_memory_is_short(machine: FakeMachine) -> None:
    machine.change("meminfo", "SwapFree:", 1000)
    assert judge_refaults(machine).status == "warning"
    make_short(machine)
    assert judge_refaults(machine).status == "critical"


def test_without_any_swap_refaults_count_only_when_memory_is_short(machine: FakeMachine) -> None:
    machine.change("meminfo", "SwapTotal:", 0)
    machine.change("meminfo", "SwapFree:", 0)
    assert judge_refaults(machine).status == "ok"
    make_short(machine)
    assert judge_refaults(machine).status == "critical"


def test_a_kernel_that_does_not_count_refaults_is_named(machine: FakeMachine) -> None:
    machine.write({"vmstat": "pswpin 1\npswpout 1\n"})
    with pytest.raises(NotApplicable, match=r"3\.15"):
        refaults.read(machine.host(), DEFAULTS, None)


def test_a_disk_path_that_a_sandbox_hides_is_not_measured_as_another_disk(tmp_path: Path, machine: FakeMachine) -> None:
    """ProtectHome=yes of systemd puts a folder without any permission there."""
    tmp_path.chmod(0)
    (finding,) = disk.judge(
        disk.read(machine.host(), DEFAULTS._replace(DISK_PATHS=(str(tmp_path),)), None), DEFAULTS, None
    )
    assert (finding.status, finding.value) == ("unknown", None)
    assert "it is hidden from this service" in (finding.reason or "") and "vpsmon install" in (finding.reason or "")


def test_a_disk_path_that_does_not_exist_hides_no_other(machine: FakeMachine) -> None:
    settings = DEFAULTS._replace(DISK_PATHS=("/", "/no/such/path", "nul\0byte"))
    findings = disk.judge(disk.read(machine.host(), settings, None), settings, None)
    assert [(finding.object, finding.status) for finding in findings][1:] == [
        ("/no/such/path", "unknown"),
        ("nul?byte", "unknown"),
    ]
    assert findings[0].status in ("ok", "warning", "critical")


@pytest.mark.parametrize(
    ("used", "status"), [(77, "ok"), (80, "ok"), (81, "warning"), (90, "warning"), (91, "critical")]
)
def test_a_disk_is_judged_as_df_shows_it(used: int, status: str) -> None:
    reading = disk.Reading({"/data": DiskSpace(105, used, 100 - used)}, {})
    (finding,) = disk.judge(reading, DEFAULTS, None)
    assert (finding.value, finding.status, finding.object) == (used, status, "/data")


def test_an_empty_disk_paths_and_a_filesystem_without_size_are_skipped() -> None:
    (nothing,) = disk.judge(disk.Reading({}, {}), DEFAULTS, None)
    (sizeless,) = disk.judge(disk.Reading({"/proc": DiskSpace(0, 0, 0)}, {}), DEFAULTS, None)
    assert (nothing.status, sizeless.status) == ("skipped", "skipped")


@pytest.mark.parametrize(("free", "used_mb"), [("18446744073709551600", 1024), ("9999999999", 0)])
def test_free_swap_beyond_its_size_is_held_within_it(machine: FakeMachine, free: str, used_mb: int) -> None:
    """lxcfs subtracts without looking: a guest over its share has 2^64 - x kB free, or more than there is."""
    machine.change("meminfo", "SwapFree:", free)
    assert judge_swap(machine)["swap_usage"].value == used_mb * 1024 * 1024


def test_without_pressure_only_critical_memory_proves_that_the_machine_thrashes(machine: FakeMachine) -> None:
    (machine.root / "pressure/memory").unlink()
    machine.change("vmstat", "pswpin", 100_000)
    previous = Previous({"pages_in": 0, "pages_out": 0}, 10.0)
    machine.change("meminfo", "MemAvailable:", 93 * KB_IN_MB)
    assert judge_swap(machine, previous)["swap_in"].status == "warning"
    machine.change("meminfo", "MemAvailable:", 49 * KB_IN_MB)
    assert judge_swap(machine, previous)["swap_in"].status == "critical"


@pytest.mark.parametrize(("used", "status"), [(80, "ok"), (81, "warning"), (100, "critical")])
def test_inodes_count_like_blocks(used: int, status: str) -> None:
    space = DiskSpace(100, 10, 90, used_inodes=used, available_inodes=100 - used)
    (finding,) = disk.judge(disk.Reading({"/data": space}, {}), DEFAULTS, None)
    assert (finding.value, finding.status) == (used, status)
    assert f"room for {100 - used} more files" in finding.message


# /proc/self/mountinfo of a guest on which lxcfs (Debian 12, 5.0) has put its own meminfo over the kernel's.
GUEST_MOUNTS = """\
80 47 0:41 /proc/meminfo /proc/meminfo rw,nosuid,nodev,relatime - fuse.lxcfs lxcfs rw,user_id=0,group_id=0,allow_other
81 47 0:26 / {folder} rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw
"""


def make_guest(machine: FakeMachine, folder: Path) -> None:
    folder.mkdir()
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n")
    (folder / "memory.stat").write_text("anon 1\nworkingset_refault_file 70\n")
    (folder / "memory.pressure").write_text("some avg10=3.00 total=1\nfull avg10=1.00 total=1\n")
    machine.write({"self/mountinfo": GUEST_MOUNTS.format(folder=folder)})
    machine.write({"vmstat": "pswpin 9\npswpout 9\noom_kill 55\n"})


def test_a_guest_counts_its_own_kills_refaults_and_pressure_and_not_the_host_s(
    machine: FakeMachine, tmp_path: Path
) -> None:
    make_guest(machine, tmp_path / "cgroup")
    assert oom.read(machine.host(), DEFAULTS, None).counter == 1
    assert refaults.read(machine.host(), DEFAULTS, None).pages == 70
    assert pressure.read(machine.host(), DEFAULTS, None).some_average_percent == 3
    findings = judge_swap(machine, Previous({"pages_in": 0, "pages_out": 0}, 10.0))
    assert "whole host" in (findings["swap_in"].reason or "")
    assert findings["swap_usage"].value == 0


def test_a_guest_without_counters_of_its_own_says_so(machine: FakeMachine) -> None:
    """cgroup v1: nothing counts for a whole guest."""
    machine.write({"self/mountinfo": GUEST_MOUNTS.partition("\n")[0] + "\n"})
    assert oom.read(machine.host(), DEFAULTS, None).log_error
    for check in (refaults, pressure):
        with pytest.raises(NotApplicable, match="host"):
            check.read(machine.host(), DEFAULTS, None)
