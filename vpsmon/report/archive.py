"""Reports that are kept: `.alerts/reports/YYYY-MM-DD.txt`, and the chart of the same day beside it."""

from __future__ import annotations

import time

from vpsmon.state.directory import StateDirectory
from vpsmon.state.folder import REPORTS, Folder

# More than a year of text is 2 MB; charts are ten times that, and only the latest are of use.
_MOST_KEPT = {".txt": 400, ".png": 14}


def keep(state: StateDirectory, wall_seconds: float, ending: str, content: bytes) -> str:
    """Write the report of a local day, drop what is too old, and return its path. Raises StateError."""
    day = time.strftime("%Y-%m-%d", time.localtime(wall_seconds))
    return Folder(state, REPORTS).write(f"{day}{ending}", content, _MOST_KEPT[ending])
