"""The connections to one Redis, each with a deadline, and what its refusals mean to the owner."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vpsmon.findings import NotApplicable, ReadError
from vpsmon.foreign import ImpossibleNumber, check_numbers
from vpsmon.stack.presence import REDIS_PORT
from vpsmon.text import clean

if TYPE_CHECKING:
    import redis

PORT = REDIS_PORT
_TIMEOUT_SECONDS = 2.0


class Server(NamedTuple):
    """A server and the ways to reach it: keywords of the redis library, likeliest first. May hold a password."""

    source: str
    targets: tuple[dict[str, Any], ...]
    # What to do when it does not let us in.
    remedy: str
    # Of its container; None where it has no limit, or no container.
    memory_limit_bytes: int | None = None
    # Set where the target is only a guess: what to say when nothing is there.
    absence: NotApplicable | ReadError | None = None

    def __repr__(self) -> str:
        return f"<Redis {self.describe()}>"

    def describe(self) -> str:
        """Return what was found and from where, without a secret."""
        return clean(f"{_name_place(self.targets[0])} ({self.source})", 300)


def _name_place(target: dict[str, Any]) -> str:
    return str(target.get("path") or f"{target.get('host', 'localhost')}:{target.get('port', PORT)}")


class RedisSession:
    """The connections of a pass, one for each database; the commands wait for one another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._clients: dict[int | None, redis.Redis] = {}
        self._failure: ReadError | NotApplicable | None = None

    def run(self, commands: Sequence[Sequence[str | int]], database: int | None) -> list[Any]:
        """Return the answers to the commands. Raises ReadError, or NotApplicable where no server was expected."""
        with self._lock:
            if self._failure:
                raise self._failure
            import redis

            try:
                answers = self._ask(commands, database)
                check_numbers(answers)
                return answers
            except ImpossibleNumber as why:
                raise ReadError(f"Redis ({self._server.source}): of its answer: {why}; is this Redis?") from None
            except redis.RedisError as error:
                # A refused command or a loading server says nothing about the next command.
                if not _is_network_failure(error) and not isinstance(error, redis.AuthenticationError):
                    raise self._explain(error) from None
                self._failure = self._explain(error)
            except (OSError, ValueError) as error:
                self._failure = ReadError(f"Redis ({self._server.source}) cannot be reached: {type(error).__name__}")
            raise self._failure

    def _ask(self, commands: Sequence[Sequence[str | int]], database: int | None) -> list[Any]:
        if database not in self._clients:
            self._clients[database] = self._connect(database, len(self._server.targets))
        pipeline = self._clients[database].pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        return list(pipeline.execute())

    def _connect(self, database: int | None, count: int) -> redis.Redis:
        """Return a client of the first target that takes the connection; the last one has to."""
        import redis

        for position, target in enumerate(self._server.targets):
            client = _make_client(target, database, _TIMEOUT_SECONDS / count)
            try:
                client.connection_pool.release(client.connection_pool.get_connection())
                return client
            except redis.ConnectionError as error:
                client.close()
                if not _is_network_failure(error) or position == count - 1:
                    raise
        raise AssertionError("unreachable: there is always a target")

    def _explain(self, error: Exception) -> ReadError | NotApplicable:
        import redis

        text, server = str(error), self._server
        if _is_network_failure(error):
            if server.absence and not isinstance(error, redis.TimeoutError):
                return server.absence
            return ReadError(f"Redis ({server.source}) {_name_network_failure(error)}")
        if isinstance(error, redis.exceptions.BusyLoadingError):
            said = "is loading its data from disk; wait, everything that needs it waits too"
        elif isinstance(error, redis.exceptions.NoPermissionError):
            said = f"refuses a command to this user: ACL SETUSER … +info +ping and read access; {clean(text, 120)}"
        elif isinstance(error, redis.AuthenticationError):
            wants = "wants a password" if "required" in text.lower() else "refuses the password"
            said = f"{wants}; {server.remedy}"
        elif text.startswith("DENIED"):
            said = "is in protected mode and takes no connections from here: set REDIS_URL"
        else:
            said = f"refuses: {clean(text, 120)}"
        return ReadError(f"Redis ({server.source}) {said}")

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


def _make_client(target: dict[str, Any], database: int | None, connect_seconds: float) -> redis.Redis:
    """Without retries, whatever the default of the library's version: they turn 2 s into 27 s. With RESP2, which every
    version of Redis speaks."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    ours = {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": connect_seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": True,
        "encoding_errors": "replace",
    }
    chosen = {} if database is None else {"db": database}
    return redis.Redis(connection_pool=redis.ConnectionPool(**{**target, **chosen, **ours}))


def _is_network_failure(error: Exception) -> bool:
    """Whether it is about the way to the server; the library derives what the server says from the same class."""
    import redis

    said_by_server = (redis.AuthenticationError, redis.exceptions.BusyLoadingError)
    is_network = isinstance(error, (redis.ConnectionError, redis.TimeoutError))
    return is_network and not isinstance(error, said_by_server) and "number of clients" not in str(error)


def _name_network_failure(error: Exception) -> str:
    import redis

    if isinstance(error, redis.TimeoutError):
        return f"does not answer within {_TIMEOUT_SECONDS:g} s: is it frozen, or busy with a slow command?"
    if "refused" in str(error):
        return "is not listening; is it still starting?"
    return "cannot be reached, or closed the connection"
