"""The history: thinned with age, bounded for ever, and readable whatever a crash or a clock has left."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from tests.kit.host import FakeMachine
from vpsmon.checks import Check, load_checks
from vpsmon.checks.kernel import memory
from vpsmon.checks.stack import container_memory
from vpsmon.config.settings import DEFAULTS
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.look import Look, look
from vpsmon.passes.record_history import record_look, take_samples
from vpsmon.passes.run_check import Attempt
from vpsmon.stack.docker.cgroups import Usage
from vpsmon.trends.history import TIERS, History, make_series
from vpsmon.trends.samples import COLUMNS, CONTAINERS, MACHINE, Sample, decode, encode, join

BOOT = "11111111"
FIVE_MEGABYTES = 5_000_000


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(str(tmp_path))


def make_sample(seconds: float, free_mb: float = 1000.0, boot: str = BOOT) -> Sample:
    return Sample(1_800_000_000 + seconds, seconds, boot, {"free": free_mb, "available": free_mb / 2, "score": 1.5})


def record(history: History, first: float, last: float, step: float = 30.0, boot: str = BOOT) -> None:
    number = 0
    while first + number * step < last:
        history.record(MACHINE, make_sample(first + number * step, 1000.0 + number % 7, boot))
        number += 1


def file_of(history_folder: Path, tier: str, kind: str = MACHINE) -> Path:
    return history_folder / f"history_{kind}_{tier}.log"


def test_passes_become_ten_minutes_and_hours(history: History) -> None:
    record(history, 0, 3 * 3600 + 60)
    tails = history.read(MACHINE, BOOT, 3 * 3600 + 60)
    assert [sample.monotonic_seconds for sample in tails.passes[-2:]] == [10_800, 10_830]
    assert [int(sample.monotonic_seconds // 600) for sample in tails.minutes] == list(range(18))
    assert [int(sample.monotonic_seconds // 3600) for sample in tails.hours] == [0, 1, 2]


def test_a_joined_sample_keeps_the_middle_the_extremes_and_the_peaks() -> None:
    several = [
        Sample(100, 10, BOOT, {"free": 900.0, "available": 500.0, "score": 2.0, "disk:/": 10.0, "n8n/limit": 512.0}),
        Sample(130, 40, BOOT, {"free": 100.0, "available": 80.0, "score": 77.0, "disk:/": 30.0}),
        Sample(160, 70, BOOT, {"free": 800.0, "available": 400.0, "disk:/": 20.0}),
    ]
    joined = join(several)
    assert (joined.wall_seconds, joined.monotonic_seconds) == (130, 40)
    assert joined.values == {
        "free": 800.0,
        "free_low": 100.0,
        "free_high": 900.0,
        "available": 400.0,
        "available_low": 80.0,
        "score": 77.0,
        "disk:/": 20.0,
    }
    assert join([joined, joined._replace(values={**joined.values, "free_low": 50.0})]).values["free_low"] == 50.0


@pytest.mark.parametrize("kind", [MACHINE, CONTAINERS])
def test_a_line_is_read_as_it_was_written(kind: str) -> None:
    values = {"free": 1530.2, "score": 0.0, "free_low": 3.0, "disk:/": 9.5} if kind == MACHINE else {"n8n": 312.1}
    sample = Sample(1_800_000_000, 12.5, BOOT, values)
    assert decode(encode(sample, 400, kind).splitlines()) == [sample]


def test_a_line_never_exceeds_its_limit_and_keeps_the_largest() -> None:
    many = Sample(1_800_000_000, 5.0, BOOT, {f"service-{number}": float(number) for number in range(500)})
    for tier in TIERS[CONTAINERS]:
        line = encode(many, tier.line_bytes, CONTAINERS)
        (sample,) = decode([line])
        assert len(line) <= tier.line_bytes
        assert max(sample.values) and "service-499" in sample.values and "service-0" not in sample.values


def test_every_column_of_a_year_fits_into_its_line() -> None:
    full = Sample(1_800_000_000, 31_536_000.5, BOOT, dict.fromkeys(COLUMNS, 123_456.7))
    for tier in TIERS[MACHINE]:
        (sample,) = decode([encode(full, tier.line_bytes, MACHINE)])
        assert sample == full
        assert len(encode(full, tier.line_bytes, MACHINE)) <= tier.line_bytes


def fill(path: Path, line_bytes: int, count: int) -> None:
    line = encode(Sample(1_800_000_000, 5.0, BOOT, {"x" * (line_bytes - 60): 1.0}), line_bytes, CONTAINERS)
    path.write_bytes(line.rstrip(b"\n").ljust(line_bytes - 1) + b"\n")
    with path.open("ab") as file:
        file.write((line.rstrip(b"\n").ljust(line_bytes - 1) + b"\n") * (count - 1))


def test_the_files_stay_below_five_megabytes_and_hold_what_they_promise(tmp_path: Path, history: History) -> None:
    largest = 0
    for kind, tiers in TIERS.items():
        spans = {"passes": 6 * 3600 / 30, "minutes": 7 * 86400 / 600, "hours": 365 * 24}
        for tier in tiers:
            path = file_of(tmp_path, tier.name, kind)
            fill(path, tier.line_bytes, tier.file_bytes // tier.line_bytes)
            history._append(kind, tier, Sample(1_800_000_000, 9.0, BOOT, {"free": 1.0, "x": 2.0}))
            history._append(kind, tier, Sample(1_800_000_030, 39.0, BOOT, {"free": 1.0, "x": 2.0}))
            history._append(kind, tier, Sample(1_800_000_060, 69.0, BOOT, {"free": 1.0, "x": 2.0}))
            assert path.stat().st_size <= tier.file_bytes + tier.line_bytes
            assert path.read_bytes().count(b"\n") >= spans[tier.name]
            largest = max(largest, tier.file_bytes)
    assert sum(tier.file_bytes for tiers in TIERS.values() for tier in tiers) + largest * 7 / 8 <= FIVE_MEGABYTES
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".log"] * 6


def test_days_of_passes_of_many_containers_stay_within_the_size(tmp_path: Path, history: History) -> None:
    containers = {f"project-service-{number}-1": 100.0 + number for number in range(200)}
    for number in range(3000):
        history.record(CONTAINERS, Sample(1_800_000_000 + number * 30, number * 30.0, BOOT, containers))
    sizes = {tier.name: file_of(tmp_path, tier.name, CONTAINERS).stat().st_size for tier in TIERS[CONTAINERS]}
    assert all(sizes[tier.name] <= tier.file_bytes + tier.line_bytes for tier in TIERS[CONTAINERS])
    assert len(history.read(CONTAINERS, BOOT, 1e9).passes) == TIERS[CONTAINERS][0].lines_read


def test_the_files_are_the_owner_s_alone_and_no_link_is_followed(tmp_path: Path, history: History) -> None:
    history.record(MACHINE, make_sample(30))
    assert stat.S_IMODE(file_of(tmp_path, "passes").stat().st_mode) == 0o600
    file_of(tmp_path, "passes").unlink()
    (tmp_path / "elsewhere").write_text("precious")
    file_of(tmp_path, "passes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        history.record(MACHINE, make_sample(60))
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_line_cut_anywhere_is_dropped_and_the_next_is_whole(tmp_path: Path, history: History) -> None:
    record(history, 0, 90)
    whole = file_of(tmp_path, "passes").read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole) - 1):
        file_of(tmp_path, "passes").write_bytes(whole[:cut])
        assert [sample.monotonic_seconds for sample in history.read(MACHINE, BOOT, 99).passes] == [0, 30]
        history.record(MACHINE, make_sample(90))
        assert [sample.monotonic_seconds for sample in history.read(MACHINE, BOOT, 99).passes] == [0, 30, 90]


GARBAGE = [
    b"\x00" * 500,
    b"\xff\xfe\n\n\n[]\n{}\n[[[[\n",
    b"[1,2]\nnull\n7\n",
    b'[1,2,"11111111",["x"],{}]\n',
    b'[1,2,"11111111",[NaN,1e999,-Infinity],{}]\n',
    b'[1,2,"11111111",[1e999],{}]\n',
    b'[null,null,"11111111",[1],{}]\n',
    b'[1,2,3,[1],{"a":"b"}]\n',
    b"[" * 200_000,
    b'"\\ud800"\n',
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("tier", ["passes", "minutes", "hours"])
def test_garbage_between_the_lines_is_skipped(tmp_path: Path, history: History, garbage: bytes, tier: str) -> None:
    record(history, 0, 2 * 3600 + 60)
    before = getattr(history.read(MACHINE, BOOT, 1e9), tier)
    with file_of(tmp_path, tier).open("ab") as file:
        file.write(garbage)
    kept = [sample for sample in getattr(history.read(MACHINE, BOOT, 1e9), tier) if sample.monotonic_seconds > 2]
    assert kept == before[len(before) - len(kept) :]
    record(history, 2 * 3600 + 60, 2 * 3600 + 1300)
    assert history.read(MACHINE, BOOT, 1e9).passes[-1].monotonic_seconds == 2 * 3600 + 1290
    assert make_series(history.read(MACHINE, BOOT, 1e9), "free").passes


def test_random_bytes_are_survived(tmp_path: Path, history: History) -> None:
    dice = random.Random(7)  # noqa: S311
    for _ in range(50):
        for tier in TIERS[MACHINE]:
            file_of(tmp_path, tier.name).write_bytes(dice.randbytes(dice.randrange(2000)))
        record(history, 0, 1300, 100)
        assert history.read(MACHINE, BOOT, 1e9).passes[-1].monotonic_seconds == 1200


def test_samples_twice_and_from_before_a_jump_of_the_clock_are_ordered_by_the_monotonic_one(history: History) -> None:
    record(history, 0, 300)
    history.record(MACHINE, make_sample(270))
    history.record(MACHINE, make_sample(300)._replace(wall_seconds=1_799_996_700))
    times = [sample.monotonic_seconds for sample in history.read(MACHINE, BOOT, 330).passes]
    assert times == sorted(set(times))
    assert times[-2:] == [270, 300]


def test_another_boot_is_another_story(history: History) -> None:
    record(history, 0, 7300)
    record(history, 5, 700, boot="22222222")
    assert [sample.monotonic_seconds for sample in history.read(MACHINE, "22222222", 1e9).minutes] == [290.0]
    # The boot whose id cannot be read: the clock that started anew tells it.
    assert history.read(MACHINE, BOOT, 100).passes == []


def test_a_gap_of_days_joins_only_what_belongs_together(history: History) -> None:
    record(history, 0, 900)
    record(history, 300_000, 300_700)
    minutes = history.read(MACHINE, BOOT, 1e9).minutes
    assert [int(sample.monotonic_seconds // 600) for sample in minutes] == [0, 1, 500]


def test_a_pass_killed_between_two_lines_writes_none_of_them_twice(tmp_path: Path, history: History) -> None:
    record(history, 0, 600)
    passes = file_of(tmp_path, "passes").read_bytes()
    history.record(MACHINE, make_sample(600))
    minutes = file_of(tmp_path, "minutes").read_bytes()
    file_of(tmp_path, "passes").write_bytes(passes)  # it was killed before its own line
    history.record(MACHINE, make_sample(610))
    assert file_of(tmp_path, "minutes").read_bytes() == minutes


def test_without_room_for_a_copy_a_full_file_starts_anew(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = TIERS[MACHINE][0]
    fill(file_of(tmp_path, "passes"), tier.line_bytes, tier.file_bytes // tier.line_bytes + 1)

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    history.record(MACHINE, make_sample(30))
    assert file_of(tmp_path, "passes").stat().st_size == 0
    assert [path.name for path in tmp_path.glob("*.new")] == []


def test_reading_costs_the_same_however_long_the_file(tmp_path: Path, history: History) -> None:
    record(history, 0, 600)
    short = history.read(MACHINE, BOOT, 1e9)
    with file_of(tmp_path, "passes").open("rb+") as file:
        content = file.read()
        file.truncate(3_000_000_000)  # sparse
        file.seek(3_000_000_000)
        file.write(b"\n" + content)
    assert history.read(MACHINE, BOOT, 1e9) == short


def test_containers_are_recorded_with_their_limits() -> None:
    measured = [
        container_memory.Measured("a" * 64, 1, "n8n", Usage(3 << 20, 512 << 20, None, 0)),
        container_memory.Measured("b" * 64, 2, "waha", Usage(5 << 20, None, None, 0)),
        container_memory.Measured("c" * 64, 3, "broken", None),
    ]
    attempts = [Attempt(cast("Check", container_memory), container_memory.Reading(measured, 0.0), None)]
    assert take_samples(Look(0.0, attempts, [])) == {CONTAINERS: {"n8n": 3.0, "n8n/limit": 512.0, "waha": 5.0}}


def look_at_kernel(machine: FakeMachine, before: dict[str, Any]) -> tuple[Look, dict[str, Any]]:
    memories = Memories(machine.host(), before, with_alerts=True)
    return look(load_checks("kernel"), machine.host(), DEFAULTS, memories), memories.to_state()


def test_what_the_kernel_checks_read_becomes_a_sample(machine: FakeMachine, tmp_path: Path) -> None:
    machine.change("meminfo", "SwapFree:", 1_000_000)
    _, before = look_at_kernel(machine, {})
    machine.sleep(30)
    machine.change("vmstat", "pswpin", 1000 + 90)
    machine.change("pressure/memory", "full", "avg10=6.50")
    seen, _ = look_at_kernel(machine, before)
    record_look(machine.host(), str(tmp_path), seen)
    machine.sleep(30)
    (sample,) = History(str(tmp_path)).read(MACHINE, BOOT, machine.monotonic_seconds).passes
    assert sample.values["free"] == round((600_000 + 1_000_000) / 1024, 1)
    assert sample.values["available"] == round(600_000 / 1024, 1)
    assert sample.values["total"] == round(1_000_000 / 1024, 1)
    assert sample.values["swap_used"] == round(48_576 / 1024, 1)
    assert (sample.values["score"], sample.values["swap_in"], sample.values["swap_out"]) == (3.2, 12.0, 0.0)
    assert sample.values["disk:/"] > 0


def test_the_first_look_has_no_rates_and_a_broken_reading_costs_its_own_numbers_only(machine: FakeMachine) -> None:
    seen, _ = look_at_kernel(machine, {})
    broken = [each._replace(reading=()) if each.check is cast("Check", memory) else each for each in seen.attempts]
    names = take_samples(seen._replace(attempts=broken))[MACHINE].keys()
    assert {"score", "disk:/"} <= names
    assert not {"swap_in", "swap_out", "free", "available"} & names


def test_a_folder_that_cannot_be_written_ends_no_pass(machine: FakeMachine) -> None:
    record_look(machine.host(), "/proc/none", look_at_kernel(machine, {})[0])
