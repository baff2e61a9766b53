"""Inputs as a broken or hostile program would give them: text that breaks out of every format, and JSON of any form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies

# What ends a line, a tag, a quotation, a label, a terminal's patience, or the range of a number.
SHARP = (
    *("\n", "\r", "\0", "\x1b[2J\x1b]0;x\x07", "\u202e", "\u2028", "\ud800", "\u00ad", "🐘", "é", "\t", " "),
    *(
        '"',
        "'",
        "\\",
        "`",
        "$(id)",
        ";",
        "&",
        "<",
        ">",
        "</b>",
        "&lt;",
        "{",
        "}",
        "%s",
        "{0}",
        "../",
        "/",
        "-",
        "=",
        ",",
    ),
    *(
        "0",
        "-1",
        "9" * 30,
        "1e999",
        "nan",
        "inf",
        "٣",
        "²",
        "true",
        "null",
        "kB",
        "<3>",
        "# HELP x\n",
        '"} 1\nfake{a="',
    ),
)
TEXTS = strategies.lists(strategies.sampled_from(SHARP) | strategies.text(max_size=4), max_size=8).map("".join)
NUMBERS = (
    strategies.integers(-(2**70), 2**70)
    | strategies.floats()
    | strategies.sampled_from((0, -1, 1, 10**30, 10**400, float("inf"), float("nan")))
)
# One of each kind, all of them below the bounds of foreign.py.
WRONG: tuple[Any, ...] = (None, True, -1, 5, 1e15, "x", "", [], [5], {}, {"x": 5})
SCALARS: strategies.SearchStrategy[Any] = strategies.none() | strategies.booleans() | NUMBERS | TEXTS


def json_like(keys: tuple[str, ...] = ()) -> strategies.SearchStrategy[Any]:
    """Anything that JSON can say, with the keys that a parser looks for."""
    names = strategies.sampled_from(keys) | TEXTS if keys else TEXTS
    return strategies.recursive(
        SCALARS,
        lambda inner: strategies.lists(inner, max_size=5) | strategies.dictionaries(names, inner, max_size=8),
        max_leaves=25,
    )


def objects(keys: tuple[str, ...]) -> strategies.SearchStrategy[dict[str, Any]]:
    """JSON objects with these keys, or without them, and with anything below them."""
    return strategies.fixed_dictionaries({}, optional={key: json_like(keys) for key in keys})


def mutate(sample: Any) -> strategies.SearchStrategy[Any]:
    """Return values near a valid one: one part of it, at any depth, is something else or missing."""
    places = list(_list_places(sample))

    def change(place: tuple[Any, ...], value: Any, is_missing: bool) -> Any:
        changed = json.loads(json.dumps(sample))
        parent = changed
        for step in place[:-1]:
            parent = parent[step]
        if is_missing and isinstance(parent, dict):
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        return changed

    return strategies.builds(change, strategies.sampled_from(places), json_like(), strategies.booleans())


def change_each_part(sample: Any) -> Iterator[Any]:
    """Yield values near a valid one: each part of it, at any depth, is something of each other kind."""
    for place in _list_places(sample):
        for wrong in WRONG:
            yield _change(sample, place, wrong)


def _change(sample: Any, place: tuple[Any, ...], value: Any) -> Any:
    changed = json.loads(json.dumps(sample))
    parent = changed
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    return changed


def _list_places(sample: Any, above: tuple[Any, ...] = ()) -> Any:
    steps: Any = sample.items() if isinstance(sample, dict) else enumerate(sample) if isinstance(sample, list) else ()
    for step, inner in steps:
        yield (*above, step)
        yield from _list_places(inner, (*above, step))


def lines_near(*samples: str) -> strategies.SearchStrategy[str]:
    """Text near that of a file: its words in any order, cut anywhere, with others between them."""
    words = sorted({word for sample in samples for word in sample.split(" ")})
    loose = strategies.lists(strategies.sampled_from(words) | TEXTS, max_size=30).map(" ".join)
    cut = strategies.builds(
        lambda sample, start, end, inserted: sample[:start] + inserted + sample[end:],
        strategies.sampled_from(samples),
        strategies.integers(0, 400),
        strategies.integers(0, 400),
        TEXTS,
    )
    return loose | cut


def binary_near(*samples: str) -> strategies.SearchStrategy[bytes]:
    """The same as bytes that need not be UTF-8."""
    return strategies.binary(max_size=60) | lines_near(*samples).map(lambda text: text.encode("utf-8", "surrogatepass"))
