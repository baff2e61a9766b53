"""The JSON of a state file: an object with a schema number, and only numbers that a version of vpsmon may have written.

Bytes, seconds and counters stay far below these bounds. Whatever lies beyond, damage or malice, ends int(), round() or
localtime() somewhere, so it is turned away here, once, and not wherever a number is used.
"""

from __future__ import annotations

import json
from typing import Any

SCHEMA = 1
# What may come of content that no version of vpsmon wrote: a table where a number should be, or one that is too large.
WRONG_FORM = (TypeError, ValueError, LookupError, AttributeError, OverflowError)
# The kernel's counters have 64 bits.
_LARGEST_NUMBER = 2**64
_MOST_CHARACTERS = 32


def parse_content(text: str | bytes) -> dict[str, Any]:
    """Return the content of a state file without its schema number. Raises ValueError with what is wrong."""
    try:
        content = _DECODER.decode(text if isinstance(text, str) else text.decode())
    except _WrongNumber:
        raise
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ValueError(f"it is not of schema {SCHEMA}")
    return content


def is_possible(number: float) -> bool:
    """Return whether a state file may hold this number: it is finite, and of a size that something real can have."""
    return -_LARGEST_NUMBER < number < _LARGEST_NUMBER


class _WrongNumber(ValueError):
    """A number that no version of vpsmon writes."""


def _parse_integer(text: str) -> int:
    # Python takes its time over thousands of digits, or refuses.
    if len(text) > _MOST_CHARACTERS or not is_possible(number := int(text)):
        _refuse(text)
    return number


def _parse_float(text: str) -> float:
    if not is_possible(number := float(text)):
        _refuse(text)
    return number


def _refuse(text: str) -> float:
    raise _WrongNumber(f"it holds the number {text[:_MOST_CHARACTERS]}, which vpsmon never writes")


# json.loads would make a decoder for each call.
_DECODER = json.JSONDecoder(parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_refuse)
