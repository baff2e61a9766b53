"""A resident monitor in a copy of the test's own process, so that what is patched here is patched there."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpsmon.resident.handover import Orders, pack_orders
from vpsmon.resident.watcher import Watcher
from vpsmon.settings import DEFAULTS, Config


@contextmanager
def forked_watcher(folder: Path, interval_seconds: float) -> Iterator[int]:
    """A monitor with the default settings and its state in this folder, by its process id."""
    orders = Orders(pack_orders(Config(DEFAULTS, None, str(folder)), None, interval_seconds))
    watcher_id = os.fork()
    if watcher_id == 0:
        os._exit(Watcher(orders).run())
    try:
        yield watcher_id
    finally:
        os.kill(watcher_id, signal.SIGTERM)
        os.waitpid(watcher_id, 0)
