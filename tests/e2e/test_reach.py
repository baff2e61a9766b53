"""Names with addresses that swallow packets, and authorities in a hashed folder: in namespaces of their own."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.relay import make_certificate

# Eight black holes before the address that works: one after the other, with the 10 s that a mail server has, they
# would take longer than the script may.
_BLACK_HOLES = [f"2001:db8::{number}" for number in range(1, 9)]
_LIMIT_SECONDS = 60
_NETWORK = """
ip link set lo up
for address in $HOLES; do ip addr add "$address/128" dev lo nodad; echo "$address service.test" >> "$HOSTS"; done
ip6tables -A INPUT -d 2001:db8::/64 -j DROP
mount --bind "$HOSTS" /etc/hosts
exec "$@"
"""
_ASK = """
import socket
from tests.kit.mail import mail_server
from tests.kit.telegram import FakeTelegram
from vpsmon.net.http_client import request
from vpsmon.net.smtp import MailServer, check_login

names = {each[4][0] for each in socket.getaddrinfo("service.test", 80, type=socket.SOCK_STREAM)}
print(len(names), "addresses")
with FakeTelegram() as telegram:
    url = telegram.url.replace("127.0.0.1", "service.test")
    print("HTTP", request("GET", url, None, {}, 10).status)
with mail_server() as server:
    check_login(MailServer("service.test", server.port, False, "", ""))
    print("SMTP")
"""
_TRUST = """
import sys
from vpsmon.net.http_client import request
from vpsmon.net.http_reply import RequestFailed
from vpsmon.net.tls import make_tls_context

print(len(make_tls_context().get_ca_certs()), "read before a connection")
for url in sys.argv[1:]:
    try:
        print(request("GET", url, None, {}, 5).status)
    except RequestFailed as failure:
        print(failure.cause)
"""


def run(arguments: list[str], shell: str, environment: dict[str, str], *namespaces: str) -> list[str]:
    argv = ["unshare", "--mount", *namespaces, "sh", "-ec", shell, "sh", sys.executable, "-c", *arguments]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_name_whose_first_addresses_swallow_packets_is_reached(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.1 service.test\n")
    environment = {"HOSTS": str(hosts), "HOLES": " ".join(_BLACK_HOLES)}
    assert run([_ASK], _NETWORK, environment, "--net") == ["9 addresses", "HTTP 404", "SMTP"]


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A folder of authorities as `update-ca-certificates` makes it, with one of our own."""
    folder = tmp_path / "certs"
    folder.mkdir()
    certificate, key = make_certificate(tmp_path, "authority.test")
    (folder / "own.pem").write_bytes(certificate.read_bytes())
    key.rename(tmp_path / "authority.key")
    subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
    (folder / "ca-certificates.crt").write_bytes(certificate.read_bytes())
    return folder


def sign(folder: Path, authority: Path) -> tuple[Path, Path]:
    """Return a certificate of localhost that the authority has signed, and its key."""
    request, certificate, key = folder / "request.pem", folder / "signed.pem", folder / "signed.key"
    extension = folder / "extension"
    extension.write_text("subjectAltName=DNS:localhost\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*new, "-keyout", str(key), "-out", str(request)], check=True, capture_output=True)
    signing = ["-CA", str(authority / "own.pem"), "-CAkey", str(folder / "authority.key"), "-CAcreateserial"]
    files = ["-in", str(request), "-out", str(certificate), "-extfile", str(extension)]
    subprocess.run(["openssl", "x509", "-req", *signing, *files, "-days", "2"], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("chosen", ["hashed folder", "half a folder", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_authority_of_the_system_is_trusted_and_no_other(tmp_path: Path, authority: Path, chosen: str) -> None:
    from tests.kit.relay import Relay
    from tests.kit.telegram import FakeTelegram

    if not ssl.get_default_verify_paths().openssl_cafile.endswith("/cert.pem"):
        pytest.skip("this OpenSSL has its authorities elsewhere")
    other = tmp_path / "other"
    other.mkdir()
    bundle = authority / "ca-certificates.crt"
    if chosen == "half a folder":
        bundle.write_bytes(bundle.read_bytes() + make_certificate(other, "more.test")[0].read_bytes())
    environment = {"SSL_CERT_FILE": {"SSL_CERT_FILE": str(bundle)}, "SSL_CERT_DIR": {"SSL_CERT_DIR": str(authority)}}
    mount = f'mount --bind "{authority}" /etc/ssl/certs\nexec "$@"' if "folder" in chosen else 'exec "$@"'
    with FakeTelegram() as server:
        port = int(server.url.rpartition(":")[2])
        with (
            Relay(port, sign(tmp_path, authority)) as known,
            Relay(port, make_certificate(other, "localhost")) as stranger,
        ):
            urls = [
                f"https://localhost:{known.port}",
                f"https://localhost:{stranger.port}",
                f"https://127.0.0.1:{known.port}",
            ]
            read, *answers = run([_TRUST, *urls], mount, environment.get(chosen, {}))
    assert answers == ["404", "untrusted", "untrusted"]
    assert (read == "0 read before a connection") == (chosen == "hashed folder")
