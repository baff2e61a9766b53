"""One connection to PostgreSQL with a deadline on every wait, and what its refusals mean to the owner."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean

if TYPE_CHECKING:
    import psycopg2
    from psycopg2.extensions import connection as Connection
    from psycopg2.sql import Composable

# Together below the 4 s that a check may take on the network.
_CONNECT_SECONDS = 2.4
_QUERY_SECONDS = 1.5
_NO_SLOT = ("too many clients already", "connection slots are reserved", "too many connections for")
# What the server says at the door -> what that means. There is no SQLSTATE for it in psycopg2, only text.
_NOT_READY = {
    "starting up": "it is starting up; wait, its log tells how far it is",
    "not yet accepting connections": "it is still in recovery; wait, its log tells how far it is",
    "not accepting connections": "it is a standby that takes no connections: hot_standby is off",
    "in recovery mode": "it crashed and is in recovery; wait, its log tells why",
    "shutting down": "it is shutting down",
}
_LOGIN_REFUSED = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "does not exist",
    "permission denied for database",
)


class NoFreeSlot(ReadError):
    """The server refuses us because all its connection slots are taken."""


class QueryError(ReadError):
    """The server refused a query; `code` is its SQLSTATE (42P01: no such table, 42501: no permission)."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class _Unreachable(ReadError):
    """Nothing answers there; another address may do better."""


class _Refused(ReadError):
    """The server does not let us in this way."""


def open_session(
    targets: Sequence[dict[str, Any]], source: str, remedy: str, absence: Exception | None
) -> PostgresSession:
    """Return a session with the first target that lets us in.

    Raises NoFreeSlot, ReadError with the remedy, or, where the targets are a guess and nothing is there, `absence`.
    """
    deadline = time.monotonic() + _CONNECT_SECONDS
    failure: ReadError | None = None
    for position, target in enumerate(targets):
        now = time.monotonic()
        try:
            return PostgresSession(_connect(target, now + (deadline - now) / (len(targets) - position)), source)
        except _Unreachable as error:
            failure = failure or error
        except _Refused as error:
            failure = error
            if not absence:
                break
    if isinstance(failure, _Refused):
        raise ReadError(f"PostgreSQL ({source}): {failure}; {remedy}")
    raise absence or ReadError(f"PostgreSQL ({source}): {failure}")


def _connect(target: dict[str, Any], deadline: float) -> Connection:
    import psycopg2

    ours = {
        "application_name": "vpsmon",
        "client_encoding": "utf8",
        # The last -c wins: what the owner gave in POSTGRES_DSN stays, but for these three.
        "options": f"{target.get('options', '')} -c statement_timeout=1000 -c lock_timeout=500"
        " -c default_transaction_read_only=on",
    }
    place = clean(f"{target.get('host', 'the default socket')}:{target.get('port', 5432)}")
    try:
        connection: Connection = psycopg2.connect(**{**target, **ours}, async_=True)
        _wait(connection, deadline)
    except TimeoutError:
        raise _Unreachable(f"{place} does not answer") from None
    except psycopg2.Error as error:
        raise _explain_refusal(str(error), place) from None
    return connection


def _wait(connection: Connection, deadline: float) -> None:
    """Let the library work until it is done. Raises TimeoutError, and what the library raises."""
    import select

    from psycopg2.extensions import POLL_OK, POLL_WRITE

    while (state := connection.poll()) != POLL_OK:
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLOUT if state == POLL_WRITE else select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            connection.close()
            raise TimeoutError


def _explain_refusal(text: str, place: str) -> ReadError:
    if any(words in text for words in _NO_SLOT):
        return NoFreeSlot("all its connection slots are taken")
    for words, meaning in _NOT_READY.items():
        if words in text:
            return ReadError(f"PostgreSQL at {place}: {meaning}")
    if "Connection refused" in text or "No such file" in text:
        return _Unreachable(f"nothing listens at {place}; is it still starting?")
    said = clean(text.strip().split("\n")[0].rpartition("FATAL:")[2].strip(), 160)
    return _Refused(said) if any(words in text for words in _LOGIN_REFUSED) else _Unreachable(f"{place}: {said}")


class PostgresSession:
    """A connection that several threads may use; the queries wait for one another."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._lock = threading.Lock()
        self._failure: str | None = None

    def run(self, query: str | Composable, parameters: Sequence[Any] | None) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises QueryError, or ReadError once the server has stopped answering."""
        import psycopg2

        with self._lock:
            if self._failure:
                raise ReadError(self._failure)
            try:
                cursor = self._connection.cursor()
                cursor.execute(query, parameters)
                _wait(self._connection, time.monotonic() + _QUERY_SECONDS)
                return list(cursor.fetchall())
            except TimeoutError:
                self._failure = f"PostgreSQL ({self._source}) took the query and does not answer: is it frozen?"
            except psycopg2.Error as error:
                if not self._connection.closed:
                    raise _explain_query_error(error) from None
                self._failure = f"PostgreSQL ({self._source}) closed the connection: its log says why"
            raise ReadError(self._failure)

    def close(self) -> None:
        """Say goodbye to the server, which otherwise notes a lost connection in its log."""
        self._connection.close()


def _explain_query_error(error: psycopg2.Error) -> QueryError:
    code = error.pgcode or ""
    if code == "57014":
        return QueryError("PostgreSQL needs more than 1 s for the answer: the disk or the server is overloaded", code)
    said = clean(error.diag.message_primary or type(error).__name__, 160)
    return QueryError(f"PostgreSQL refused a query of vpsmon: {said}", code)
