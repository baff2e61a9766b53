"""What recovery remembers: its clock, the budget, changes and their way back, and content that no version wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.simulation import Simulation
from vpsmon.alerts.incidents import Notice
from vpsmon.config.settings import DEFAULTS
from vpsmon.recovery.actions import RealEffectors
from vpsmon.recovery.actions.outcome import Refused
from vpsmon.recovery.changes import list_emergencies
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.engine.step import find_pause
from vpsmon.recovery.model import Action, Change, Incident
from vpsmon.recovery.rules import load_rules
from vpsmon.state.recovery_file import Clocks, list_excused_ids, list_stopped_ids

WALL = 1_800_000_000.0
FIXTURES = Path(__file__).parent.parent / "fixtures"
STOP = Action("stop_container", "abc", "leaky")
START = Action("start_container", "abc", "leaky")


def change(identity: str = "1", undo: Action = START) -> Change:
    return Change(identity, "swap_thrashing", STOP, undo, 600.0, "it is calm", 10.0, WALL)


def save(book: Book, monotonic: float, wall: float) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(book.to_content(monotonic, wall)))
    return content


def test_the_clock_goes_with_the_kernel_whatever_the_wall_clock_does() -> None:
    book = Book({}, "a", 100.0, WALL)
    before = book.at(100.0)
    later = Book(save(book, 100.0, WALL), "a", 160.0, WALL - 86_400)
    assert later.at(160.0) - before == pytest.approx(60)


@pytest.mark.parametrize(("jump", "passed"), [(300.0, 300.0), (-86_400.0, 0.0)])
def test_over_a_reboot_it_goes_with_the_wall_clock_and_never_back(jump: float, passed: float) -> None:
    content = save(Book({}, "a", 100.0, WALL), 100.0, WALL)
    book = Book(content, "b", 5.0, WALL + jump)
    assert book.at(5.0) == pytest.approx(content["clock"]["seconds"] + passed)


def test_actions_and_incidents_are_forgotten_in_time() -> None:
    book = Book({}, "a", 0.0, WALL)
    book.actions.append(0.0)
    book.find("rule", Incident("t", "n", "m", ()), 0.0)
    assert book.count_actions(3599) == 1
    assert book.count_actions(3600) == 0
    assert save(book, 6 * 3600, WALL)["incidents"] == {}


def test_a_second_change_keeps_the_way_back_to_the_beginning() -> None:
    book = Book({}, "a", 0.0, WALL)
    first = Action("set_memory_limit", "abc", "n", {"memory_bytes": 100})
    second = Action("set_memory_limit", "abc", "n", {"memory_bytes": 125})
    assert book.add_change(change("1", first))
    assert not book.add_change(change("2", second))
    assert [each.undo for each in Book(save(book, 0, WALL), "a", 0.0, WALL).changes] == [first]


def test_the_pause_doubles_with_each_attempt() -> None:
    pauses = [find_pause(load_rules()[1], {"attempts": count, "last": 50.0}, 50.0) for count in (1, 2, 3)]
    assert pauses == [300.0, 600.0, 1200.0]


@pytest.mark.parametrize(
    "content",
    [
        {"changes": [{"id": 1}]},
        {"changes": 7},
        {"changes": [{**change()._asdict(), "since_seconds": float("nan")}]},
        {"changes": [{**change()._asdict(), "undo": ["start_container", "abc"]}]},
        {"changes": [{**change()._asdict(), "undo": ["resume_workflows", "", "", {"items": {}}]}]},
        {"actions": ["x"]},
        {"incidents": {"a/b": {}}},
        {"incidents": []},
        {"clock": {"boot_id": "a"}},
        {"notices": [[1]]},
        {"memories": {"a": 3}},
    ],
)
def test_what_no_version_wrote_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Book(content, "a", 0.0, WALL)


def test_what_a_newer_version_wrote_is_kept_and_costs_nothing() -> None:
    """A rollback, and the way forward again: what is not understood is neither lost nor undone."""
    book = Book({}, "a", 0.0, WALL)
    book.add_change(change())
    book.notices.append(Notice("info", "recovery x", None, "m", None, WALL))
    record = book.find("swap_thrashing", Incident(target="abc", name="leaky", cause="", steps=()), 0.0)
    content = save(book, 0, WALL)
    (known,) = content["changes"]
    foreign = {
        **known,
        "id": "2",
        "action": ["fence", "abc", "leaky", {"memory_bytes": "1g"}],
        "undo": ["unfence", *STOP[1:]],
    }
    content.update(fences={"abc": 1}, changes=[{**known, "left_state": ["running", 7]}, foreign])
    content["incidents"]["swap_thrashing/abc"].update(asked_by="owner")
    content["notices"][0].append({"buttons": ["undo"]})
    older = Book(content, "a", 10.0, WALL)
    assert [each.id for each in older.changes] == ["1"]
    older.replace_change(older.changes[0]._replace(tries=1))
    saved = save(older, 20.0, WALL)
    assert saved["fences"] == {"abc": 1}
    assert saved["changes"] == [{**known, "left_state": ["running", 7], "tries": 1}, foreign]
    assert saved["incidents"]["swap_thrashing/abc"] == {**record, "asked_by": "owner"}
    assert saved["notices"] == [list(book.notices[0])]
    texts = [each.text for each in list_emergencies(saved)]
    assert texts == ["stopped the container leaky", "leaky: fence, which only a newer version of vpsmon can undo"]


def test_what_the_version_before_left_is_settled_and_undone() -> None:
    """As that version wrote it: a pause whose end it did not see, told in sentences, and five changes."""
    old = json.loads((FIXTURES / "state/recovery_state_before_events.json").read_text())
    assert old.pop("schema") == 1
    life = Simulation(1)
    life.effectors.with_faults = life.store.with_crashes = False
    life.effectors.by_hand = True
    life.store.text = json.dumps(old)
    life.stack.seconds = old["clock"]["monotonic"] + 60
    life.stack.workflows = dict.fromkeys(life.stack.workflows, False)
    stopped = list_stopped_ids(old)
    for each in life.stack.containers.values():
        if each.id in stopped:
            each.status, each.stopped_by_recovery = "exited", True
    life.recover()
    settled = [event for event in map(json.loads, life.store.events) if event["is_of_earlier_run"]]
    assert [(each["rule"], each["target"], each["ending"]) for each in settled] == [
        ("n8n_queue_overflow", "pause", "failing")
    ]
    (alert,) = [each.message for each in life.store.notices if "(in an earlier run)" in each.message]
    assert alert.startswith("238 jobs wait for n8n, more than 100, and they do not get fewer. Paused the n8n workflows")
    assert life.stack.workflows == {"w1": True, "w2": True}
    life.recover(restores=True)
    assert json.loads(life.store.text)["changes"] == []
    assert all(each.is_up for each in life.stack.containers.values())


def test_status_tells_what_is_changed_and_survives_nonsense() -> None:
    book = Book({}, "a", 0.0, WALL)
    book.add_change(change())
    content = save(book, 0, WALL)
    (emergency,) = list_emergencies(content)
    assert (emergency.text, emergency.until) == ("stopped the container leaky", "it is calm")
    assert list_stopped_ids(content) == {"abc"}
    assert list_emergencies({"changes": [3]}) == []
    assert list_stopped_ids({"changes": [{"undo": 3}]}) == set()


def test_the_effector_itself_refuses_to_stop_what_is_essential(monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib

    class Client:
        def inspect_container(self, identity: str) -> dict[str, Any]:
            return {"Id": identity, "Name": "/postgres", "State": {"Status": "running"}}

    monkeypatch.setattr("vpsmon.stack.docker.client.open_client", lambda timeout: contextlib.nullcontext(Client()))
    with pytest.raises(Refused, match="essential"):
        RealEffectors(DEFAULTS).perform(STOP)


@pytest.mark.parametrize(
    ("settings", "fields", "later_seconds", "is_excused"),
    [
        ({}, {}, 60.0, True),
        ({"ENABLE_AUTO_RECOVERY": False}, {}, 60.0, False),
        ({"RECOVERY_MAX_ACTIONS_PER_HOUR": 0}, {}, 60.0, False),
        # Starting it has failed for good, or only a person may start it.
        ({}, {"calm_seconds": None}, 60.0, False),
        ({}, {"calm_since_seconds": 100.0}, 600.0, True),
        # Nobody has undone it an hour after its time; or recovery does not run at all.
        ({}, {"calm_since_seconds": -4000.0}, 600.0, False),
        ({}, {}, 4000.0, False),
        # A machine that does not become calm for a day.
        ({}, {"since_seconds": -90_000.0}, 60.0, False),
    ],
)
def test_an_excuse_has_an_end(
    settings: dict[str, Any], fields: dict[str, Any], later_seconds: float, is_excused: bool
) -> None:
    book = Book({}, "a", 0.0, WALL)
    book.add_change(change()._replace(**fields))
    content = save(book, 100.0, WALL)
    excused = list_excused_ids(content, DEFAULTS._replace(**settings), Clocks("a", 100.0 + later_seconds))
    assert excused == ({"abc"} if is_excused else set())


def test_hours_without_power_end_no_excuse() -> None:
    book = Book({}, "a", 0.0, WALL)
    book.add_change(change())
    content = save(book, 20_000.0, WALL)
    assert list_excused_ids(content, DEFAULTS, Clocks("b", 60.0)) == {"abc"}
    assert list_excused_ids(content, DEFAULTS, Clocks("b", 4000.0)) == set()
