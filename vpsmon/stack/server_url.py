"""The part of a server's URL that holds the password, where owners forget to escape what it is made of."""

from __future__ import annotations

# What ends the host or begins something else: a password with one of them is cut there, and the rest becomes the host,
# which is printed.
_SPECIAL = frozenset("@/?#")


def has_unescaped_password(url: str) -> bool:
    """Return whether user and password of `scheme://user:password@host…` hold a character that must be %XX."""
    _, separator, rest = url.partition("://")
    login, at, _ = rest.rpartition("@")
    return bool(separator and at) and not _SPECIAL.isdisjoint(login)
