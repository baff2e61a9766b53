"""What stands between vpsmon and the Bot API: a CONNECT proxy, TLS, a line that trickles. Real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_CHUNK_BYTES = 65536


def make_certificate(folder: Path, host_name: str) -> tuple[Path, Path]:
    """Return a certificate for that name that signs itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = ["-subj", f"/CN={host_name}", "-addext", f"subjectAltName=DNS:{host_name}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


class Relay:
    """Passes what it gets on to a port of loopback, and the answer back. A context manager.

    With a certificate it speaks TLS to its clients; with `is_proxy` it first answers a CONNECT, whatever name is asked
    for, and notes it; `seconds_per_byte` is how slowly answers come.
    """

    def __init__(
        self,
        target_port: int,
        certificate: tuple[Path, Path] | None = None,
        is_proxy: bool = False,
        seconds_per_byte: float = 0.0,
    ) -> None:
        self.asked_for: list[str] = []
        self._target_port = target_port
        self._is_proxy = is_proxy
        self._seconds_per_byte = seconds_per_byte
        self._stopping = threading.Event()
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if self._is_proxy:
                self._answer_connect(client)
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
            with client, socket.create_connection(("127.0.0.1", self._target_port)) as target:
                threading.Thread(target=self._copy, args=(client, target, 0.0), daemon=True).start()
                self._copy(target, client, self._seconds_per_byte)

    def _answer_connect(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(_CHUNK_BYTES)
            if not part:
                raise OSError("hung up")
            head += part
        self.asked_for.append(head.split()[1].decode())
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def _copy(self, source: socket.socket, sink: socket.socket, seconds_per_byte: float) -> None:
        with suppress(OSError):
            while part := source.recv(_CHUNK_BYTES):
                if not seconds_per_byte:
                    sink.sendall(part)
                    continue
                for position in range(len(part)):
                    if self._stopping.wait(seconds_per_byte):
                        return
                    sink.sendall(part[position : position + 1])
            sink.shutdown(socket.SHUT_WR)
