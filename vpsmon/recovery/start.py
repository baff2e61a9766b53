"""Starting a recovery without waiting for it: what the monitor does after a critical pass. Imports next to nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

REQUEST_VARIABLE = "VPSMON_RECOVERY_REQUEST"


def start_recovery(config_path: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Start `vpsmon recover run-all` and return at once; return how, in words. Raises OSError.

    vps-monitor.service names the file for which vps-auto-recovery.path waits: systemd then runs the recovery, outside
    the limits of the monitor's own unit, and once at a time. A monitor that was started by hand starts a process.
    """
    request = environment.get(REQUEST_VARIABLE)
    if request:
        _write_request(request)
        return "vps-auto-recovery.service"
    config = ["--config", config_path] if config_path else []
    _spawn_detached([sys.executable, "-m", "vpsmon", *config, "recover", "run-all"], environment)
    return "vpsmon recover run-all"


def _write_request(path: str) -> None:
    """Open for writing and close, which is what systemd notices; the text is for whoever looks into it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, b"the monitor asks for a recovery\n")
    finally:
        os.close(descriptor)


def _spawn_detached(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Start a process that nobody has to wait for: its parent ends at once, so init takes it over."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        # The shell is only there to end: `&` in it leaves the command without a parent. No word of ours is parsed.
        shell = ["/bin/sh", "-c", '"$@" &', "sh", *command]
        actions = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)]
        child_id = os.posix_spawn(shell[0], shell, environment, file_actions=actions, setsid=True)
        os.waitpid(child_id, 0)
    finally:
        os.close(nothing)
