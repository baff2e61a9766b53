"""The JSON of a state file: an object with a schema number, and no number that nothing real has."""

from __future__ import annotations

from typing import Any

from vpsmon.core.strict_json import parse_strictly

SCHEMA = 1
# What may come of content that no version of vpsmon wrote: a table where a number should be, or one that is too large.
WRONG_FORM = (TypeError, ValueError, LookupError, AttributeError, OverflowError)


def parse_content(text: str | bytes) -> dict[str, Any]:
    """Return the content of a state file without its schema number. Raises ValueError with what is wrong."""
    try:
        content = parse_strictly(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError:
        raise ValueError("it is no JSON") from None
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ValueError(f"it is not of schema {SCHEMA}")
    return content
