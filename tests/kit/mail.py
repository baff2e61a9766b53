"""A real SMTP server on loopback (aiosmtpd), with or without TLS and a login, that refuses what it is told to."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.kit.stack import free_port

USER = "reports@example.org"
PASSWORD = "pa/ss w@rd:%"


@dataclass(frozen=True)
class Mail:
    """One message that was taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    was_encrypted: bool
    was_logged_in: bool


@dataclass
class MailServer:
    """The server; recipients in `refused` get the answer that stands there, all others are taken."""

    port: int = 0
    scheme: str = "smtp"
    refused: dict[str, str] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    def url(self, user: str = "", password: str = "") -> str:
        """An SMTP_URL."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        return f"{self.scheme}://{login}127.0.0.1:{self.port}"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a message."""
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        is_encrypted = session.ssl is not None or self.scheme == "smtps"
        to, is_logged_in = list(envelope.rcpt_tos), bool(session.authenticated)
        self.mails.append(Mail(envelope.mail_from or "", to, message, is_encrypted, is_logged_in))
        return "250 taken"

    def judge_login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
        """Take the one login that there is."""
        assert isinstance(login, LoginPassword)
        self.logins.append((login.login, login.password))
        # Not handled: the server itself says no then.
        return AuthResult(success=(login.login, login.password) == (USER.encode(), PASSWORD.encode()), handled=False)


@contextmanager
def mail_server(
    certificate: Path | None = None, is_tls_from_start: bool = False, wants_login: bool = False
) -> Iterator[MailServer]:
    """Serve; with a certificate (see `make_certificate`) by STARTTLS, or with TLS from the start."""
    server = MailServer(free_port(), "smtps" if is_tls_from_start else "smtp")
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {}
    if wants_login:
        options = {"authenticator": server.judge_login, "auth_required": True, "auth_require_tls": False}
    if context and is_tls_from_start:
        options["ssl_context"] = context
    elif context:
        options["tls_context"] = context
    controller = Controller(server, hostname="127.0.0.1", port=server.port, **options)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def make_certificate(folder: Path) -> Path:
    """Make a key and a certificate for 127.0.0.1 that it has signed itself, in one file."""
    key, certificate, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*new, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=30)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
