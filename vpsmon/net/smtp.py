"""The door to a mail server: hands over one message, by SMTP_URL. Standard library smtplib, RFC 5321, 3207 and 4954.

A password goes out only over TLS whose certificate is right, or to this machine itself, where nobody can listen; no
text that is raised here holds it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.net.connection import connect
from vpsmon.net.tls import make_tls_context

if TYPE_CHECKING:
    import smtplib
    import socket
    import ssl

_TIMEOUT_SECONDS = 10.0
_SUBMISSION_PORT = 587
_RELAY_PORT = 25
_TLS_PORT = 465
_MALFORMED = (
    "SMTP_URL is malformed: write smtp://user:password@host:587 or smtps://user:password@host:465,"
    " special characters of the password as %XX"
)


class MailServer(NamedTuple):
    """Where mail is handed over; without a user, without a login."""

    host: str
    port: int
    is_tls: bool
    user: str
    password: str

    def __repr__(self) -> str:
        return f"<mail server {self.describe()}>"

    def describe(self) -> str:
        """Return the server without a secret."""
        return clean(f"{self.host}:{self.port}", 100)

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Rejected(ReadError):
    """The server will never take this message from us as it is; the text says why and what to do."""


def parse_smtp_url(url: str) -> MailServer:
    """Return the server of an SMTP_URL. Raises Rejected, without repeating the URL, when it is malformed."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise Rejected(_MALFORMED) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Rejected(_MALFORMED)
    user, password = (urllib.parse.unquote(each or "") for each in (parts.username, parts.password))
    is_tls = parts.scheme == "smtps"
    usual = _TLS_PORT if is_tls else _SUBMISSION_PORT if user else _RELAY_PORT
    return MailServer(parts.hostname, port or usual, is_tls, user, password)


def find_sender(server: MailServer, wanted: str) -> str:
    """Return the address that mail comes from: the wanted one, else the user where that is an address."""
    return wanted or (server.user if "@" in server.user else f"vpsmon@{os.uname().nodename}")


def hand_over(server: MailServer, sender: str, recipients: Sequence[str], message: bytes) -> dict[str, str]:
    """Hand a message over, and return the recipients that were refused while others were not, with the reasons.

    Raises Rejected (never) or ReadError (not now).
    """
    with _session(server, sender) as connection:
        refused = connection.sendmail(sender, list(recipients), message)
        return {name: _quote(*answer) for name, answer in refused.items()}


def check_login(server: MailServer) -> None:
    """Connect and log in, and hand over nothing. Raises Rejected or ReadError."""
    with _session(server, "") as connection:
        connection.noop()


@contextlib.contextmanager
def _session(server: MailServer, sender: str) -> Iterator[smtplib.SMTP]:
    """Give a connection that is logged in; whatever goes wrong on it is Rejected or ReadError."""
    import smtplib

    try:
        with _connect(server) as connection:
            if server.user:
                connection.login(server.user, server.password)
            yield connection
    except smtplib.SMTPRecipientsRefused as error:
        refusals = [f"{clean(name)} {_quote(*answer)}" for name, answer in error.recipients.items()]
        is_final = all(code >= 500 for code, _ in error.recipients.values())
        raise _judge(server, is_final, f"refuses the recipient: {'; '.join(refusals)}: check EMAIL_TO") from None
    except smtplib.SMTPSenderRefused as error:
        text = f"refuses the sender {clean(sender)}: {_quote(error.smtp_code, error.smtp_error)}: set EMAIL_FROM"
        raise _judge(server, error.smtp_code >= 500, text) from None
    except smtplib.SMTPAuthenticationError as error:
        text = f"refuses the login: {_quote(error.smtp_code, error.smtp_error)}: check user and password in SMTP_URL"
        raise _judge(server, error.smtp_code >= 500, text) from None
    except smtplib.SMTPNotSupportedError:
        raise _judge(server, True, "offers no way to log in: take user and password out of SMTP_URL") from None
    except smtplib.SMTPResponseException as error:
        text = f"refuses the message: {_quote(error.smtp_code, error.smtp_error)}"
        raise _judge(server, error.smtp_code >= 500, text) from None
    except smtplib.SMTPException as error:
        if isinstance(error.__context__, TimeoutError):
            raise _explain(server, error.__context__) from None
        raise _judge(server, False, f"broke off: {type(error).__name__}") from None
    except (OSError, UnicodeError) as error:
        raise _explain(server, error) from None


def _connect(server: MailServer) -> smtplib.SMTP:
    """Return a connection, encrypted where that is offered. Raises Rejected, OSError, SMTPException."""
    import smtplib

    class Client(smtplib.SMTP):
        """As it is, but that the addresses of a name race, and TLS from the start is one of the connections."""

        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            connection = connect(host, port, time.monotonic() + timeout)
            connection.settimeout(timeout)
            return _make_context(server).wrap_socket(connection, server_hostname=host) if server.is_tls else connection

    connection = Client(server.host, server.port, timeout=_TIMEOUT_SECONDS)
    if server.is_tls:
        return connection
    try:
        connection.ehlo()
        if connection.has_extn("starttls"):
            connection.starttls(context=_make_context(server))
            connection.ehlo()
        elif server.user and not server.is_here:
            raise _judge(server, True, "offers no encryption, so it does not get the password: use smtps://")
        return connection
    except BaseException:
        connection.close()
        raise


def _make_context(server: MailServer) -> ssl.SSLContext:
    import ssl

    if not server.is_here:
        return make_tls_context()
    # What may be said in the clear here may be said to a certificate that nobody has signed.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _judge(server: MailServer, is_final: bool, text: str) -> ReadError:
    return (Rejected if is_final else ReadError)(f"the mail server {server.describe()} {text}")


def _quote(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return clean(f"{code} {text}", 200)


def _explain(server: MailServer, error: Exception) -> ReadError:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return _judge(server, True, f"has a certificate that is not right: {clean(error.verify_message)}")
    if isinstance(error, ssl.SSLError):
        return _judge(server, False, "does not speak TLS on this port: smtp:// with STARTTLS is another one (587)")
    if isinstance(error, TimeoutError):
        return _judge(server, False, "gives no answer in time")
    if isinstance(error, UnicodeError):
        return _judge(server, True, "cannot be told these characters: is the address in EMAIL_TO right?")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return _judge(server, False, f"cannot be reached: {reason}")
