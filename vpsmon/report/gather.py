"""Reads everything that a report tells, once; whatever cannot be read stands there with the reason instead.

The checks are read and judged as in a pass. Nothing is remembered and nobody is told: the next pass sees what it would
have seen without the report.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from vpsmon.checks import load_checks
from vpsmon.config.settings import Config
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.look import Look, look
from vpsmon.passes.run_check import Attempt
from vpsmon.passes.stages import HISTORY_LOG, find_stopped
from vpsmon.recovery.changes import Emergency, list_emergencies
from vpsmon.recovery.engine.store import LOG as RECOVERY_LOG
from vpsmon.recovery.events import FILE as EVENTS
from vpsmon.report.facts import Facts, Unread
from vpsmon.report.logs import LogLine, Repair, find_repairs, parse_log, read_log
from vpsmon.report.timeline import DAY_SECONDS, Placed, place
from vpsmon.stack.n8n.day import read_executions_of_day, read_workflows
from vpsmon.stack.postgres.leads import read_lead_count
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.recovery_file import RECOVERY_FILE, Stopped
from vpsmon.system.host import Host
from vpsmon.system.proc import read_boot_id, read_counters
from vpsmon.trends.history import History
from vpsmon.trends.samples import CONTAINERS, MACHINE

_TWO_DAYS_SECONDS = 2.0 * DAY_SECONDS
_Answer = TypeVar("_Answer")


def gather(host: Host, config: Config, state: StateDirectory) -> Facts:
    """Return what a report tells of this machine, now and over the last two days."""
    settings = config.settings
    seen = _look(host, config, state)
    return Facts(
        host.name,
        host.wall_seconds(),
        host.monotonic_seconds(),
        seen.findings,
        {_name(each): each.reading for each in seen.attempts if each.reading is not None},
        _try(lambda: _read_samples(host, state, MACHINE)),
        _try(lambda: _read_samples(host, state, CONTAINERS)),
        _try(lambda: _read_lines(host, state, HISTORY_LOG)),
        _try(lambda: _read_repairs(host, state)),
        _try(lambda: _read_emergencies(state)),
        _try(lambda: _read_oom_kills(host)),
        _try(lambda: read_workflows(host, settings)),
        _try(lambda: read_executions_of_day(host, settings)),
        _try(lambda: read_lead_count(host, settings)),
    )


def _read_emergencies(state: StateDirectory) -> list[Emergency]:
    content = state.peek(RECOVERY_FILE)
    if content is None:
        raise ReadError(f"{RECOVERY_FILE} is unreadable; the next recovery moves it aside")
    return list_emergencies(content)


def _name(attempt: Attempt) -> str:
    return attempt.check.__name__.rpartition(".")[2]


def _try(read: Callable[[], _Answer]) -> _Answer | Unread:
    try:
        return read()
    except NotApplicable as absence:
        return Unread(absence.reason, False, absence.remedy)
    except ReadError as error:
        return Unread(error.reason, True, error.remedy)
    except StateError as error:
        return Unread(str(error), True)
    except Exception as error:
        # One answer that nobody foresaw must not cost the others.
        return Unread(f"unexpected {type(error).__name__}: please report this", True)


def _look(host: Host, config: Config, state: StateDirectory) -> Look:
    """Return what all checks find, as a pass would; nothing of it is kept."""
    try:
        with state.lock():
            memories = Memories(host, state.load(MEMORIES_FILE), with_alerts=False)
            stopped = find_stopped(state, host, config.settings)
    except StateError:
        # Saving the report says what is wrong with the state; what can be read without it is read.
        memories, stopped = Memories(host, {}, with_alerts=False), Stopped()
    host.history_folder = state.path
    return look([*load_checks("kernel"), *load_checks("stack")], host, config.settings, memories, stopped)


def _read_samples(host: Host, state: StateDirectory, kind: str) -> list[Placed]:
    history = History(state.path)
    with _explain_errors(os.path.join(state.path, f"history_{kind}_*.log")):
        samples = [*history.read_all(kind, "minutes"), *history.read_all(kind, "passes")]
    placed = place(samples, read_boot_id(host), host.monotonic_seconds(), host.wall_seconds())
    return [each for each in placed if each.age_seconds < _TWO_DAYS_SECONDS]


def _read_lines(host: Host, state: StateDirectory, name: str) -> list[LogLine]:
    path = os.path.join(state.path, name)
    with _explain_errors(path):
        text = read_log(host, path)
    return parse_log(text, host.wall_seconds(), _TWO_DAYS_SECONDS)


def _read_repairs(host: Host, state: StateDirectory) -> list[Repair]:
    path = os.path.join(state.path, RECOVERY_LOG)
    with _explain_errors(path):
        log = read_log(host, path)
    path = os.path.join(state.path, EVENTS)
    with _explain_errors(path):
        events = read_log(host, path)
    return find_repairs(events, log, host.wall_seconds(), _TWO_DAYS_SECONDS)


@contextlib.contextmanager
def _explain_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}") from None


def _read_oom_kills(host: Host) -> int:
    counter = read_counters(host, "vmstat").get("oom_kill")
    if counter is None:
        raise NotApplicable("this kernel does not count OOM kills (Linux 4.13 does)")
    return counter
