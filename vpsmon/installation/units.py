"""The templates of units/ -> the systemd units of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vpsmon.installation.files import MARK, OwnFile
from vpsmon.installation.layout import UNIT_FOLDER, Places

_ENDINGS = (".service", ".timer", ".path", ".socket", ".slice")
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_SINCE = re.compile(r"#:since (\d+)\n(.*\n)")
_HEAD = f"# {MARK}, which will write it again. To change something: systemctl edit %s\n"


def find_data(name: str) -> Path:
    """Return a file or folder that comes with the package: in a wheel below it, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    packed = package / "data" / name
    return packed if packed.exists() else package.parent / name


def render_units(places: Places, systemd_version: int) -> list[OwnFile]:
    """Return the units of this machine, by name."""
    folder = find_data("units")
    values = places.template_values
    values["SANDBOX"] = _fill((folder / "sandbox").read_text(encoding="utf-8"), values).rstrip("\n")
    templates = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    texts = {path.name: render(path.read_text(encoding="utf-8"), values, systemd_version) for path in templates}
    return [OwnFile(f"{UNIT_FOLDER}/{name}", _HEAD % name + text) for name, text in texts.items()]


def render(template: str, values: dict[str, str], systemd_version: int) -> str:
    """Return a template with its values, without the lines that only a newer systemd knows."""
    return _fill(_SINCE.sub(lambda match: match[2] if systemd_version >= int(match[1]) else "", template), values)


def _fill(template: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def name_of(unit: OwnFile) -> str:
    """Return the name by which systemd knows a unit."""
    return os.path.basename(unit.path)


def is_started(unit: OwnFile) -> bool:
    """Return whether a unit is one to enable and start; the others are started by these."""
    return "\n[Install]\n" in unit.text
