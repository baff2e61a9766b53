"""A resident monitor in a copy of the test's own process, so that what is patched here is patched there."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpsmon.config import Config
from vpsmon.resident.handover import Orders
from vpsmon.resident.watcher import Watcher
from vpsmon.settings import DEFAULTS


@contextmanager
def forked_watcher(folder: Path, interval_seconds: float) -> Iterator[int]:
    """A monitor with the default settings and its state in this folder, by its process id."""
    orders = Orders(None, interval_seconds, Config(DEFAULTS, None, str(folder)))
    watcher_id = os.fork()
    if watcher_id == 0:
        os._exit(Watcher(orders).run())
    try:
        yield watcher_id
    finally:
        os.kill(watcher_id, signal.SIGTERM)
        os.waitpid(watcher_id, 0)
