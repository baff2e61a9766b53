"""What comes of an action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.core.findings import ReadError
from vpsmon.recovery.model import Question


class Refused(ReadError):
    """Nothing was done, on purpose; the text says why."""


class Gone(Refused):
    """What the action was for is no longer there."""


class Done(NamedTuple):
    """That it was done: whether by signals, without the engine; and what is left for a person to decide.

    `left` is the state in which it has left a container, as last_hand.py reads it; () where that was not seen.
    """

    is_by_signals: bool = False
    questions: tuple[Question, ...] = ()
    left: Sequence[Any] = ()
