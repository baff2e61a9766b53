"""One way to look: what it recalls, keeps and decorates, for a pass, the report, recovery and the export alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.kit.host import FakeMachine
from tests.unit.test_oom import CGROUP_KILL, CONTAINER
from vpsmon.checks import Check, load_checks
from vpsmon.checks.kernel import memory, oom, swap
from vpsmon.checks.stack import container_state
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.findings import Finding, NotApplicable
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.look import Look, conclude, look
from vpsmon.passes.run_check import Attempt
from vpsmon.state.recovery_file import Stopped
from vpsmon.system.kernel_log import find_kills, parse_kmsg
from vpsmon.trends.samples import MACHINE

STATE = cast("Check", container_state)
OOM = cast("Check", oom)
BLOG = container_state.Observed(CONTAINER, "blog", False, "dead", 137, "", False, "", 1.0, 2.0)


def read_containers(machine: FakeMachine) -> Attempt:
    shop = BLOG._replace(id="b" * 64, name="shop")
    return Attempt(STATE, container_state.Reading([BLOG, shop], machine.wall_seconds), None)


def read_kill(machine: FakeMachine) -> Attempt:
    kills = find_kills(parse_kmsg(CGROUP_KILL))
    times = (machine.wall_seconds, machine.wall_seconds - machine.monotonic_seconds)
    return Attempt(OOM, oom.Reading("boot", 1, kills, 5477, 2453760900, None, *times), None)


def find(seen: Look, name: str) -> Finding:
    return next(each for each in seen.findings if each.object == name)


def recall(machine: FakeMachine, state: Mapping[str, Any] | None = None) -> Memories:
    return Memories(machine.host(), dict(state or {}), with_alerts=True)


def test_what_recovery_has_stopped_is_excused_in_the_first_look_already(machine: FakeMachine) -> None:
    memories = recall(machine)
    seen = conclude([read_containers(machine)], machine.host(), DEFAULTS, memories, Stopped([CONTAINER]))
    assert (find(seen, "blog").status, find(seen, "shop").status) == ("ok", "warning")
    unexcused = conclude([read_containers(machine)], machine.host(), DEFAULTS, recall(machine))
    assert find(unexcused, "blog").status == "warning"


@pytest.mark.parametrize("exit_code", [0, 3, 137, 143])
def test_what_recovery_leaves_stopped_is_a_fault_and_no_order_of_the_owner(
    machine: FakeMachine, exit_code: int
) -> None:
    ended = BLOG._replace(status="exited", exit_code=exit_code)
    attempt = Attempt(STATE, container_state.Reading([ended], machine.wall_seconds), None)
    before = container_state.Reading([BLOG._replace(status="running")], machine.wall_seconds)
    memories = recall(machine)
    conclude([Attempt(STATE, before, None)], machine.host(), DEFAULTS, memories)

    def status(stopped: Stopped) -> str:
        machine.sleep(30)
        later = recall(machine, memories.to_state())
        (finding,) = conclude([attempt], machine.host(), DEFAULTS, later, stopped).findings
        assert not (finding.is_reported_once and any(stopped))
        return finding.status

    assert status(Stopped(excused=[CONTAINER])) == "ok"
    assert status(Stopped(overdue=[CONTAINER])) == "warning"


def test_only_the_check_that_says_so_excuses(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(container_state, "EXCUSES_STOPPED")
    seen = conclude([read_containers(machine)], machine.host(), DEFAULTS, recall(machine), Stopped([CONTAINER]))
    assert find(seen, "blog").status == "warning"


def test_an_event_has_the_name_that_another_check_remembered(machine: FakeMachine) -> None:
    memories = recall(machine)
    conclude([read_containers(machine)], machine.host(), DEFAULTS, memories)
    base = {"boot_id": "boot", "counter": 0, "sequence": 1, "microseconds": 1, "owed": 0}
    memories.keep(OOM, base)
    machine.sleep(30)
    later = recall(machine, memories.to_state())
    (finding,) = conclude([read_kill(machine)], machine.host(), DEFAULTS, later).findings
    assert "in container blog: its memory limit was reached" in finding.message
    assert [event.object for event in finding.events] == ["blog"]


@pytest.mark.parametrize("names_processes", [True, False])
def test_the_largest_processes_are_named_where_that_is_wanted(machine: FakeMachine, names_processes: bool) -> None:
    machine.write({"7/status": "Name:\tnode\nRssAnon:\t400000 kB\nVmSwap:\t0 kB\n"})
    machine.change("meminfo", "MemAvailable:", 10_000)
    attempt = Attempt(cast("Check", memory), memory.read(machine.host(), DEFAULTS, None), None)
    seen = conclude([attempt], machine.host(), DEFAULTS, recall(machine), names_processes=names_processes)
    assert ("largest: node 391 MB" in seen.findings[0].message) == names_processes


def test_the_checks_of_the_stack_can_be_compared_with_another_state(machine: FakeMachine) -> None:
    before, now = recall(machine), recall(machine)
    for memories, number in ((before, 1), (now, 2)):
        for check in (STATE, cast("Check", swap)):
            memories.keep(check, {"number": number})
    machine.sleep(30)
    both = Memories(machine.host(), now.to_state(), with_alerts=True, for_stack=before.to_state())
    recalled = [both.recall(check) for check in (STATE, cast("Check", swap))]
    assert [each.memory["number"] for each in recalled if each] == [1, 2]


def test_a_look_tells_what_each_check_knows_after_it(machine: FakeMachine) -> None:
    memories = recall(machine)
    first = look(load_checks("kernel"), machine.host(), DEFAULTS, memories)
    assert first.remembered[swap.__name__] == {"pages_in": 1000, "pages_out": 2000}
    machine.sleep(30)
    machine.write({"vmstat": "oom_kill 0\n"})
    second = look(load_checks("kernel"), machine.host(), DEFAULTS, recall(machine, memories.to_state()))
    # It could not look this time, and knows what it knew.
    assert second.remembered[swap.__name__] == first.remembered[swap.__name__]


def test_a_host_that_was_asked_too_early_answers_as_soon_as_the_history_is_handed_over(
    machine: FakeMachine, tmp_path: Any
) -> None:
    from vpsmon.checks._forecast_common import read_tails

    host = machine.host()
    with pytest.raises(NotApplicable):
        read_tails(host, MACHINE)
    host.history_folder = str(tmp_path)
    assert read_tails(host, MACHINE).passes == []
