"""One connection to PostgreSQL, with a deadline on every wait and no more authority than reading needs.

Nothing is asked for at the start of the connection, since poolers (PgBouncer, Neon, Supabase) refuse startup options;
what a query needs is set inside its transaction, which in transaction pooling is all that belongs to us. There:
read only, a search path on which the server's own functions and operators are the only ones (a database's owner may
define `public.=`, which would be run as whoever asks), and no row-level security: its policies are the owner's code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.stack.postgres.refusals import Refused, Remedies, Unreachable, explain_refusal, find_code

if TYPE_CHECKING:
    import psycopg2
    from psycopg2.extensions import connection as Connection
    from psycopg2.sql import Composable

    Rows = list[tuple[Any, ...]]
    Execute = Callable[[str | Composable], Rows]

# Together below the 4 s that a check may take on the network.
_CONNECT_SECONDS = 2.4
_QUERY_SECONDS = 1.5
# What ALTER DATABASE … SET can have changed and a query relies on. pg_temp last, or it would be first unnamed.
_BEGIN = (
    "begin isolation level read committed {mode} not deferrable; set local role none; set local search_path ="
    " pg_catalog, pg_temp; set local statement_timeout = 1000; set local lock_timeout = 500; set local row_security ="
    " off"
)
_VERBOSE = 2


class QueryError(ReadError):
    """The server refused a query; `code` is its SQLSTATE (42P01: no such table, 42501: no permission)."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def open_session(
    targets: Sequence[dict[str, Any]], source: str, remedies: Remedies, absence: Exception | None
) -> PostgresSession:
    """Return a session with the first target that lets us in.

    Raises NoFreeSlot, Starting, ReadError with the remedy, or, where the targets are a guess and nothing is there,
    `absence`.
    """
    deadline = time.monotonic() + _CONNECT_SECONDS
    failure: ReadError | None = None
    for position, target in enumerate(targets):
        now = time.monotonic()
        try:
            return PostgresSession(_connect(target, now + (deadline - now) / (len(targets) - position)), source)
        except Unreachable as error:
            failure = failure or error
        except Refused as error:
            failure = error
            if not absence:
                break
    if isinstance(failure, Refused):
        raise ReadError(f"PostgreSQL ({source}): {failure}; {remedies.find(failure.code)}")
    raise absence or ReadError(f"PostgreSQL ({source}): {failure}")


def _connect(target: dict[str, Any], deadline: float) -> Connection:
    import psycopg2

    place = clean(f"{target.get('host', 'the default socket')}:{target.get('port', 5432)}")
    connection: Connection | None = None
    try:
        ours = {"application_name": "vpsmon", "client_encoding": "utf8"}
        connection = psycopg2.connect(**{**target, **ours}, async_=True)
        _ask_for_codes(connection)
        _wait(connection, deadline)
    except TimeoutError:
        raise Unreachable(f"{place} does not answer") from None
    except psycopg2.Error as error:
        needs_password = connection is not None and connection.info.needs_password
        if connection is not None:
            connection.close()
        raise explain_refusal(str(error), place, needs_password) from None
    return connection


def _ask_for_codes(connection: Connection) -> None:
    """Let libpq write the SQLSTATE into its texts, for which psycopg2 has no call but hands out the connection."""
    import ctypes

    import psycopg2._psycopg

    with suppress(AttributeError, OSError):
        set_verbosity = ctypes.CDLL(psycopg2._psycopg.__file__).PQsetErrorVerbosity
        set_verbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
        set_verbosity(connection.pgconn_ptr, _VERBOSE)


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


class PostgresSession:
    """A connection that several threads may use; the queries wait for one another."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._lock = threading.Lock()
        self._failure: str | None = None

    @property
    def version(self) -> int:
        """The server's version as a number: 150018 is 15.18."""
        return self._connection.server_version

    def to_text(self, query: str | Composable) -> str:
        """Return a query as text."""
        return query if isinstance(query, str) else query.as_string(self._connection)

    def run(self, query: str | Composable) -> Rows:
        """Return the rows of a query of the system's own tables and views.

        Raises QueryError, or ReadError once the server has stopped answering.
        """
        with self.transaction() as execute:
            return execute(query)

    @contextmanager
    def transaction(self, mode: str = "read only") -> Iterator[Execute]:
        """Give a function that runs a query, in one transaction that is rolled back. Raises as `run`."""
        import psycopg2

        with self._lock:
            if self._failure:
                raise ReadError(self._failure)
            deadline = time.monotonic() + _QUERY_SECONDS
            try:
                self._execute(deadline, _BEGIN.format(mode=mode))
                yield lambda query: self._execute(deadline, query)
                self._execute(deadline, "rollback")
                return
            except TimeoutError:
                self._failure = f"PostgreSQL ({self._source}) took the query and does not answer: is it frozen?"
            except psycopg2.Error as error:
                if self._can_go_on(deadline):
                    raise _explain_query_error(error) from None
                self._failure = f"PostgreSQL ({self._source}) {_explain_end(error)}"
            except ReadError:
                self._can_go_on(deadline)
                raise
            raise ReadError(self._failure)

    def _execute(self, deadline: float, query: str | Composable) -> Rows:
        cursor = self._connection.cursor()
        cursor.execute(query)
        _wait(self._connection, deadline)
        return list(cursor.fetchall()) if cursor.description else []

    def _can_go_on(self, deadline: float) -> bool:
        """End a transaction that failed, and return whether the connection is good for another one."""
        import psycopg2

        try:
            self._execute(deadline, "rollback")
        except (psycopg2.Error, TimeoutError):
            self._connection.close()
            return False
        return True

    def close(self) -> None:
        """Say goodbye to the server, which otherwise notes a lost connection in its log."""
        self._connection.close()


def _explain_query_error(error: psycopg2.Error) -> QueryError:
    code = error.pgcode or ""
    if code == "57014":
        return QueryError("PostgreSQL needs more than 1 s for the answer: the disk or the server is overloaded", code)
    said = clean(error.diag.message_primary or type(error).__name__, 160)
    return QueryError(f"PostgreSQL refused a query of vpsmon: {said}", code)


def _explain_end(error: psycopg2.Error) -> str:
    if find_code(str(error)) == "08P01":  # PgBouncer's, when a transaction begins and pool_mode is statement
        return "is a pooler without transactions: pool_mode=transaction, or let POSTGRES_DSN lead to the server itself"
    return "closed the connection: its log says why"
