"""The lock file of the installer: every dependency, in a version that pyproject.toml allows, with hashes."""

from __future__ import annotations

import re
from pathlib import Path

import tomli

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "vpsmon/requirements.lock").read_text(encoding="utf-8")
PINNED = re.compile(r"(?m)^([a-z0-9-]+)==([0-9][^ ]*) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_every_dependency_is_locked_in_a_version_that_is_allowed() -> None:
    pinned = {name: version for name, version, _ in PINNED.findall(LOCK)}
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in [*project["project"]["dependencies"], *project["build-system"]["requires"]]:
        name, least = requirement.split(">=")
        assert as_numbers(pinned[name]) >= as_numbers(least), requirement


def test_nothing_else_stands_in_it() -> None:
    rest = PINNED.sub("", LOCK)
    assert all(line.startswith("#") for line in rest.splitlines() if line), rest


def test_what_is_compiled_has_wheels_for_five_pythons_and_two_machines() -> None:
    counts = {name: hashes.count("sha256:") for name, _, hashes in PINNED.findall(LOCK)}
    assert counts["psycopg2-binary"] >= 10
    assert counts["charset-normalizer"] >= 10
    assert counts["psutil"] >= 2
