"""How much the fault tests try: a bounded part always, everything with `--soak`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import TypeVar

import hypothesis
import pytest

_Item = TypeVar("_Item")


class Effort:
    """How much of a test is run: with `--soak` all of it, else a part: the same in every run, another in each test."""

    def __init__(self, is_soak: bool, test: str) -> None:
        self.is_soak = is_soak
        # As the inputs below: a run of CI is red only for a change.
        self.chance = Random() if is_soak else Random(test)  # noqa: S311 - spreads the faults

    def some(self, items: Iterable[_Item], count: int) -> list[_Item]:
        """Return all items, or that many of them, spread over all."""
        everything = list(items)
        if self.is_soak or len(everything) <= count:
            return everything
        start = self.chance.random()
        return [everything[int((start + position) * len(everything) / count)] for position in range(count)]

    def times(self, bounded: int, soak: int) -> int:
        """Return how often something is done."""
        return soak if self.is_soak else bounded


def pytest_configure(config: pytest.Config) -> None:
    """A found input is kept nowhere but in the output: the tests run from a checkout that they leave as it is."""
    hypothesis.settings.register_profile(
        "faults",
        max_examples=1_000 if config.getoption("--soak") else 60,
        # The same inputs in every run of CI, so that it is red only for a change; new ones are what a soak is for.
        derandomize=not config.getoption("--soak"),
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("faults")


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> Effort:
    """The bounded part, or everything."""
    return Effort(bool(request.config.getoption("--soak")), request.node.nodeid)


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a short path, in which disks have names that vpsmon, at 80 characters, need not cut."""
    return tmp_path_factory.mktemp("f")
