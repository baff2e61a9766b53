"""What stands behind a key of monitor.conf, or in a variable, -> the value in force; ValueError with what is wrong.

No message repeats a value that is, or may hold, a secret.
"""

from __future__ import annotations

import os
import re
from typing import Any

from vpsmon.config.settings import CREDENTIAL_KEYS, KINDS, PATH_KEYS, SECRET_KEYS, URL_KEYS, allowed_range
from vpsmon.core.text import clean

EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "str": 'text in quotes, like KEY="value"',
    "bool": "true or false",
    "tuple": 'a comma-separated list in quotes, like "a,b"',
}
# systemd.socket(5), ListenStream=: an IPv4 address, or an IPv6 address in brackets.
_ADDRESS = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
# ${NAME} anywhere, or $NAME as all there is: in a password a lone $ is a character like any other.
_VARIABLE = re.compile(r"\$\{\w+\}|\A\$[A-Za-z_]\w*\Z")
# RFC 3986, section 2.1.
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
# A path may hold a blank, and so may a name before an address: what is several items has this in each of them.
_SIGN_OF_ITEM = {"DISK_PATHS": "/", "EMAIL_TO": "@"}
_MALFORMED = "malformed: write special characters of the password as %XX (@ is %40, / is %2F, # is %23, % is %25)"


def convert(key: str, value: Any) -> Any:
    """Return the value as the type of its key. Raises ValueError."""
    kind = KINDS[key]
    # A chat id is a number that people write with or without quotes.
    if key in ("TELEGRAM_CHAT_ID", "TELEGRAM_THREAD_ID") and type(value) is int:
        value = str(value)
    if kind in ("int", "float"):
        return _convert_number(key, kind, value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return _check_text(key, value.strip())
    if kind == "tuple" and isinstance(value, str):
        return _check_items(key, [item.strip() for item in value.split(",") if item.strip()])
    if kind == "tuple" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _check_items(key, value)
    raise ValueError(f"expected {EXPECTED[kind]}, found {_describe(key, value)}")


def parse_variable(key: str, text: str) -> Any:
    """Return the text of an environment variable as the type of its key, or unchanged where it is no such thing."""
    kind = KINDS[key]
    if kind == "bool":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind in ("int", "float"):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def _check_text(key: str, value: str) -> str:
    value = _check_item(key, value)
    schemes = URL_KEYS.get(key)
    if key in CREDENTIAL_KEYS and _is_malformed(value):
        raise ValueError(_MALFORMED)
    if schemes and value and not value.startswith(schemes):
        raise ValueError(f"expected a URL that begins with {' or '.join(schemes)}")
    if schemes and value and "http://" in schemes and not _is_web_address(value):
        raise ValueError("expected a URL with a host, and without user and password: none is sent")
    if key == "METRICS_LISTEN" and not _is_address(value):
        raise ValueError("expected an address and a port, like 127.0.0.1:19633 or [::1]:19633")
    return value


def _check_items(key: str, items: list[str]) -> tuple[str, ...]:
    """Return the items. Raises ValueError where something else than commas separates them."""
    for item in items:
        parts = [part for part in re.split(r"[\s;]+", item) if part]
        if len(parts) > 1 and all(_SIGN_OF_ITEM.get(key, "") in part for part in parts):
            right = clean(",".join(parts), 60)
            raise ValueError(f'commas separate the items of a list, not blanks or semicolons: write {key}="{right}"')
    return tuple(_check_item(key, item) for item in items)


def _check_item(key: str, text: str) -> str:
    """Return a text, a path from the home that `~` stands for. Raises ValueError where it waits for a shell."""
    if _VARIABLE.search(text):
        raise ValueError("variables are not filled in here: write the value itself")
    if key not in PATH_KEYS or not text.startswith("~"):
        return text
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError("there is no such user, so ~ is no home: write the whole path")
    return path


def _is_malformed(url: str) -> bool:
    """Return whether user and password of a URL end elsewhere than their writer meant."""
    _, separator, rest = url.partition("://")
    if not separator:
        return False  # host=... password=..., which libpq takes as well
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = authority.rpartition("@")
    if "@" in user or _BROKEN_ESCAPE.search(user):
        return True
    # Cut at a / ? or # of the password, what is left of it stands where the port should.
    ports = [host.rpartition(":")[2] for host in hosts.split(",") if ":" in host.rpartition("]")[2]]
    return any(port and not port.isdecimal() for port in ports) or (not at and bool(authority) and "@" in rest)


def _is_web_address(value: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False  # a port that is no number, or an address of version 6 that is none


def _is_address(value: str) -> bool:
    found = _ADDRESS.fullmatch(value)
    return found is not None and 1 <= int(found[1]) <= 65535


def _convert_number(key: str, kind: str, value: Any) -> float:
    smallest, largest = allowed_range(key)
    span = f"{EXPECTED[kind]} from {smallest} to {largest}"
    if isinstance(value, bool) or not isinstance(value, int if kind == "int" else (int, float)):
        raise ValueError(f"expected {span}, found {_describe(key, value)}")
    # The comparison is also false for nan.
    if not smallest <= value <= largest:
        raise ValueError(f"expected {span}, found {value}")
    return value


def _describe(key: str, value: Any) -> str:
    if isinstance(value, str):
        # An address may hold a password, whatever key it has been written behind.
        return "text" if key in SECRET_KEYS or "@" in value or "://" in value else f'text "{clean(value, 40)}"'
    if type(value) in (int, float):
        return "a number" if key in SECRET_KEYS else f"{value:g}"
    names = {bool: "true or false", list: "a list"}
    return names.get(type(value), "a date or time")
