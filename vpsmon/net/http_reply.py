"""What a web server answered, or why it did not."""

from __future__ import annotations

from typing import Literal, NamedTuple

from vpsmon.core.findings import ReadError

# What services answer is a hundredth of this; a megabyte of `{},` becomes 24 MB of objects.
LARGEST_REPLY_BYTES = 1_000_000
# not_sent: there was no connection, so nothing can have arrived; no_answer: it may have arrived; too_large: it is
# answered without an end, by something else than what was asked for;
# untrusted: the certificate of the server is not trusted here; unusable: a URL, key or proxy setting that HTTP cannot
# carry or the proxy does not take.
Cause = Literal["not_sent", "no_answer", "too_large", "untrusted", "unusable"]


class HttpReply(NamedTuple):
    """The status code and the body of an answer, also of one that says no."""

    status: int
    body: bytes


class RequestFailed(ReadError):
    """There is no answer from a web server; the text holds neither the URL nor a value of a header."""

    def __init__(self, text: str, cause: Cause) -> None:
        super().__init__(text)
        self.cause = cause

    @property
    def is_on_this_side(self) -> bool:
        """Whether the fault is a setting of this machine: it says nothing about the server, and no restart helps."""
        return self.cause in ("untrusted", "unusable")
