"""The table of `monitor --once`: memory first, short on a machine with hundreds of containers, each reason once."""

from __future__ import annotations

from vpsmon.core.findings import Finding, Group, Status
from vpsmon.jobs.tables import format_table


def row(check: str, group: Group, status: Status = "ok", name: str | None = None, reason: str = "") -> Finding:
    return Finding(check=check, status=status, message="as it is", object=name, group=group, reason=reason or None)


def draw(*findings: Finding) -> list[str]:
    return format_table("vm", 1_800_000_000.0, 0.1, findings, with_colour=False).splitlines()[3:]


def test_memory_comes_first_and_a_blank_line_between_subjects() -> None:
    lines = draw(row("redis_memory", "services"), row("disk_usage", "disks"), row("swap_usage", "memory"))
    assert [line.partition(" ")[0] for line in lines] == ["swap_usage", "", "disk_usage", "", "redis_memory"]


def test_of_many_that_are_well_three_are_shown_and_all_that_are_not() -> None:
    statuses: dict[int, Status] = {17: "warning", 250: "critical", 299: "unknown"}
    rows = [row("container_state", "containers", statuses.get(n, "ok"), f"c{n:03}") for n in range(300)]
    lines = draw(*rows)
    assert [line.split()[1] for line in lines[:-1]] == ["c000", "c001", "c002", "c017", "c250", "c299"]
    assert lines[-1].endswith("and 294 more, all ok")
    # One line less is no gain.
    assert len(draw(*rows[:4])) == 4


def test_many_that_are_not_judged_are_one_line_with_one_reason() -> None:
    lines = draw(
        *(row("container_restarts", "containers", "skipped", f"c{n}", "seen for the first time") for n in range(9))
    )
    assert lines[3].endswith("and 6 more, all skipped")
    assert lines[4:] == ["", "container_restarts: seen for the first time"]


def test_a_reason_is_said_once_with_what_helps_each() -> None:
    absent = [row(name, "services", "skipped", reason="no Docker engine") for name in ("redis_memory", "n8n_queue")]
    lines = draw(absent[0]._replace(remedy="set REDIS_URL"), absent[1]._replace(remedy="set N8N_URL"))
    assert lines[-1] == "redis_memory, n8n_queue: no Docker engine; or set REDIS_URL, set N8N_URL"
