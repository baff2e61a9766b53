"""Diagnostics on standard error: one line each, no secrets, with the priority prefix that systemd understands."""

from __future__ import annotations

import os
import sys

from vpsmon.core.text import clean

# sd-daemon(3): a line that starts with <N> has syslog priority N.
_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6}


def say(level: str, message: str) -> None:
    """Write one line to standard error. `level` is critical, error, warning or info."""
    line = clean(message, limit_characters=2000)
    prefix = f"<{_PRIORITY[level]}>" if "JOURNAL_STREAM" in os.environ else f"vpsmon: {level}: "
    try:
        sys.stderr.write(f"{prefix}{line}\n")
        sys.stderr.flush()
    except OSError:
        # Standard error is a full disk or a closed pipe: there is nobody left to tell.
        pass
