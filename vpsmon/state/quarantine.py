"""Unreadable files, moved out of the way to where their owner finds them: `NAME.corrupt-<time>`."""

from __future__ import annotations

import itertools
import os
import time

_KEPT = 10
_SIGN = ".corrupt-"


def move_aside(folder: str, name: str, wall_seconds: float) -> str:
    """Rename a file of a folder and return its new name; beyond so many the oldest are deleted. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall_seconds))
    aside = _choose_free(folder, f"{name}{_SIGN}{stamp}")
    os.replace(os.path.join(folder, name), os.path.join(folder, aside))
    corrupt = [each for each in os.listdir(folder) if _SIGN in each]
    for each in sorted(corrupt, key=lambda each: each.partition(_SIGN)[2])[:-_KEPT]:
        os.unlink(os.path.join(folder, each))
    return aside


def _choose_free(folder: str, name: str) -> str:
    """Return the name, with a number where there is such a file: what is kept is never overwritten."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if not os.path.lexists(os.path.join(folder, each)))
