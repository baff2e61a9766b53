"""What PostgreSQL, or a pooler in front of it, says at the door: by SQLSTATE, since the words are in any language.

Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html. psycopg2 has none for a refused connection; libpq
writes it into its text where it is asked to (`PQsetErrorVerbosity`), and that text is all that psycopg2 passes on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vpsmon.core.findings import ReadError, Starting
from vpsmon.core.text import clean

# The severity before it is translated, the two blanks and the code are not.
_SAID = re.compile(r":  ([0-9A-Z]{5}): (.*)")
_WRONG_LOGIN = "28P01"
_NO_SLOT = "53300"
# cannot_connect_now, admin_shutdown, crash_shutdown.
_NOT_READY = frozenset({"57P03", "57P01", "57P02"})
# Only for the message: what the server says in English -> what that means. Otherwise its own words are shown.
_MEANINGS = {
    "starting up": "it is starting up; wait, its log tells how far it is",
    "not yet accepting connections": "it is still in recovery; wait, its log tells how far it is",
    "not accepting connections": "it is a standby that takes no connections: hot_standby is off",
    "in recovery mode": "it crashed and is in recovery; wait, its log tells why",
    "shutting down": "it is shutting down",
}


class NoFreeSlot(ReadError):
    """The server refuses us because all its connection slots are taken."""


class Unreachable(ReadError):
    """Nothing answers there; another address may do better."""


class Refused(ReadError):
    """The server does not let us in this way; `code` is its SQLSTATE."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Remedies(NamedTuple):
    """What to do where it does not let us in, by what it refuses."""

    login: str
    database: str

    def find(self, code: str) -> str:
        """Return the remedy for a SQLSTATE."""
        if code == _WRONG_LOGIN:
            return self.login
        if code == "28000":
            return f"{self.login}, or let it in by pg_hba.conf"
        if code == "3D000":
            return self.database
        if code == "42501":
            return "GRANT CONNECT ON DATABASE … TO this user"
        if code == "55000":
            return "ALTER DATABASE … ALLOW_CONNECTIONS true, or name another one in POSTGRES_DSN"
        if code == "08P01":
            return (
                "a pooler such as PgBouncer says this: its list of users and databases must hold what is asked for, or"
                " let POSTGRES_DSN lead to the server itself"
            )
        return f"SQLSTATE {code}: the log of the server, or of the pooler in front of it, says more"


def find_code(text: str) -> str:
    """Return the SQLSTATE in what libpq says of a connection; "" where there is none."""
    match = _SAID.search(text)
    return match[1] if match else ""


def explain_refusal(text: str, place: str, needs_password: bool = False) -> ReadError:
    """Return the error for what libpq says of a connection that failed; `place` is host:port."""
    match = _SAID.search(text)
    if match is None:
        return _explain_silence(text, place, needs_password)
    code, said = match[1], clean(match[2].strip(), 160)
    if code == _NO_SLOT:
        return NoFreeSlot("all its connection slots are taken")
    if code in _NOT_READY:
        meanings = (meaning for words, meaning in _MEANINGS.items() if words in text)
        return Starting(f"PostgreSQL at {place}: {next(meanings, f'it takes no connections now: {said}')}")
    return Refused(said, code)


def _explain_silence(text: str, place: str, needs_password: bool) -> ReadError:
    """What libpq says of itself, without the server."""
    if needs_password:
        return Refused("no password supplied", _WRONG_LOGIN)
    if "Connection refused" in text or "No such file" in text:
        return Unreachable(f"nothing listens at {place}; is it still starting?")
    return Unreachable(f"{place}: {clean(text.strip().partition(chr(10))[0], 160)}")
