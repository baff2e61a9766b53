"""How long it takes from a stall, or from an OOM kill, until the message is with Telegram."""

from __future__ import annotations

import os
import select
import statistics
import threading
import time
from pathlib import Path

from tests.kit.command import started_vpsmon, write_config
from tests.kit.kernel import kill_by_out_of_memory, memory_pressure, read_pressure_percent, wait_until
from tests.kit.telegram import FakeTelegram, Message

# In two seconds all tasks wait for a tenth of the time: then a stall has begun.
_STALL = b"full 200000 2000000\n"
# Reached by what the kit does; on a whole machine it would be the default of 60.
_LIMIT = 8
_PATIENCE_SECONDS = 60


def measure(folder: Path, runs: int) -> dict[str, list[float]]:
    """Return the seconds of each run, for stalls and for OOM kills; the interval is an hour."""
    with FakeTelegram() as telegram:
        write_config(
            folder,
            TELEGRAM_BOT_TOKEN=telegram.token,
            TELEGRAM_CHAT_ID=str(telegram.chat_id),
            TELEGRAM_API_BASE=telegram.url,
            ALERT_RATE_LIMIT_SEC=0,
            MEMORY_PRESSURE_WARNING=_LIMIT,
            MEMORY_PRESSURE_THRESHOLD=100,
            ENABLE_AUTO_RECOVERY=False,
        )
        with started_vpsmon(["monitor", "--interval", "3600"], cwd=folder):
            wait_until((folder / ".alerts/pass_state.json").exists, _PATIENCE_SECONDS, "a first pass")
            time.sleep(5)
            kills = [_measure_kill(telegram, number) for number in range(runs)]
            stalls = [_measure_stall(telegram) for _ in range(runs)]
    return {"OOM kill to message": kills, "stall to message": stalls}


def _measure_kill(telegram: FakeTelegram, number: int) -> float:
    process_id = kill_by_out_of_memory(f"greedy{number}")
    killed = time.time()
    message = _await_message(telegram, f"(pid {process_id},")
    time.sleep(3)
    return message.received_at - killed


def _measure_stall(telegram: FakeTelegram) -> float:
    count = len(telegram.messages)
    bell = os.open("/proc/pressure/memory", os.O_RDWR | os.O_NONBLOCK)
    os.write(bell, _STALL)
    poller = select.poll()
    poller.register(bell, select.POLLPRI)
    began: list[float] = []

    def listen() -> None:
        if poller.poll(_PATIENCE_SECONDS * 1000):
            began.append(time.time())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with memory_pressure(least_full_percent=0.1):
        message = _await_message(telegram, "memory_pressure", count)
    listener.join(_PATIENCE_SECONDS)
    os.close(bell)
    # Until the kernel's average of 10 s has forgotten it, and the next stall is one of its own.
    wait_until(lambda: read_pressure_percent("some") < 1, _PATIENCE_SECONDS * 3, "calm")
    return message.received_at - began[0]


def _await_message(telegram: FakeTelegram, words: str, start: int = 0) -> Message:
    found: list[Message] = []

    def is_there() -> bool:
        found[:] = [each for each in telegram.messages[start:] if words in each.text]
        return bool(found)

    wait_until(is_there, _PATIENCE_SECONDS, f"a message with {words}")
    return found[0]


def describe(seconds: list[float]) -> str:
    """Return median, fastest and slowest."""
    return (
        f"median {statistics.median(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f} s in {len(seconds)} runs"
    )
