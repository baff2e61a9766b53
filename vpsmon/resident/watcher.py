"""The resident monitor: waits for its interval or for the kernel, and leaves every pass to a copy of itself.

What stays in memory is Python and little more. A pass is a forked copy: it needs no program to be started, which on a
machine that thrashes takes seconds, and it gives all its memory back; so the watcher can neither leak nor hang.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
from types import FrameType

from vpsmon.resident.child_process import fork, name_end
from vpsmon.resident.pass_child import EXIT_CRITICAL, EXIT_WELL, parse_report, run_pass
from vpsmon.resident.preload import Preload
from vpsmon.resident.recovery_launcher import RecoveryLauncher
from vpsmon.resident.reexec import Orders, become_resident, receive_orders
from vpsmon.resident.schedule import Pace, StackTurns
from vpsmon.resident.systemd import Notifier
from vpsmon.resident.wakeups import EngineWakeup, KernelLogWakeup, PressureWakeup, Wakeup, explain_silence
from vpsmon.stack.docker.socket_path import find_socket
from vpsmon.system.log import say

_MOST_PASSES = 3
# An engine that is slow gets a minute.
_LONGEST_NOTING_SECONDS = 90


class Watcher:
    """One resident monitor. Signals: TERM and INT end it, HUP reads monitor.conf again."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._notifier = Notifier(os.environ)
        self._is_told_to_stop = False
        self._is_told_to_reload = False
        self._pace = Pace(time.monotonic())
        self._turns = StackTurns()
        self._bells: dict[int, Wakeup] = {}
        # The children: all, the passes, the one that asks the stack, and the pipe of the one at the kernel checks.
        self._children: set[int] = set()
        self._passes: set[int] = set()
        self._stack_child = 0
        self._report_descriptor: int | None = None
        self._repairs = RecoveryLauncher()
        self._readiness = Preload()
        # A signal writes a byte here, so that none can slip in between looking and waiting.
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Run passes until told to stop, and return the exit status."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._note_signal)
        self._hang_bells()
        gc.collect()
        # What is here stays: a collection in a copy need not touch it, and with that copy it page by page.
        gc.freeze()
        self._notifier.send("READY=1")
        while not self._is_told_to_stop:
            if self._is_told_to_reload:
                self._reload()
            self._shrink_when_calm()
            if self._may_start_pass() and time.monotonic() >= self._pace.find_due():
                self._start_pass()
            self._wait()
            if self._may_load():
                self._readiness.load_next()
        self._notifier.send("STOPPING=1")
        self._end_children()
        return 0

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._is_told_to_stop = True
        elif number == signal.SIGHUP:
            self._is_told_to_reload = True

    def _hang_bells(self) -> None:
        for kind, what in ((PressureWakeup, "memory pressure"), (KernelLogWakeup, "OOM kills")):
            try:
                bell: Wakeup = kind()
                self._bells[bell.descriptor] = bell
            except OSError as error:
                say("info", explain_silence(error, what))

    def _hang_engine_bell(self) -> None:
        """Listen to the container engine, where one takes connections; it may come later, or start anew."""
        path = find_socket(os.environ)
        if path and not any(isinstance(bell, EngineWakeup) for bell in self._bells.values()):
            with contextlib.suppress(OSError):
                bell = EngineWakeup(path)
                self._bells[bell.descriptor] = bell

    def _reload(self) -> None:
        self._is_told_to_reload = False
        self._notifier.send("RELOADING=1")
        orders = receive_orders(lambda descriptor: fork(lambda: _reload_config(self._orders, descriptor)))
        if orders:
            self._orders = orders
            say("info", "configuration read again")
        else:
            say("error", "the configuration has faults: going on with the one before")
        self._notifier.send("READY=1")
        self._turns.note_event()
        self._pace.look_now()

    # --- passes -------------------------------------------------------------------------------------------------------

    def _may_start_pass(self) -> bool:
        """Return whether the passes before are through with the kernel checks and have not piled up.

        One asks the stack, one sends, one looks: on a machine that thrashes a fourth would only take memory from them.
        """
        is_free = self._report_descriptor is None and len(self._passes) < _MOST_PASSES
        return is_free and not self._readiness.holds_passes

    def _start_pass(self) -> None:
        """Start a pass. A regular one asks the stack as well, unless an earlier one still does, or all is well."""
        interval_seconds = self._orders.interval_seconds
        is_regular = self._pace.start(time.monotonic(), interval_seconds)
        with_stack = is_regular and not self._stack_child and self._turns.is_next(interval_seconds)
        if is_regular:
            self._hang_engine_bell()
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            child_id = fork(lambda: run_pass(self._orders.unpack_config(), is_regular, with_stack, write_end))
        except OSError as error:
            os.close(read_end)
            say("error", f"no process for a pass could be started: {error.strerror}; the next one tries again")
            return
        finally:
            os.close(write_end)
        self._children.add(child_id)
        self._passes.add(child_id)
        self._stack_child = child_id if with_stack else self._stack_child
        self._report_descriptor = read_end

    def _take_report(self, descriptor: int) -> None:
        report = parse_report(os.read(descriptor, select.PIPE_BUF))
        os.close(descriptor)
        self._report_descriptor = None
        if report:
            status, critical_rows, is_memory_short = report
            self._notifier.send(f"WATCHDOG=1\nSTATUS={status}; last pass {time.strftime('%H:%M:%S')}")
            if critical_rows:
                self._note_child(self._repairs.start(critical_rows, self._orders, is_memory_short))

    def _note_child(self, child_id: int) -> None:
        if child_id:
            self._children.add(child_id)

    def _reap_children(self) -> None:
        for child_id in tuple(self._children):
            ended_id, status = os.waitpid(child_id, os.WNOHANG)
            if not ended_id:
                continue
            self._children.discard(child_id)
            self._passes.discard(child_id)
            exit_status = os.waitstatus_to_exitcode(status)
            if exit_status < 0:
                say("error", f"a process of vpsmon {name_end(exit_status)}; the next one goes on")
            if self._repairs.is_of_memory(child_id):
                self._note_child(self._repairs.note_end_of_memory(exit_status == 0, self._orders))
                # What it has to tell waits in the outbox.
                self._pace.ring()
            if child_id == self._stack_child:
                self._stack_child = 0
                self._turns.note_end(exit_status == EXIT_WELL)
                if exit_status == EXIT_CRITICAL:
                    self._note_child(self._repairs.start({"stack": False}, self._orders))

    def _end_children(self) -> None:
        """Leave no process behind; what they have not sent stays in the outbox."""
        self._reap_children()
        for child_id in self._children:
            os.kill(child_id, signal.SIGTERM)
        for child_id in self._children:
            os.waitpid(child_id, 0)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for the next pass, a bell, a child or a signal, with a sign of life to systemd in time."""
        now = time.monotonic()
        deadlines = [self._pace.find_due()] if self._may_start_pass() else []
        if self._may_load():
            deadlines.append(now)
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        if self._report_descriptor is not None:
            poller.register(self._report_descriptor, select.POLLIN)
        for bell in self._bells.values():
            if bell.is_deaf_until <= now:
                poller.register(bell.descriptor, bell.poll_mask)
            else:
                deadlines.append(bell.is_deaf_until)
        watchdog_seconds = self._notifier.watchdog_seconds
        if watchdog_seconds:
            deadlines.append(now + watchdog_seconds / 2)
        pause_seconds = max(0.0, min(deadlines) - now) if deadlines else None
        for descriptor, _ in poller.poll(pause_seconds and pause_seconds * 1000):
            if descriptor == self._report_descriptor:
                self._take_report(descriptor)
            elif descriptor in self._bells:
                self._answer(self._bells[descriptor])
        self._drain_wake_bytes()
        self._reap_children()
        if watchdog_seconds:
            self._notifier.send("WATCHDOG=1")

    def _answer(self, bell: Wakeup) -> None:
        has_rung = bell.has_rung(time.monotonic())
        if isinstance(bell, EngineWakeup):
            if bell.is_broken:
                del self._bells[bell.descriptor]
            if has_rung or bell.is_broken:
                self._turns.note_event()
            if has_rung and bell.is_start:
                self._note_containers(bell.events)
        elif has_rung:
            self._hear(bell)

    def _note_containers(self, events: bytes) -> None:
        """Have the new containers read, for recovery: the next pass may be too late for that."""
        with contextlib.suppress(OSError):
            self._children.add(fork(lambda: _note_containers(self._orders, events), _LONGEST_NOTING_SECONDS))

    def _hear(self, bell: PressureWakeup | KernelLogWakeup) -> None:
        """Look as soon as that makes sense; where memory is short, be ready for what may come."""
        self._pace.ring()
        if isinstance(bell, PressureWakeup):
            self._readiness.ring(time.monotonic(), self._orders.sends_by_tls)

    def _may_load(self) -> bool:
        """Return whether there is something to load now: a pass that looks, or that is due, comes first."""
        is_due = self._may_start_pass() and time.monotonic() >= self._pace.find_due()
        return self._readiness.is_loading and self._report_descriptor is None and not is_due

    def _shrink_when_calm(self) -> None:
        """Start anew, small again, when memory has not been short for a while."""
        if self._readiness.may_shrink(time.monotonic()) and not self._children:
            become_resident(self._orders.packed)

    def _drain_wake_bytes(self) -> None:
        try:
            while os.read(self._wake_read, 512):
                pass
        except BlockingIOError:
            pass


def _reload_config(orders: Orders, descriptor: int) -> int:
    from vpsmon.resident.child_tasks import reload_config

    return reload_config(orders, descriptor)


def _note_containers(orders: Orders, events: bytes) -> int:
    from vpsmon.resident.child_tasks import note_containers

    return note_containers(orders.unpack_config(), events)
