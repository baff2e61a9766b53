"""What the command line of a container says: its words, the options among them, a port."""

from __future__ import annotations

import shlex
import string

from vpsmon.stack.docker.containers import Container

_SCRIPT_OPTIONS = ("-c", "-ec", "-lc", "-exc")


def read_options(container: Container) -> list[str]:
    """Return the words of a container's command line; the script of `sh -c` as words, with its variables filled in."""
    command = container.command
    words: list[str] = []
    for position, argument in enumerate(command):
        is_script = position > 1 and command[position - 1] in _SCRIPT_OPTIONS and _is_shell(command[position - 2])
        words += _split(argument, container.environment) if is_script else [argument]
    return words


def _is_shell(program: str) -> bool:
    return program.rsplit("/", 1)[-1] in ("sh", "ash", "bash", "dash")


def _split(script: str, environment: dict[str, str]) -> list[str]:
    filled = string.Template(script).safe_substitute(environment)
    try:
        return shlex.split(filled)
    except ValueError:  # an unclosed quote
        return filled.split()


def find_option(words: list[str], *names: str) -> str | None:
    """Return the value of the last option of these names, given as `--name value` or `--name=value`."""
    value = None
    for position, word in enumerate(words):
        if word in names and position + 1 < len(words):
            value = words[position + 1]
        name, equals, rest = word.partition("=")
        if equals and name in names:
            value = rest
    return value


def to_port(text: str | None, default: int) -> int:
    """Return the port that the text says, or the default where it is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and 0 < int(text) < 65536 else default
