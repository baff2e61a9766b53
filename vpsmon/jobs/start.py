"""How every command starts: with a configuration, or with a line for each fault in it."""

from __future__ import annotations

import os

from vpsmon.config.load import ConfigError, load_config
from vpsmon.config.settings import Config
from vpsmon.system.log import say
from vpsmon.system.privileges import become_owner

EXIT_FAILED = 1


def load_or_explain(config_file: str | None) -> Config | None:
    """Return the configuration, or None after having said every fault in it.

    From here on root is the owner of the state, where that is another user.
    """
    try:
        config = load_config(config_file, os.environ)
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        return None
    for warning in config.warnings:
        say("warning", warning)
    try:
        become_owner(config.state_directory)
    except OSError as error:
        say("error", f"cannot become the owner of {config.state_directory}: {error.strerror}: run as its owner")
        return None
    return config
