"""The one register of secret values of this process, and blanking them in whatever leaves it.

Values come from monitor.conf, and from the environments and command lines of containers. What looks like a credential
is blanked too, known or not: a bot token, the password in a URL, and what stands behind `--requirepass`, `PASSWORD=`
and their like. A value that is also the name of something (POSTGRES_PASSWORD=postgres) hides nothing from anybody, and
blanking it would spoil every message: names win.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

_BLANK = "<secret>"
# Shorter ones would blank parts of ordinary words.
_SHORTEST_VALUE = 4
# Patterns are compiled, and kept, by their first use: most passes need none of them.
# A Telegram bot token, as BotFather gives it: bot id, colon, 35 characters.
_BOT_LOGIN = r"\d{6,12}:[A-Za-z0-9_-]{30,}"
# RFC 3986, 3.2.1, and what people write instead: a password may itself hold @ and /, the host behind it does not.
_URL_LOGIN = r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s:@/'\"]{0,200}):[^\s'\"]{1,300}@"
_KEY = (
    r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?|requirepass|masterauth"
    r"|encryption[_-]?key|(?<![a-zA-Z])pass(?![a-zA-Z]))"
)
_QUOTED = r"(?:\"[^\"]{1,300}\"|'[^']{1,300}'|[^\s,;&\"'}]{1,300})"
_ASSIGNMENT = rf"(?i)({_KEY}[\w-]{{0,20}}[\"']?=){_QUOTED}"
_OPTION = rf"(?i)(--[\w-]{{0,20}}{_KEY}\s+){_QUOTED}"
# In what programs write, also `password: x`; in our own sentences a colon is a colon.
_FIELD = rf"(?i)({_KEY}[\w-]{{0,20}}[\"']?\s?:\s?){_QUOTED}"
# Of a variable; a URL counts only where it holds a password.
_VARIABLE = rf"(?i){_KEY}|pwd|auth$|_url$|_uri$|dsn"
_VARIABLES_OF_NAMES = ("_USER", "_USERNAME", "_DB", "_DATABASE", "_HOST")
_OPTION_NAMES = r"(?i)^--?(?:requirepass|masterauth|pass(?:word)?|a|auth|token|secret|api-?key)$"
_LOGIN_OF_URL = r"(?i)[a-z][a-z0-9+.-]{1,20}://[^\s:@/]{0,200}:([^\s]{1,300})@"

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_values: set[str] = set()
_names: set[str] = set()


def register_values(values: Iterable[str]) -> None:
    """Remember secret values, and the passwords in those that are URLs, each also as a URL would write it."""
    for value in values:
        for each in (value, *(re.findall(_LOGIN_OF_URL, value) if "://" in value else ())):
            if len(each) >= _SHORTEST_VALUE and each not in _BLANK:
                _values.update((each, _quote(each), _unquote(each)))


def _quote(value: str) -> str:
    """Return the value as a URL writes it (RFC 3986, 2.3), without the 2 ms of importing urllib.parse."""
    return "".join(each if each in _UNRESERVED else "".join(f"%{code:02X}" for code in each.encode()) for each in value)


def _unquote(value: str) -> str:
    if "%" not in value:
        return value
    from urllib.parse import unquote

    return unquote(value)


def register_names(names: Iterable[str | None]) -> None:
    """Remember names that messages must be able to say: of containers, services, users, databases."""
    _names.update(name for name in names if name)


def register_container(environment: Mapping[str, str], command: Sequence[str]) -> None:
    """Remember what the environment and the command line of a container keep secret."""
    register_values(value for name, value in environment.items() if re.search(_VARIABLE, name) and _is_secret(value))
    # `sh -c "redis-server --requirepass x"` is one argument.
    words = [word.strip("\"'") for argument in command for word in argument.split()]
    register_values(word for option, word in pairwise(words) if re.match(_OPTION_NAMES, option))
    register_names(value for name, value in environment.items() if name.endswith(_VARIABLES_OF_NAMES))


def _is_secret(value: str) -> bool:
    """A URL without a password, a path and a switch are settings like others."""
    if "://" in value:
        return bool(re.search(_LOGIN_OF_URL, value))
    return not value.startswith("/") and value.lower() not in ("true", "false", "none", "null")


def redact(text: str) -> str:
    """Return the text with every secret that is known, or that can be recognised, blanked."""
    for value in sorted((each for each in _values if each in text), key=len, reverse=True):
        if value not in _names:
            text = text.replace(value, _BLANK)
    if ":" in text:
        text = re.sub(_BOT_LOGIN, "<token>", text)
    if "://" in text:
        text = re.sub(_URL_LOGIN, rf"\1:{_BLANK}@", text)
    if "=" in text:
        text = re.sub(_ASSIGNMENT, rf"\1{_BLANK}", text)
    return re.sub(_OPTION, rf"\1{_BLANK}", text) if "--" in text else text


def redact_foreign(text: str) -> str:
    """Return what another program wrote, likewise, with fields such as `password: x` blanked as well."""
    return re.sub(_FIELD, rf"\1{_BLANK}", redact(text))
