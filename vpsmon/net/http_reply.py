"""What a web server answered."""

from __future__ import annotations

from typing import NamedTuple


class HttpReply(NamedTuple):
    """The status code and the body of an answer, also of one that says no."""

    status: int
    body: bytes
