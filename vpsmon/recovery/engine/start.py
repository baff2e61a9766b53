"""Starting a recovery without waiting for it: what the monitor does after a critical pass. Imports next to nothing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

UNIT = "vps-auto-recovery.service"
_UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def start_recovery(
    config_path: str | None,
    environment: Mapping[str, str] = os.environ,
    unit_folders: Sequence[str] = _UNIT_FOLDERS,
) -> str:
    """Start `vpsmon recover run-all` and return at once; return how, in words. Raises OSError.

    Where the unit is installed, systemd runs it, outside the limits of the monitor's own unit, and once at a time.
    """
    systemctl = shutil.which("systemctl")
    if systemctl and os.path.isdir("/run/systemd/system") and _is_installed(unit_folders):
        command = [systemctl, "start", "--no-block", UNIT]
        how = f"systemctl start {UNIT}"
    else:
        config = ["--config", config_path] if config_path else []
        command = [sys.executable, "-m", "vpsmon", *config, "recover", "run-all"]
        how = "vpsmon recover run-all"
    _spawn_detached(command, environment)
    return how


def _is_installed(unit_folders: Sequence[str]) -> bool:
    return any(os.path.exists(os.path.join(folder, UNIT)) for folder in unit_folders)


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
