"""The door to files, clocks and commands; tests hand in another one.

Other doors: net/http_client.py and net/smtp.py (other machines), stack/docker/api.py and library.py (the engine), the
sessions of PostgreSQL and Redis, stack/docker/stop_by_signal.py, resident/wakeups.py and systemd.py (what wakes the
monitor, and its service manager).

Heavy modules (subprocess, socket) are imported by the method that needs them: a pass that has nothing to send must
not pay for them.
"""

from __future__ import annotations

import os
import time

# `threading` adds nothing to this lock but 2 ms of imports to every pass.
from _thread import LockType, allocate_lock
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from vpsmon.config.settings import SECRET_KEYS
from vpsmon.core.findings import ReadError
from vpsmon.system.disk_space import DiskSpace, read_disk_space

if TYPE_CHECKING:
    pass

# Larger than any file of /proc that is read here; a fake or broken one cannot fill the memory.
_LARGEST_FILE_BYTES = 4_000_000
# One read of /dev/kmsg returns one record, and fails with EINVAL where the buffer is too small for it.
_KERNEL_LOG_RECORD_BYTES = 8192
_CONNECT_TIMEOUT_SECONDS = 0.5


class CommandResult(NamedTuple):
    """How a command ended, and what it wrote to its standard output and standard error."""

    status: int
    output: str
    errors: str


_Answer = TypeVar("_Answer")


class Host:
    """This machine for the length of one pass: what several checks need is read once, and kept nowhere else."""

    def __init__(
        self,
        proc: str = "/proc",
        kernel_log: str = "/dev/kmsg",
        wall_clock: Callable[[], float] = time.time,
        monotonic_clock: Callable[[], float] = time.monotonic,
        patience: float = 1.0,
    ) -> None:
        """`patience` is how many times longer than usual an answer may take: more on a machine that thrashes."""
        self.proc = proc
        self.kernel_log = kernel_log
        self.wall_seconds = wall_clock
        self.monotonic_seconds = monotonic_clock
        self.patience = patience
        # Handed over by who looks, before anything is read: the folder of the history, None where there is none to
        # look back on, and the containers, None where the engine is to be asked for them.
        self.history_folder: str | None = None
        self.known_containers: list[Any] | None = None
        self.identities: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, Any] = {}
        self._locks: dict[str, LockType] = {}

    def once(self, name: str, compute: Callable[[], _Answer]) -> _Answer:
        """Return what `compute` returned, or raise what it raised, the first time in this pass; others wait for it."""
        with self._locks.setdefault(name, allocate_lock()):
            if name not in self._answers:
                try:
                    self._answers[name] = (compute(), None)
                except Exception as failure:
                    self._answers[name] = (None, failure)
            answer, error = self._answers[name]
        if error is not None:
            raise error
        return cast("_Answer", answer)

    def read_proc(self, name: str) -> str:
        """Return the text of a file below /proc, the same for the whole pass. Raises OSError."""
        path = os.path.join(self.proc, name)
        return self.once(path, lambda: self.read_file(path))

    def read_file(self, path: str) -> str:
        """Return the text of a file, undecodable bytes replaced. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            size = 0
            while size < _LARGEST_FILE_BYTES and (part := os.read(descriptor, 65536)):
                parts.append(part)
                size += len(part)
        finally:
            os.close(descriptor)
        return b"".join(parts).decode("utf-8", "replace")

    @property
    def name(self) -> str:
        """The name of this machine, without its domain."""
        return os.uname().nodename.split(".")[0]

    def list_process_ids(self) -> list[int]:
        """Return the ids of the processes that are running now. Raises OSError."""
        return [int(name) for name in os.listdir(self.proc) if name.isdecimal()]

    def read_disk_space(self, path: str) -> DiskSpace:
        """Return the space of the filesystem that holds the path, asked once a pass. Raises OSError, ValueError."""
        return self.once(f"space of {path}", lambda: read_disk_space(path))

    def read_kernel_log(self) -> Iterator[str]:
        """Yield every record that /dev/kmsg still holds, oldest first. Raises OSError where it may not be read."""
        descriptor = os.open(self.kernel_log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while True:
                try:
                    record = os.read(descriptor, _KERNEL_LOG_RECORD_BYTES)
                except BlockingIOError:
                    return
                except BrokenPipeError:
                    # The record was overwritten while we read; the next read continues with the oldest one left.
                    continue
                if not record:
                    return
                yield record.decode("utf-8", "replace")
        finally:
            os.close(descriptor)

    def can_connect(self, address: str, port: int) -> bool:
        """Return whether something accepts connections at an address in digits; nothing is sent.

        True as well where there is no socket left to try with: who asks looks closer then.
        """
        # `socket` is 3 ms of imports around this class, a fifth of what starting Python costs.
        from _socket import AF_INET, SOCK_STREAM, socket

        try:
            connection = socket(AF_INET, SOCK_STREAM)
        except OSError:
            return True
        try:
            connection.settimeout(_CONNECT_TIMEOUT_SECONDS)
            return connection.connect_ex((address, port)) == 0
        except OSError:
            return True
        finally:
            connection.close()

    def run(self, command: Sequence[str], timeout_seconds: float) -> str:
        """Return what a command prints. Raises ReadError when it is missing, fails or takes too long."""
        done = self.run_command(command, timeout_seconds)
        if done.status:
            complaint = done.errors.strip().split("\n")[-1]
            raise ReadError(f"{command[0]} failed: {complaint}")
        return done.output

    def run_command(self, command: Sequence[str], timeout_seconds: float) -> CommandResult:
        """Return how a command ended, whatever its status. Raises ReadError when it is missing or takes too long."""
        import subprocess

        # No command needs them, and what a child has in its environment ends up in its core dump.
        environment = {name: value for name, value in os.environ.items() if name not in SECRET_KEYS}
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "env": environment}
        try:
            done = subprocess.run(command, **options, timeout=timeout_seconds, check=False)
        except FileNotFoundError:
            raise ReadError(f"{command[0]} is not installed") from None
        except (OSError, subprocess.SubprocessError) as error:
            raise ReadError(f"{command[0]} could not be run: {type(error).__name__}") from None
        output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return CommandResult(done.returncode, output, errors)
