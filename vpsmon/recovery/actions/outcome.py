"""What comes of an action."""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.core.findings import ReadError


class Refused(ReadError):
    """Nothing was done, on purpose; the text says why."""


class Gone(Refused):
    """What the action was for is no longer there."""


class Done(NamedTuple):
    """What was done, in words, where there is more to say; and what is left for a person to decide."""

    text: str = ""
    question: str = ""
