"""What follows the kernel checks of a pass: sending what waits, and the heartbeat.

`monitor --once` runs it in the foreground. The resident monitor runs it as a child process, which imports what it
needs, exits, and gives its memory back; a hung connection can then never hang the watcher.
"""

from __future__ import annotations

import os
import signal
import sys

from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import list_entries
from vpsmon.config import Config, ConfigError, load_config
from vpsmon.findings import ReadError
from vpsmon.host import Host
from vpsmon.log import say
from vpsmon.state import StateDirectory, StateError

_HEARTBEAT_TIMEOUT_SECONDS = 5.0
# The child's whole life; every step in it has a shorter limit of its own.
_CHILD_TIMEOUT_SECONDS = 60


def is_needed(config: Config, state: StateDirectory) -> bool:
    """Return whether there is anything to do, so that a quiet pass costs no process. Raises StateError."""
    settings = config.settings
    return bool(settings.HEARTBEAT_URL) or (settings.has_telegram and bool(list_entries(state.load(OUTBOX_FILE))))


def run_rest_of_pass(host: Host, config: Config, state: StateDirectory) -> None:
    """Send what waits in the outbox and tell the heartbeat that the pass was good. Raises StateError."""
    settings = config.settings
    if settings.has_telegram and list_entries(state.load(OUTBOX_FILE)):
        from vpsmon.alerts.delivery import Delivery
        from vpsmon.alerts.telegram import make_destination

        Delivery(host, state, make_destination(settings)).deliver()
    if settings.HEARTBEAT_URL:
        _send_heartbeat(host, settings.HEARTBEAT_URL)


def _send_heartbeat(host: Host, url: str) -> None:
    """The dead-man's switch at the other end rings when this stops coming; here a failure is only a warning."""
    try:
        reply = host.request("GET", url, None, {}, _HEARTBEAT_TIMEOUT_SECONDS)
    except ReadError as error:
        say("warning", f"HEARTBEAT_URL cannot be reached: {error}")
        return
    if not 200 <= reply.status < 300:
        say("warning", f"HEARTBEAT_URL answered with HTTP status {reply.status}; is the URL right?")


def main() -> None:
    """Run as `python -m vpsmon.rest_of_pass [CONFIG]`: the resident monitor's child."""
    # Without a handler the alarm ends the process, also when it hangs in a library.
    signal.alarm(_CHILD_TIMEOUT_SECONDS)
    try:
        config = load_config(sys.argv[1] if len(sys.argv) > 1 else None, os.environ)
        state = StateDirectory(config.state_directory)
        run_rest_of_pass(Host(), config, state)
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        sys.exit(1)
    except StateError as error:
        say("error", str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
