"""Redis through its library: TLS, Unix sockets, and the options that a URL of the library can have."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from vpsmon.net.connection import Garbled
from vpsmon.stack.presence import REDIS_PORT
from vpsmon.stack.redis.protocol import Command, Refused, UntrustedCertificate

# The library cuts the code off what the server says.
_CODES: dict[type[Exception], str] = {
    redis.AuthenticationError: "WRONGPASS",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.NoPermissionError: "NOPERM",
}


class LibraryTarget(NamedTuple):
    """The keywords of a connection; among them may be a password."""

    options: dict[str, Any]

    @property
    def place(self) -> str:
        options = self.options
        return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', REDIS_PORT)}")

    def connect(self, database: int | None, connect_seconds: float, answer_seconds: float) -> LibrarySession:
        return LibrarySession(self.options, database, connect_seconds, answer_seconds)


def parse_library_url(url: str) -> LibraryTarget:
    """Return what a rediss:// or unix:// URL means, or one with options. Raises ValueError, with secrets in it."""
    return LibraryTarget(dict(parse_url(url)))  # type: ignore[no-untyped-call]


class LibrarySession:
    """One connection, without retries, whatever the default of the library's version: they turn 2 s into 27 s."""

    def __init__(
        self, options: dict[str, Any], database: int | None, connect_seconds: float, answer_seconds: float
    ) -> None:
        ours = {
            "socket_timeout": answer_seconds,
            "socket_connect_timeout": connect_seconds,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "decode_responses": True,
            "encoding_errors": "replace",
        }
        chosen = {} if database is None else {"db": database}
        self._client = redis.Redis(connection_pool=redis.ConnectionPool(**{**options, **chosen, **ours}))
        # As the server says it: each command would be made into something else.
        self._client.response_callbacks.clear()
        with _translated():
            self._client.connection_pool.release(self._client.connection_pool.get_connection())

    def run(self, commands: Sequence[Command]) -> list[Any]:
        with _translated():
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            return list(pipeline.execute())

    def close(self) -> None:
        self._client.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise what goes wrong inside as redis_protocol.py does."""
    try:
        yield
    except redis.TimeoutError:
        raise TimeoutError("timed out") from None
    except redis.RedisError as error:
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
        if code:
            raise Refused(f"{code} {error}") from None
        if isinstance(error, redis.ResponseError) or "number of clients" in str(error):
            raise Refused(str(error)) from None
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            raise UntrustedCertificate(error.__context__.verify_message) from None
        if isinstance(error, redis.ConnectionError):
            raise (ConnectionRefusedError if "refused" in str(error) else ConnectionError)() from None
        raise Garbled(type(error).__name__) from None
