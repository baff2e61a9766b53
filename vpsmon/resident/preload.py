"""What the resident monitor loads while memory is short: from the disk of a machine that thrashes it takes long."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from importlib import import_module

# What copies of the monitor run. What these import only in their functions, LOADED_LATE says in each of them.
_COPY_OF_PASSES = "vpsmon.resident.pass_child"
_COPY_OF_TASKS = "vpsmon.resident.child_tasks"
# What a message goes out by.
_REQUESTS = "vpsmon.net.http_client"
_CALM_SECONDS = 120.0


class Preload:
    """Loads it step by step: all at once took 20 s, in which nothing was heard. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._latest_ring_seconds = float("-inf")
        self._steps: Iterator[bool] | None = None
        self.is_loading = False
        # Importing is most of the work of a pass. Done here first, it is done once and not by each pass again.
        self.holds_passes = False

    def ring(self, now: float, sends_by_tls: bool) -> None:
        """Note that tasks wait for memory: from now on there is something to load."""
        self._latest_ring_seconds = now
        if self._steps is None:
            self._steps = _load(sends_by_tls)
            self.is_loading = self.holds_passes = True

    def load_next(self) -> None:
        """Take the next step."""
        if self._steps is None:
            return
        can_look = next(self._steps, None)
        self.holds_passes = can_look is False
        if can_look is None:
            self.is_loading = False
            gc.freeze()

    def may_shrink(self, now: float) -> bool:
        """Return whether something was loaded, and memory has not been short for a while."""
        return self._steps is not None and now - self._latest_ring_seconds > _CALM_SECONDS


def _load(sends_by_tls: bool) -> Iterator[bool]:
    """Take a step each time, and yield whether a pass has all it needs."""
    from vpsmon.checks import list_modules

    of_a_pass: list[str] = []
    for name in (*list_modules("kernel"), _COPY_OF_PASSES):
        of_a_pass += _import(name)
        yield False
    urgent: list[str] = []
    for name in of_a_pass:
        urgent += _import(name)
        yield name == of_a_pass[-1]
    urgent += [_COPY_OF_TASKS, _REQUESTS]
    for name in urgent:
        urgent += _import(name)
        yield True
    from vpsmon.net.tls import make_tls_context

    yield True
    if sends_by_tls:
        make_tls_context()


def _import(name: str) -> Sequence[str]:
    """Import a module, and return what it will import in its functions."""
    late: Sequence[str] = getattr(import_module(name), "LOADED_LATE", ())
    return late
