"""Numbers that come from outside: JSON of other programs and of files, without a number that nothing real has.

Bytes, seconds and counters stay far below the bounds. Whatever lies beyond, damage or malice, ends int(), round() or
localtime() somewhere, and a state file that held it could not be read again. So it is turned away where it comes in,
once, and not wherever a number is used.
"""

from __future__ import annotations

import json
from typing import Any

# The counters of the kernel and of other programs have 64 bits.
_LARGEST_NUMBER = 2**64
_MOST_CHARACTERS = 32


class ImpossibleNumber(ValueError):
    """A number that nothing real has."""

    def __init__(self, number: object) -> None:
        super().__init__(f"it holds the number {str(number)[:_MOST_CHARACTERS]}, which nothing real has")


def is_possible(number: float) -> bool:
    """Return whether a number is finite, and of a size that something real can have."""
    return -_LARGEST_NUMBER < number < _LARGEST_NUMBER


def parse_strictly(text: str) -> Any:
    """Return the content of JSON. Raises ValueError: it is none, or it holds a number that nothing real has."""
    try:
        return _DECODER.decode(text)
    except ImpossibleNumber:
        raise
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None


def parse_integer(text: str) -> int:
    """Return a whole number. Raises ValueError: it is none, or ImpossibleNumber."""
    # Python takes its time over thousands of digits, or refuses.
    if len(text) > _MOST_CHARACTERS or not is_possible(number := int(text)):
        raise ImpossibleNumber(text)
    return number


def check_numbers(content: Any) -> None:
    """Look into lists, tables and what is in them. Raises ImpossibleNumber."""
    if isinstance(content, (int, float)) and not is_possible(content):
        raise ImpossibleNumber(content)
    if isinstance(content, dict):
        content = content.values()
    elif not isinstance(content, (list, tuple)):
        return
    for each in content:
        check_numbers(each)


def _parse_float(text: str) -> float:
    if not is_possible(number := float(text)):
        raise ImpossibleNumber(text)
    return number


def _refuse(text: str) -> float:
    raise ImpossibleNumber(text)


# json.loads would make a decoder for each call.
_DECODER = json.JSONDecoder(parse_int=parse_integer, parse_float=_parse_float, parse_constant=_refuse)
