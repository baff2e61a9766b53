"""What the command line of a container says: its words, the options among them, a port."""

from __future__ import annotations

import re
import shlex

from vpsmon.stack.docker.containers import Container

_SCRIPT_OPTIONS = ("-c", "-ec", "-lc", "-exc")
_PIECE = re.compile(
    r"\\.|\$\{(?P<braced>\w+)(?::?(?P<operator>[-?])(?P<default>[^}]*))?\}|\$(?P<plain>[A-Za-z_]\w*)|.", re.DOTALL
)
# Of Unicode's private use: no script has it.
_MARK = 0xF0000


class Unevaluated(str):
    """A word with a shell expression in it whose value cannot be known from outside."""


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
    """Return the words of a script as a shell would make them, as far as that is certain."""
    values: list[str] = []
    filled = _fill(script, environment, values)
    lexer = shlex.shlex(filled, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # an unclosed quote
        words = filled.split()
    return [_restore(word, values) for word in words]


def _fill(script: str, environment: dict[str, str], values: list[str]) -> str:
    """Put a mark for each variable that is known, so that nothing in its value is taken for part of the script."""
    parts, quote = [], ""
    for match in _PIECE.finditer(script):
        piece = match[0]
        if piece in ("'", '"') and quote in ("", piece):
            quote = "" if quote else piece
        value = None if quote == "'" else _evaluate(match, environment)
        if value is None:
            parts.append(piece)
            continue
        words = [value] if quote else value.split()
        parts.append(" ".join(chr(_MARK + len(values) + number) for number in range(len(words))))
        values += words
    return "".join(parts)


def _evaluate(match: re.Match[str], environment: dict[str, str]) -> str | None:
    name, operator, default = match["braced"] or match["plain"], match["operator"], match["default"]
    if not name:
        return None
    return environment.get(name) or (default if operator == "-" and "$" not in default else None)


def _restore(word: str, values: list[str]) -> str:
    is_certain = not any(sign in word for sign in ("$(", "${", "`")) and not word.startswith("$")
    whole = "".join(values[ord(each) - _MARK] if 0 <= ord(each) - _MARK < len(values) else each for each in word)
    return whole if is_certain else Unevaluated(whole)


def find_option(words: list[str], *names: str) -> str | None:
    """Return the value of the last option of these names, given as `--name value` or `--name=value`."""
    value = None
    for position, word in enumerate(words):
        if word in names and position + 1 < len(words):
            value = words[position + 1]
        name, equals, rest = word.partition("=")
        if equals and name in names:
            value = type(word)(rest)
    return value


def to_port(text: str | None, default: int) -> int:
    """Return the port that the text says, or the default where it is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and 0 < int(text) < 65536 else default
