"""How every command starts: with a configuration, or with a line for each fault in it."""

from __future__ import annotations

import os

from vpsmon.config.load import ConfigError, load_config
from vpsmon.config.settings import Config
from vpsmon.system.log import say

EXIT_FAILED = 1


def load_or_explain(config_file: str | None) -> Config | None:
    """Return the configuration, or None after having said every fault in it."""
    try:
        config = load_config(config_file, os.environ)
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        return None
    for warning in config.warnings:
        say("warning", warning)
    return config
