"""The plan of the house: which room may import which. docs/internals.md shows it."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# From the ground up: a room may import only from rows before its own.
ROWS = (
    {"core"},
    {"config"},
    {"state"},
    {"net"},
    {"system"},
    {"alerts", "trends", "stack"},
    {"checks", "installation"},
    {"passes"},
    {"recovery"},
    {"report", "prometheus"},
    {"resident"},
    {"jobs"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "vpsmon").rglob("*.py"))
}
_DOTTED = re.compile(r"vpsmon(\.\w+)+")


def find_imports(module: str) -> Iterator[str]:
    """Yield the modules of vpsmon that a module imports, those included that it names in a string."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{module} has a relative import, which this test does not read"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.rstrip(".")
            if _DOTTED.fullmatch(name):
                yield name


GRAPH = {module: sorted({each for each in find_imports(module) if each in MODULES}) for module in MODULES}


def find_room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_row() -> None:
    assert {find_room(module) for module in MODULES if "." in module} == set(RANK)


@pytest.mark.parametrize("module", sorted(each for each in MODULES if "." in each))
def test_no_room_imports_from_its_own_row_or_above(module: str) -> None:
    for imported in GRAPH[module]:
        if imported != "vpsmon" and find_room(imported) != find_room(module):
            assert RANK[find_room(imported)] < RANK[find_room(module)], f"{module} imports {imported}"


def test_no_module_is_reached_from_itself() -> None:
    tuple(graphlib.TopologicalSorter(GRAPH).static_order())


def test_no_file_is_long() -> None:
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values()}
    assert not {path: length for path, length in lengths.items() if length > 300}


def test_folders_that_the_resident_part_passes_through_hold_a_docstring_only() -> None:
    """What an `__init__` imports would stay in the memory of the resident monitor."""
    for folder in ("core", "system", "stack", "stack/docker"):
        body = ast.parse((ROOT / "vpsmon" / folder / "__init__.py").read_text(encoding="utf-8")).body
        assert len(body) == 1 and ast.get_docstring(ast.Module(body, [])), folder
