"""Records are made with keywords: a row of positional Nones says nothing, and the next field shifts it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKERS = ROOT / "vpsmon/core/findings.py"
FILES = [path for folder in ("vpsmon", "tests") for path in sorted((ROOT / folder).rglob("*.py")) if path != MAKERS]


@pytest.mark.parametrize("record", ["Finding"])
def test_records_are_made_with_keywords(record: str) -> None:
    positional = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == record and node.args
    ]
    assert positional == []
