"""A resident monitor in a copy of the test's own process, so that what is patched here is patched there."""

import marshal
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.resident.reexec import Orders, pack_orders
from vpsmon.resident.watcher import Watcher


class Notes:
    """What a copy of the test's own process notes, a word a line: a file, because its memory is another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def add(self, word: str) -> int:
        """Note a word; return the exit status of a copy that is done."""
        with self._path.open("a") as file:
            file.write(f"{word}\n")
        return 0

    def read(self) -> list[str]:
        """Return the words so far."""
        return self._path.read_text().splitlines()


def report(descriptor: int, status: str, critical_rows: Sequence[str] = (), is_memory_short: bool = False) -> None:
    """Report of the kernel checks what a pass reports: rows that a rule may repair, and whether memory is short."""
    os.write(descriptor, marshal.dumps((status, dict.fromkeys(critical_rows, False), is_memory_short)))
    os.close(descriptor)


@contextmanager
def forked_watcher(folder: Path, interval_seconds: float) -> Iterator[int]:
    """A monitor with the default settings and its state in this folder, by its process id."""
    orders = Orders(pack_orders(Config(DEFAULTS, None, str(folder)), None, interval_seconds))
    watcher_id = os.fork()
    if watcher_id == 0:
        # Whatever happens, the copy of the test run must not go on with the tests.
        try:
            os._exit(Watcher(orders).run())
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    try:
        yield watcher_id
    finally:
        os.kill(watcher_id, signal.SIGTERM)
        os.waitpid(watcher_id, 0)
