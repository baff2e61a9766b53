"""monitor.conf and the environment -> Settings, or one clear line for each thing that is wrong.

The file is TOML, so the shell-like `KEY="value"` of the original stays valid. An environment variable of the same
name wins over the file, so that secrets can come from systemd credentials or an EnvironmentFile.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from typing import Any

from vpsmon.config.settings import DEFAULTS, KINDS, SECRET_KEYS, register_secrets
from vpsmon.config.settings import Config as Config
from vpsmon.config.values import EXPECTED, convert, parse_variable
from vpsmon.core.text import clean

_KEY_OR_SECTION = re.compile(r"""\s*\[*\s*["']?([A-Za-z0-9_.-]+)["']?\s*[]=]""")
_KEY_AT_LINE_START = re.compile(r"""\s*["']?([A-Za-z0-9_.-]+)["']?\s*=""")
_LARGEST_FILE_BYTES = 1_000_000
_HERE = "monitor.conf"


class ConfigError(Exception):
    """Everything that is wrong with the configuration, one line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load_config(option: str | None, environment: Mapping[str, str]) -> Config:
    """Return the configuration from `--config`, $VPSMON_CONFIG, ./monitor.conf or <prefix>/monitor.conf.

    Raises ConfigError when a named file cannot be read, or when anything in the file or the environment is invalid.
    """
    path = _find_file(option, environment)
    values, errors = _read_file(path) if path else ({}, [])
    from_environment, more_errors = _read_environment(environment)
    if errors or more_errors:
        raise ConfigError(errors + more_errors)
    settings = DEFAULTS._replace(**{**values, **from_environment})
    register_secrets(settings)
    folder = os.path.dirname(os.path.abspath(path)) if path else os.getcwd()
    state_directory = os.path.join(folder, settings.STATE_DIR or ".alerts")
    return Config(settings, path, state_directory, tuple(_warn_of_readable_secret(path, values)))


def _find_file(option: str | None, environment: Mapping[str, str]) -> str | None:
    named = option or environment.get("VPSMON_CONFIG")
    if named:
        return named
    if os.path.lexists(_HERE):
        from vpsmon.config.trust import explain_distrust

        # Nobody has named it: whoever can write here would decide where the keys of this user are sent.
        reason = explain_distrust(_HERE)
        if reason:
            raise ConfigError([f"./{_HERE}: {reason}; name it with --config to use it all the same"])
        return _HERE
    installed = os.path.join(find_prefix(), "monitor.conf")
    return installed if os.path.lexists(installed) else None


def find_prefix() -> str:
    """Return the folder of the installation: the one with the virtual environment `venv`, else /opt/vpsmon.

    `venv` is a link to `venv-<version>`, which is what Python takes for its own folder.
    """
    folder, name = os.path.split(sys.prefix)
    return folder if name == "venv" or name.startswith("venv-") else "/opt/vpsmon"


def _read_file(path: str) -> tuple[dict[str, Any], list[str]]:
    entries, errors = _parse(path, _read_text(path))
    values: dict[str, Any] = {}
    for line, key, value in entries:
        where = f"{path}:{line}"
        if isinstance(value, dict):
            errors.append(f"{where}: [{clean(key)}]: monitor.conf has no sections; write each key on a line of its own")
        elif key not in KINDS:
            errors.append(f"{where}: {clean(key)}: unknown key{_nearest(key)}")
        else:
            _keep(values, errors, where, key, value)
    return values, errors


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
        if len(raw) > _LARGEST_FILE_BYTES:
            raise ConfigError([f"{path}: is larger than 1 MB, so it is no monitor.conf; name the right file"])
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a directory; name the monitor.conf file itself"]) from None
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; give an existing one with --config"]) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text; save the file as UTF-8"]) from None
    except PermissionError:
        raise ConfigError([f"{path}: user id {os.geteuid()} may not read it; run as its owner or with sudo"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None


def _parse(path: str, text: str) -> tuple[list[tuple[int, str, Any]], list[str]]:
    """Return (line, key, value) of everything that is valid, and a line of text for each thing that is not."""
    import tomli

    lines = text.split("\n")
    try:
        table = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        entries, errors = _parse_each_line(path, lines)
        # No line is wrong by itself: a list or a text over several lines is.
        return entries, errors or [f"{path}: not valid: {clean(str(error), 200)}"]
    matches = ((number, _KEY_OR_SECTION.match(line)) for number, line in enumerate(lines, 1))
    line_of_key = {match[1]: number for number, match in reversed(list(matches)) if match}
    return [(line_of_key.get(key, 1), key, value) for key, value in table.items()], []


def _parse_each_line(path: str, lines: list[str]) -> tuple[list[tuple[int, str, Any]], list[str]]:
    """The parser stops at the first fault of a file; line by line, every fault is named in one go."""
    import tomli

    entries: dict[str, tuple[int, str, Any]] = {}
    errors = []
    for number, line in enumerate(lines, 1):
        try:
            table = tomli.loads(line)
        except tomli.TOMLDecodeError:
            match = _KEY_AT_LINE_START.match(line)
            errors.append(f"{path}:{number}: {_explain_line(match[1] if match else None)}")
            continue
        for key, value in table.items():
            if key in entries:
                errors.append(f"{path}:{number}: {clean(key)}: stands already on line {entries[key][0]}; keep one")
            entries[key] = (number, key, value)
    return list(entries.values()), errors


def _explain_line(key: str | None) -> str:
    if key is None:
        return 'expected KEY="value"; put # before a comment'
    if key not in KINDS:
        return f"{clean(key)}: unknown key{_nearest(key)}"
    # The value is not repeated: it may be a secret.
    kind = KINDS[key]
    if kind in ("int", "float", "bool"):
        return f"{clean(key)}: expected {EXPECTED[kind]}"
    return f'{clean(key)}: the value is not quoted properly; write {clean(key)}="value"'


def _nearest(key: str) -> str:
    import difflib  # costs 5 ms, and only a mistyped key needs it

    matches = difflib.get_close_matches(key.upper(), KINDS, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else "; docs/configuration.md lists the known ones"


def _keep(values: dict[str, Any], errors: list[str], where: str, key: str, value: Any) -> None:
    if isinstance(value, str) and not value.strip():
        return  # nothing between the quotes is the default, for every key
    try:
        values[key] = convert(key, value)
    except ValueError as error:
        errors.append(f"{where}: {key}: {error}")


def _read_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    errors: list[str] = []
    for key in KINDS:
        if key in environment:
            _keep(values, errors, "environment", key, parse_variable(key, environment[key]))
    return values, errors


def _warn_of_readable_secret(path: str | None, values: dict[str, Any]) -> list[str]:
    if path is None or not any(values.get(key) for key in SECRET_KEYS):
        return []
    from vpsmon.config.trust import is_closed

    try:
        facts = os.stat(path)
    except OSError:
        return []
    if is_closed(facts):
        return []
    mode = stat.S_IMODE(facts.st_mode)
    return [f"{path} holds secrets and can be read by others (mode {mode:04o}): chmod 600 {path}"]
