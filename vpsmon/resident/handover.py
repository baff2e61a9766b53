"""From the command line to the resident monitor: the same process starts anew as start.py, with its orders.

What systemd watches stays the same process id. The orders go through memory that only this process can see: they hold
the bot token, which must be neither on the command line nor in the environment.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from vpsmon.settings import Config, Settings


class Orders(NamedTuple):
    """What the resident monitor has to know: the options of its command line, and the configuration in force."""

    config_option: str | None
    interval_option_seconds: float | None
    config: Config


def become_resident(orders: Orders) -> NoReturn:
    """Replace this process by the resident monitor. Raises OSError."""
    content = (sys.path, sys.prefix, orders.config_option, orders.interval_option_seconds, pack_config(orders.config))
    # No flag: it has to survive the exec.
    descriptor = os.memfd_create("vpsmon-orders", 0)
    with open(descriptor, "wb", closefd=False) as file:
        marshal.dump(content, file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")
    os.execve(sys.executable, [sys.executable, "-I", "-S", script, str(descriptor)], os.environ)  # noqa: S606


def unpack_orders(content: Sequence[Any]) -> Orders:
    """Return the orders from what `become_resident` wrote behind search path and prefix."""
    config_option, interval_option_seconds, config = content
    return Orders(config_option, interval_option_seconds, unpack_config(config))


def pack_config(config: Config) -> tuple[Any, ...]:
    """Return a configuration as plain tuples, which is what marshal writes."""
    return tuple(config._replace(settings=tuple(config.settings)))  # type: ignore[arg-type]  # made whole by unpack


def unpack_config(content: Sequence[Any]) -> Config:
    """Return the configuration from its plain tuples."""
    settings, *rest = content
    return Config(Settings(*settings), *rest)


def receive_config(start_reader: Callable[[int], int]) -> Config | None:
    """Return the configuration that another process reads; None where it has faults, or could not be read.

    `start_reader` starts that process, which writes to the descriptor that it is given, and returns its id.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with open(read_end, "rb") as answer:
        try:
            child_id = start_reader(write_end)
        except OSError:
            return None
        finally:
            os.close(write_end)
        content = answer.read()
    os.waitpid(child_id, 0)
    return unpack_config(marshal.loads(content)) if content else None  # noqa: S302 written by our own process
