"""The wheel that pip and pipx install carries what the checkout has beside the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_the_configuration_the_units_and_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("vpsmon-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("vpsmon/data/monitor.conf") == (ROOT / "monitor.conf").read_bytes()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert b"vpsmon = vpsmon.__main__:main" in archive.read(entry_points)
    units = {f"vpsmon/data/units/{path.name}" for path in (ROOT / "units").iterdir()}
    assert units <= names
    templates = {f"vpsmon/prometheus/{path.name}" for path in (ROOT / "vpsmon/prometheus").glob("*.[jy]*")}
    assert len(templates) >= 3
    assert templates <= names
    assert not any(name.startswith("tests/") for name in names)
