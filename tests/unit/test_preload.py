"""What is loaded while memory is short: step by step, once, and given back after a while."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import vpsmon
from vpsmon.net import tls
from vpsmon.resident import preload as readiness
from vpsmon.resident.preload import Preload


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def note_and_import(name: str) -> ModuleType:
        names.append(name)
        return importlib.import_module(name)

    monkeypatch.setattr(readiness, "import_module", note_and_import)
    monkeypatch.setattr(tls, "make_tls_context", lambda: names.append("TLS"))
    return names


def load_all(ready: Preload) -> int:
    steps = 0
    while ready.is_loading:
        ready.load_next()
        steps += 1
    return steps


@pytest.mark.parametrize("has_tls", [True, False])
def test_one_module_is_loaded_at_a_time_and_tls_where_messages_need_it(loaded: list[str], has_tls: bool) -> None:
    ready = Preload()
    assert not ready.is_loading
    ready.ring(0.0, has_tls)
    ready.load_next()
    assert loaded == ["vpsmon.checks.kernel.disk"]
    assert ready.holds_passes
    while ready.holds_passes:
        ready.load_next()
    assert loaded[-1] == "vpsmon.passes.stack_stage"
    assert load_all(ready) >= 5
    assert not ready.holds_passes
    assert ("TLS" in loaded) == has_tls
    assert "vpsmon.recovery.rules.swap_thrashing" in loaded
    count = len(loaded)
    ready.ring(60.0, True)
    assert (ready.is_loading, len(loaded)) == (False, count)


def test_it_is_given_back_when_memory_has_not_been_short_for_a_while(loaded: list[str]) -> None:
    ready = Preload()
    assert not ready.may_shrink(1e9)
    ready.ring(1000.0, False)
    load_all(ready)
    ready.ring(1100.0, False)
    assert [ready.may_shrink(at) for at in (1110.0, 1219.0, 1221.0)] == [False, False, True]


def list_late_imports(path: Path) -> dict[str, set[str]]:
    """Return what a module says in LOADED_LATE, and what its functions really import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LOADED_LATE"
    ]
    functions = (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))
    imports = (node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom))
    real = {name for node in imports for name in [node.module, *(f"{node.module}.{each.name}" for each in node.names)]}
    return {"said": set(*said), "real": {str(name) for name in real}}


def test_what_is_said_to_be_loaded_late_is_imported_by_a_function_of_that_module() -> None:
    late = [list_late_imports(path) for path in Path(vpsmon.__file__).parent.rglob("*.py")]
    assert sum(bool(each["said"]) for each in late) >= 4
    assert [each["said"] - each["real"] for each in late if each["said"] - each["real"]] == []
