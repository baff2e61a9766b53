"""From the command line to the resident monitor: the same process starts anew as start.py, with its orders.

What systemd watches stays the same process id. The orders go through memory that only this process can see: they hold
the bot token, which must be neither on the command line nor in the environment.

Nothing that is resident imports `typing`, and so no named tuple: that is nearly a megabyte for as long as it lives.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from vpsmon.config.settings import Config


def pack_orders(config: Config, config_option: str | None, interval_option_seconds: float | None) -> bytes:
    """Return what `Orders` unpacks: the configuration in force, and the options of the command line."""
    from vpsmon.config.settings import to_plain

    settings = config.settings
    return marshal.dumps(
        (
            config_option,
            interval_option_seconds,
            interval_option_seconds or settings.MONITOR_INTERVAL_SEC,
            settings.ENABLE_AUTO_RECOVERY and settings.RECOVER_ON_CRITICAL,
            settings.has_telegram and settings.TELEGRAM_API_BASE.startswith("https:"),
            marshal.dumps((to_plain(settings), *config[1:])),
        )
    )


class Orders:
    """What the resident monitor has to know itself. The configuration stays packed until a copy needs it."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        (
            self.config_option,
            self.interval_option_seconds,
            self.interval_seconds,
            self.may_start_recovery,
            self.sends_by_tls,
            self._config,
        ) = marshal.loads(packed)  # noqa: S302 written by our own process

    def unpack_config(self) -> Config:
        """Return the configuration in force."""
        from vpsmon.config.settings import Config, from_plain, register_secrets

        settings, *rest = marshal.loads(self._config)  # noqa: S302 written by our own process
        config = Config(from_plain(settings), *rest)
        register_secrets(config.settings)
        return config


def become_resident(packed_orders: bytes) -> NoReturn:
    """Replace this process by the resident monitor. Raises OSError."""
    # No flag: it has to survive the exec.
    descriptor = os.memfd_create("vpsmon-orders", 0)
    with open(descriptor, "wb", closefd=False) as file:
        marshal.dump((sys.path, sys.prefix, packed_orders), file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")
    os.execve(sys.executable, [sys.executable, "-I", "-S", script, str(descriptor)], os.environ)  # noqa: S606


def receive_orders(start_reader: Callable[[int], int]) -> Orders | None:
    """Return the orders that another process packs; None where monitor.conf has faults, or could not be read.

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
        packed = answer.read()
    os.waitpid(child_id, 0)
    return Orders(packed) if packed else None
