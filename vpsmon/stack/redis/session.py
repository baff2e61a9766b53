"""The connections to one Redis, each with a deadline, and what its refusals mean to the owner."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.strict_json import ImpossibleNumber, check_numbers
from vpsmon.core.text import clean
from vpsmon.net.connection import Garbled
from vpsmon.stack.redis.protocol import Command, Refused, Session, Target, UntrustedCertificate

_TIMEOUT_SECONDS = 2.0
# Without a login, with a wrong one, and how servers before 6.2 said both.
_LOGIN_REFUSALS = ("NOAUTH", "WRONGPASS", "ERR invalid password", "ERR Client sent AUTH", "ERR AUTH")


class Server(NamedTuple):
    """A server and the ways to reach it, likeliest first. May hold a password."""

    source: str
    targets: tuple[Target, ...]
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
        return clean(f"{self.targets[0].place} ({self.source})", 300)


class RedisSession:
    """The connections of a pass, one for each database; the commands wait for one another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._sessions: dict[int | None, Session] = {}
        self._failure: ReadError | NotApplicable | None = None

    def run(self, commands: Sequence[Command], database: int | None) -> list[Any]:
        """Return the answers to the commands. Raises ReadError, or NotApplicable where no server was expected."""
        with self._lock:
            if self._failure:
                raise self._failure
            try:
                answers = self._ask(commands, database)
                check_numbers(answers)
                return answers
            except ImpossibleNumber as why:
                raise ReadError(f"Redis ({self._server.source}): of its answer: {why}; is this Redis?") from None
            except Refused as refusal:
                # A refused command or a loading server says nothing about the next command.
                if not str(refusal).startswith(_LOGIN_REFUSALS):
                    raise self._explain_refusal(str(refusal)) from None
                self._failure = self._explain_refusal(str(refusal))
            except (OSError, ValueError) as error:
                self._failure = self._explain_silence(error)
            raise self._failure

    def _ask(self, commands: Sequence[Command], database: int | None) -> list[Any]:
        if database not in self._sessions:
            self._sessions[database] = self._connect(database)
        return self._sessions[database].run(commands)

    def _connect(self, database: int | None) -> Session:
        """Return a session at the first target that takes the connection; the last one has to."""
        *others, last = self._server.targets
        connect_seconds = _TIMEOUT_SECONDS / len(self._server.targets)
        for target in others:
            try:
                return target.connect(database, connect_seconds, _TIMEOUT_SECONDS)
            except OSError:
                continue
        return last.connect(database, connect_seconds, _TIMEOUT_SECONDS)

    def _explain_refusal(self, text: str) -> ReadError:
        server, said = self._server, clean(text, 120)
        code = text.partition(" ")[0]
        if code == "LOADING":
            meaning = "is loading its data from disk; wait, everything that needs it waits too"
        elif code == "NOPERM":
            meaning = f"refuses a command to this user: ACL SETUSER … +info +ping and read access; {said}"
        elif text.startswith(_LOGIN_REFUSALS):
            wants = "wants a password" if "required" in text.lower() else "refuses the password"
            meaning = f"{wants}; {server.remedy}"
        elif code == "DENIED":
            meaning = "is in protected mode and takes no connections from here: set REDIS_URL"
        else:
            meaning = f"refuses: {said}"
        return ReadError(f"Redis ({server.source}) {meaning}")

    def _explain_silence(self, error: OSError | ValueError) -> ReadError | NotApplicable:
        if isinstance(error, TimeoutError):
            meaning = f"does not answer within {_TIMEOUT_SECONDS:g} s: is it frozen, or busy with a slow command?"
        elif self._server.absence:
            return self._server.absence
        elif isinstance(error, ConnectionRefusedError):
            meaning = "is not listening; is it still starting?"
        elif isinstance(error, Garbled):
            meaning = "breaks off, or does not answer as Redis does: is the address right?"
        elif isinstance(error, UntrustedCertificate):
            meaning = (
                f"has a certificate that this machine does not trust ({error}): REDIS_URL=rediss://…?ssl_ca_certs=FILE"
            )
        else:
            meaning = f"cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}"
        return ReadError(f"Redis ({self._server.source}) {meaning}")

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            session.close()
