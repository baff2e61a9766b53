"""The resident monitor: waits, runs the kernel checks in process, and leaves the rest of a pass to a child process."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from types import FrameType

from vpsmon.config import Config, ConfigError, load_config
from vpsmon.findings import worst_status
from vpsmon.host import Host
from vpsmon.log import say
from vpsmon.pass_log import SETUP_HINT, report_problems
from vpsmon.passes import PassContext, run_kernel_stage
from vpsmon.rest_of_pass import EXIT_CRITICAL, is_needed
from vpsmon.spare import SparedState
from vpsmon.systemd import Notifier

_RECOVERY_PAUSE_SECONDS = 60


class Watcher:
    """One resident monitor. Signals: TERM and INT end it, HUP reads monitor.conf again."""

    def __init__(self, config_file: str | None, config: Config, interval_seconds: float | None) -> None:
        self._config_file = config_file
        self._config = config
        self._interval_option = interval_seconds
        self._notifier = Notifier(os.environ)
        self._is_told_to_stop = False
        self._is_told_to_reload = False
        self._child_id = 0
        self._next_recovery_seconds = 0.0
        # A signal writes a byte here, so that none can slip in between looking and waiting.
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Run passes until told to stop, and return the exit status."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._note_signal)
        if not self._config.settings.has_telegram:
            say("info", SETUP_HINT)
        self._notifier.send("READY=1")
        while not self._is_told_to_stop:
            started = time.monotonic()
            if self._is_told_to_reload:
                self._reload()
            self._run_pass()
            self._wait(started + self._interval_seconds())
        self._notifier.send("STOPPING=1")
        self._end_child()
        return 0

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._is_told_to_stop = True
        elif number == signal.SIGHUP:
            self._is_told_to_reload = True

    def _interval_seconds(self) -> float:
        return self._interval_option or self._config.settings.MONITOR_INTERVAL_SEC

    def _reload(self) -> None:
        self._is_told_to_reload = False
        self._notifier.send("RELOADING=1")
        try:
            self._config = load_config(self._config_file, os.environ)
            say("info", "configuration read again")
        except ConfigError as error:
            for line in error.lines:
                say("error", line)
            say("error", "the configuration has faults: going on with the one before")
        self._notifier.send("READY=1")

    def _run_pass(self) -> None:
        state = SparedState(self._config.state_directory)
        context = PassContext(Host(), self._config, state)
        result = run_kernel_stage(context)
        report_problems(self._config.settings, state, result)
        status = worst_status(result.findings)
        self._notifier.send(f"WATCHDOG=1\nSTATUS={status}; last pass {time.strftime('%H:%M:%S')}")
        if self._may_recover() and worst_status(result.findings) == "critical":
            self._start_recovery()
        if is_needed(context):
            self._start_child(result.entry_id or "")

    def _may_recover(self) -> bool:
        settings = self._config.settings
        return settings.ENABLE_AUTO_RECOVERY and settings.RECOVER_ON_CRITICAL

    def _start_recovery(self) -> None:
        """Have what is critical repaired at once. Recovery itself looks again, and knows what it did just before."""
        now = time.monotonic()
        if now < self._next_recovery_seconds:
            return
        self._next_recovery_seconds = now + _RECOVERY_PAUSE_SECONDS
        from vpsmon.recovery.engine.start import start_recovery

        try:
            say("info", f"critical: starting {start_recovery(self._config.path)}")
        except OSError as error:
            say("error", f"recovery could not be started: {error.strerror}; its timer comes next")

    def _start_child(self, entry_id: str) -> None:
        """Start the rest of the pass, unless that of an earlier pass still runs: it takes along what is new."""
        self._reap_child()
        if self._child_id:
            return
        arguments = [sys.executable, "-m", "vpsmon.rest_of_pass", entry_id]
        if self._config.path:
            arguments.append(self._config.path)
        try:
            self._child_id = os.posix_spawn(sys.executable, arguments, os.environ)
        except OSError as error:
            say("error", f"no process for sending could be started: {error.strerror}; the next pass tries again")

    def _reap_child(self) -> None:
        if not self._child_id:
            return
        ended_id, status = os.waitpid(self._child_id, os.WNOHANG)
        if ended_id:
            self._child_id = 0
            if os.waitstatus_to_exitcode(status) == EXIT_CRITICAL and self._may_recover():
                self._start_recovery()

    def _end_child(self) -> None:
        """Leave no process behind; what it has not sent stays in the outbox."""
        self._reap_child()
        if self._child_id:
            os.kill(self._child_id, signal.SIGTERM)
            os.waitpid(self._child_id, 0)

    def _wait(self, until_monotonic: float) -> None:
        """Wait for the next pass or a signal, with a sign of life to systemd in time."""
        watchdog_seconds = self._notifier.watchdog_seconds
        while not (self._is_told_to_stop or self._is_told_to_reload):
            remaining_seconds = until_monotonic - time.monotonic()
            if remaining_seconds <= 0:
                return
            pause_seconds = min(remaining_seconds, watchdog_seconds / 2 if watchdog_seconds else remaining_seconds)
            select.select([self._wake_read], [], [], pause_seconds)
            self._drain_wake_bytes()
            self._reap_child()
            if watchdog_seconds:
                self._notifier.send("WATCHDOG=1")

    def _drain_wake_bytes(self) -> None:
        try:
            while os.read(self._wake_read, 512):
                pass
        except BlockingIOError:
            pass
