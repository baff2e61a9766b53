"""An outbox that grows without end: nothing critical goes, the rest is counted, the first message is left alone."""

from __future__ import annotations

import json
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.outbox import add_entry, choose_identity, list_entries
from vpsmon.alerts.overflow import MOST_CRITICAL, MOST_NOTICES
from vpsmon.core.findings import Severity


def fill(count: int, severity: Severity = "warning", objects: int = 10_000_000, per_message: int = 5) -> dict[str, Any]:
    """Return an outbox after so many alerts about so many objects."""
    outbox: dict[str, Any] = {}
    for start in range(0, count, per_message):
        notices = [
            Notice(severity, "disk_usage", f"disk-{number % objects}", f"number {number}", "make room", 1000.0 + number)
            for number in range(start, min(count, start + per_message))
        ]
        # As from one pass to the next: what was written is what is read.
        outbox = json.loads(json.dumps(add_entry(outbox, "vm", 1000.0 + start, f"{start:08x}", notices)))
    return outbox


def list_notices(outbox: dict[str, Any]) -> list[Notice]:
    return [Notice(*notice) for entry in list_entries(outbox) for notice in entry["notices"]]


def test_what_fits_is_left_as_it_is() -> None:
    assert [each.message for each in list_notices(fill(MOST_NOTICES))] == [f"number {n}" for n in range(MOST_NOTICES)]


def test_of_too_many_mild_ones_the_newest_stay_and_the_rest_is_counted() -> None:
    first, summary, *rest = list_entries(fill(10_000))
    assert [notice[3] for notice in first["notices"]] == [f"number {n}" for n in range(5)]
    assert [notice[3] for entry in rest for notice in entry["notices"]] == [
        f"number {n}" for n in range(10_000 - MOST_NOTICES, 10_000)
    ]
    assert summary["notices"][0][3] == f"{9_995 - MOST_NOTICES} older alerts were dropped for newer ones (9795 warning)"


def test_no_critical_one_goes_for_a_mild_one() -> None:
    outbox = fill(100, "critical")
    for number in range(1000):
        mild = [Notice("info", "swap_in", str(number), "calm", None, 5000.0)]
        outbox = add_entry(outbox, "vm", 5000.0, f"m{number}", mild)
    assert sum(each.severity == "critical" for each in list_notices(outbox)) == 100


def test_a_critical_one_that_comes_again_and_again_is_told_once_with_its_count() -> None:
    notices = [each for each in list_notices(fill(5_000, "critical", objects=10)) if each.check == "disk_usage"]
    assert {each.object for each in notices} == {f"disk-{number}" for number in range(10)}
    assert len(notices) + sum(each.suppressed_count for each in notices) == 5_000
    assert len(notices) <= MOST_NOTICES + 5


def test_there_is_an_end_to_different_critical_ones_too() -> None:
    outbox = fill(10_000, "critical", per_message=100)
    notices = list_notices(outbox)
    assert len(notices) <= MOST_CRITICAL + 101
    assert notices[-1].message == "number 9999"
    assert any("older alerts were dropped for newer ones (7900 critical)" in each.message for each in notices)
    assert len(json.dumps(outbox)) < 1_000_000


def test_where_nothing_may_give_way_nothing_is_said_of_it() -> None:
    outbox = fill(MOST_NOTICES + 3, "critical", per_message=1)
    assert len(list_entries(outbox)) == MOST_NOTICES + 3
    assert not [each for each in list_notices(outbox) if each.check == "outbox"]


def test_the_summary_keeps_its_id_and_the_time_of_the_oldest() -> None:
    outbox = fill(300, per_message=1)
    before = list_entries(outbox)[1]
    later = add_entry(outbox, "vm", 9000.0, "later", [Notice("warning", "swap_in", None, "again", None, 9000.0)])
    after = list_entries(later)[1]
    assert (after["id"], after["wall_seconds"]) == (before["id"], before["wall_seconds"])
    assert sum(after["dropped"].values()) == sum(before["dropped"].values()) + 1


def test_what_is_added_to_a_message_that_is_partly_sent_or_has_arrived_gets_an_id_of_its_own() -> None:
    notice = Notice("warning", "swap_in", None, "again", None, 9000.0)
    outbox = add_entry({}, "vm", 9000.0, "first", [notice])
    assert choose_identity(outbox, "first") == "first"
    outbox["entries"][0]["parts_sent"] = 1
    fresh = choose_identity(outbox, "first")
    assert fresh not in ("first", choose_identity(outbox, "first"))
    assert len(list_entries(add_entry(outbox, "vm", 9000.0, fresh, [notice]))) == 2
    assert choose_identity({}, "first") != "first"


def test_the_first_message_is_not_touched_while_it_is_on_its_way() -> None:
    outbox = fill(500, per_message=1)
    before = list_entries(outbox)[0]
    after = add_entry(outbox, "vm", 9000.0, "later", [Notice("warning", "swap_in", None, "again", None, 9000.0)] * 300)
    assert list_entries(after)[0] == before
    summary = list_entries(after)[1]
    # The summary has become the first message, and is being sent: what goes from now on is counted in another one.
    del after["entries"][0]
    later = add_entry(after, "vm", 9900.0, "last", [Notice("warning", "swap_in", None, "again", None, 9900.0)] * 300)
    assert list_entries(later)[0] == summary
    assert "dropped" in list_entries(later)[1]
    assert list_entries(later)[1]["id"] != summary["id"]
