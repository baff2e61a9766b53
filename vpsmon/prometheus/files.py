"""The files for Prometheus, Alertmanager and Grafana in prometheus/, filled in from monitor.conf."""

from __future__ import annotations

import os
import re
from typing import Any

from vpsmon.config.load import ConfigError
from vpsmon.config.settings import Config
from vpsmon.core.text import clean

_FOLDER = os.path.dirname(__file__)
_PLACEHOLDER = re.compile(r"@([A-Z][A-Z0-9_]+)@")
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")


def render_rules(config: Config) -> str:
    """Return alerting rules for Prometheus, with the thresholds of the configuration."""
    return _fill("rules.yml", config)


def render_alertmanager(config: Config) -> str:
    """Return a configuration for Alertmanager that sends to the Telegram chat of the configuration.

    Raises ConfigError where that chat is not named by its number.
    """
    settings = config.settings
    where = config.path or "monitor.conf"
    if not _WHOLE_NUMBER.fullmatch(settings.TELEGRAM_CHAT_ID):
        raise ConfigError(
            [f"{where}: TELEGRAM_CHAT_ID: Alertmanager needs the number of the chat, like -1001234567890"]
        )
    if settings.TELEGRAM_THREAD_ID and not _WHOLE_NUMBER.fullmatch(settings.TELEGRAM_THREAD_ID):
        raise ConfigError([f"{where}: TELEGRAM_THREAD_ID: Alertmanager needs a number"])
    return _fill("alertmanager.yml", config)


def read_dashboard() -> str:
    """Return the Grafana dashboard; it has no threshold of this machine in it."""
    return _read("dashboard.json")


def _read(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _fill(name: str, config: Config) -> str:
    """Return the file with the value of each @KEY@; a line whose value is empty is left out."""
    values = {key: _format(value) for key, value in config.settings._asdict().items()}
    values["CONFIG"] = clean(config.path or "monitor.conf, all of it as it comes", 200)
    lines = []
    for line in _read(name).splitlines():
        keys = _PLACEHOLDER.findall(line)
        if all(values[key] for key in keys):
            lines.append(_PLACEHOLDER.sub(lambda match: values[match[1]], line))
    return "\n".join(lines)


def _format(value: Any) -> str:
    """Return a value as YAML and PromQL read it."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)
