"""kill -9 of a recovery at every call: what it has stopped is known, told, and started again."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import Effort
from tests.kit.command import Workdir
from tests.kit.engine import FakeEngine, PretendContainer
from tests.kit.strace import record_calls, run_killed
from tests.kit.telegram import FakeTelegram
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.model import Incident
from vpsmon.state.directory import StateDirectory
from vpsmon.state.recovery_file import RECOVERY_FILE
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id

IDENTITY = "c0ffee" * 10 + "abcd"
LOOP = ["recover", "loops"]


def reset(engine: FakeEngine) -> PretendContainer:
    """Have the container wait for its next start, again and again."""
    container = PretendContainer(IDENTITY, "crm-leaky-1", status="restarting", restart_count=3)
    engine.containers = {IDENTITY: container}
    engine.actions.clear()
    return container


def prepare(workdir: Workdir, telegram: FakeTelegram, engine: FakeEngine) -> Path:
    """Return a state directory in which the next recovery stops the container: it was restarted twice in vain."""
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        DISK_WARNING_PCT=100,
        DISK_CRITICAL_PCT=100,
    )
    reset(engine)
    state = workdir.path / ".alerts"
    monotonic_seconds, wall_seconds = time.monotonic(), time.time()
    book = Book({}, read_boot_id(Host()), monotonic_seconds, wall_seconds)
    incident = Incident(target=IDENTITY, name="crm-leaky-1", cause="", steps=(), touches=IDENTITY)
    book.find("restart_loop", incident, book.at(monotonic_seconds))["attempts"] = 2
    with StateDirectory(str(state)).lock():
        StateDirectory(str(state)).commit({RECOVERY_FILE: book.to_content(monotonic_seconds, wall_seconds)})
    for _ in range(2):
        assert workdir.run(*LOOP, env={"DOCKER_HOST": engine.host}).returncode == 0
    assert engine.actions == []
    template = workdir.path / "template"
    state.rename(template)
    return template


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def test_a_recovery_that_is_killed_at_any_call_tells_what_it_did_and_can_undo_it(
    workdir: Workdir, telegram: FakeTelegram, figures: Counter[str], effort: Effort, engine: FakeEngine
) -> None:
    with engine:
        environment = {"DOCKER_HOST": engine.host}
        template = prepare(workdir, telegram, engine)
        state = workdir.path / ".alerts"
        shutil.copytree(template, state)
        calls = record_calls(LOOP, workdir.path, environment)
        assert engine.actions == [("stop", "crm-leaky-1")]
        for call in effort.some(calls, 6):
            shutil.rmtree(state)
            shutil.copytree(template, state)
            container = reset(engine)
            telegram.messages.clear()
            done = run_killed(LOOP, call, workdir.path, environment)
            figures["kills of a recovery survived"] += done.returncode == -signal.SIGKILL
            was_stopped = container.status == "exited"
            for words in (LOOP, LOOP, ["monitor", "--once"], ["recover", "restore"]):
                after = workdir.run(*words, env=environment)
                assert after.returncode == 0, (call, after.stderr)
                assert "Traceback" not in after.stderr
                if words == LOOP and was_stopped:
                    known = json.loads((state / RECOVERY_FILE).read_text())["changes"]
                    assert [each["undo"][0] for each in known] == ["start_container"], call
            texts = [message.text for message in telegram.messages if "crm-leaky-1" in message.text]
            assert any("recovery restart_loop" in text for text in texts), (call, texts)
            assert container.status == "running", (call, engine.actions)
            assert engine.actions.count(("stop", "crm-leaky-1")) <= 2
            assert not (state / "commit.json").exists()
            assert json.loads((state / RECOVERY_FILE).read_text())["changes"] == []
            figures["changes left undone by recovery"] += 0
