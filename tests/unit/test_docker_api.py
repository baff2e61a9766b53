"""What is asked of a container engine again, and what is not."""

from __future__ import annotations

import json

import pytest

from vpsmon.net.http_reply import HttpReply
from vpsmon.stack.docker.api import ApiError, Engine

# Said by Docker 20.10 of a container that ended while its limits were being changed.
ENDED = (
    "Cannot update container f94d: runc did not terminate successfully: exit status 1: container not running",
    "Cannot update container f94d: cannot update a stopped container: unknown",
    "Cannot update container f94d: cannot update a deleted process: unknown",
)
TOO_SMALL = "Minimum memory limit allowed is 6MB"


class Script:
    """A way to an engine that refuses in these words, one after the other, and then does as it is told."""

    def __init__(self, *refusals: str) -> None:
        self.refusals = list(refusals)
        self.bodies: list[bytes | None] = []

    def request(self, method: str, target: str, body: bytes | None, timeout_seconds: float) -> HttpReply:
        self.bodies.append(body)
        if self.refusals:
            return HttpReply(500, json.dumps({"message": self.refusals.pop(0)}).encode())
        return HttpReply(200, b"{}")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpsmon.stack.docker.api._UPDATE_PAUSES_SECONDS", (0.0, 0.0, 0.0))


def test_limits_that_met_the_end_of_a_start_are_set_again() -> None:
    script = Script(*ENDED)
    Engine(script, 1.0).update_container("f94d", 20_000_000, 30_000_000)
    assert script.bodies == [b'{"Memory": 20000000, "MemorySwap": 30000000}'] * 4


def test_there_is_an_end_to_it() -> None:
    script = Script(*[ENDED[0]] * 5)
    with pytest.raises(ApiError, match="not running"):
        Engine(script, 1.0).update_container("f94d", 20_000_000, 30_000_000)
    assert len(script.bodies) == 4


def test_another_refusal_is_not_argued_with() -> None:
    script = Script(TOO_SMALL)
    with pytest.raises(ApiError, match="Minimum"):
        Engine(script, 1.0).update_container("f94d", 1, 1)
    assert len(script.bodies) == 1


class Odd:
    """A way to an engine that answers everything with the same."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def request(self, method: str, target: str, body: bytes | None, timeout_seconds: float) -> HttpReply:
        return HttpReply(200, self._body)

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("body", [b"null", b"5", b'"x"', b'{"message": "x"}', b"[[]]"])
def test_an_answer_of_another_form_is_a_refusal_and_no_fault_of_ours(body: bytes) -> None:
    engine = Engine(Odd(body), 1.0)
    if not body.startswith(b"["):
        with pytest.raises(ApiError, match="its list of containers is none"):
            engine.containers()
    if not body.startswith(b"{"):
        with pytest.raises(ApiError, match="it answers an inspect with something else"):
            engine.inspect_container("f94d")


def test_what_is_no_container_is_left_out_of_the_list() -> None:
    assert Engine(Odd(b'[null, {"Names": ["/x"]}, {"Id": "a"}]'), 1.0).containers() == [{"Id": "a"}]
