"""What the resident monitor does when the kernel rings: load what a pass needs, look, and load the rest."""

from __future__ import annotations

import importlib
import os
import select
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.kit.kernel import wait_until
from tests.kit.resident import Notes, forked_watcher, report
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.resident import preload as readiness
from vpsmon.resident.pass_child import run_pass

PATIENCE_SECONDS = 60.0


class OneRing:
    """Rings once, at once."""

    poll_mask = select.POLLIN
    is_deaf_until = 0.0

    def __init__(self) -> None:
        self.descriptor, write_end = os.pipe()
        os.write(write_end, b"!")

    def has_rung(self, now: float) -> bool:
        return bool(os.read(self.descriptor, 1))


def test_what_a_pass_needs_is_loaded_before_it_and_the_rest_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes(tmp_path / "notes")

    def load_slowly(name: str) -> ModuleType:
        # All of them take longer than the pause between two looks.
        time.sleep(0.3)
        notes.add(name)
        return importlib.import_module(name)

    def note_and_report(config: Config, is_regular: bool, with_stack: bool, descriptor: int) -> int:
        notes.add("regular look" if is_regular else "look")
        report(descriptor, "ok")
        return 0

    monkeypatch.setattr("vpsmon.resident.watcher.PressureWakeup", OneRing)
    monkeypatch.setattr("vpsmon.resident.watcher.run_pass", note_and_report)
    monkeypatch.setattr(readiness, "import_module", load_slowly)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with forked_watcher(tmp_path, 3600):
        wait_until(lambda: "vpsmon.recovery.run" in notes.read(), PATIENCE_SECONDS, "all is loaded")
    done = notes.read()
    assert done.index("vpsmon.passes.stack_stage") < done.index("look") < done.index("vpsmon.alerts.delivery")


@pytest.mark.parametrize("is_regular", [True, False])
def test_only_a_regular_pass_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_regular: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    well = DEFAULTS._replace(MEMORY_WARNING_MB=0, MEMORY_CRITICAL_MB=0, SWAP_WARNING_MB=10**9, SWAP_THRESHOLD_MB=10**9)
    config = Config(
        well._replace(MEMORY_PRESSURE_WARNING=100, MEMORY_PRESSURE_THRESHOLD=100), None, str(tmp_path / "alerts")
    )
    run_pass(config, is_regular, False, os.open(os.devnull, os.O_WRONLY))
    assert bool(synced) == is_regular
    assert (tmp_path / "alerts" / "pass_state.json").exists()
