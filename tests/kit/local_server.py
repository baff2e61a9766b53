"""A local HTTP server with a state of its own, and with the faults of a bad day when it is told to have them."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

JSON = {"Content-Type": "application/json; charset=utf-8"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came in; of a parameter that comes twice, the first one."""

    verb: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> list[str]:
        """The path between its slashes, decoded."""
        return [unquote(part) for part in self.path.strip("/").split("/")]


@dataclass(frozen=True)
class Answer:
    """What goes back; `announced_bytes` is the Content-Length where it lies, a `lost` one is never sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    announced_bytes: int | None = None
    seconds_per_byte: float = 0.0
    lost: bool = False
    # The request is judged and takes effect before this answer goes back.
    after_the_deed: bool = False


def reply(content: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return Answer(status, body, JSON | {name.replace("_", "-"): value for name, value in headers.items()})


def web_page(status: int = 200) -> Answer:
    """What a proxy, a captive portal or another program answers."""
    return Answer(status, b"<!DOCTYPE html>\n<html><body><h1>It works!</h1></body></html>\n", HTML)


def server_error(after_the_deed: bool = False) -> Answer:
    """500 in the shape of NestJS, perhaps after the request took effect."""
    body = b'{"statusCode":500,"message":"Internal server error"}'
    return Answer(500, body, JSON, after_the_deed=after_the_deed)


def half_a_json() -> Answer:
    """A body that ends in the middle, with the length that the whole one would have had."""
    return Answer(200, b'[{"name":"default","status":"WOR', JSON, announced_bytes=4096)


def never() -> Answer:
    """Take the request and say nothing until the server stops."""
    return Answer(lost=True, wait_seconds=3600.0)


_Self = TypeVar("_Self", bound="LocalServer")


class LocalServer:
    """A context manager that serves on a free port while it is open; subclasses say what in `judge`."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.always: Answer | None = None
        self.stopping = threading.Event()
        self.lock = threading.RLock()
        self._address = address
        self._answers: deque[Answer] = deque()
        self._server: _Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def judge(self, request: Request) -> Answer:
        """Return the answer to a request; called under the lock."""
        raise NotImplementedError

    def script(self, *answers: Answer) -> None:
        """Queue answers for the next requests, one each; afterwards `always`, or the usual judgement."""
        self._answers.extend(answers)

    def start(self) -> None:
        """Serve; after the first start always on the same port."""
        self.stopping.clear()
        self._server = _Server(self, self._address, self.port)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on and drop the open ones."""
        server, self._server = self._server, None
        if server is None:
            return
        self.stopping.set()
        server.shutdown()
        server.server_close()
        server.drop_connections()

    def __enter__(self: _Self) -> _Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def take_answer(self, request: Request) -> Answer:
        """Note the request and return what is due."""
        with self.lock:
            self.requests.append(request)
            due = self._answers.popleft() if self._answers else self.always
            if due is None or due.after_the_deed:
                usual = self.judge(request)
            return due or usual


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: LocalServer, address: str, port: int) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__((address, port), _Handler)

    def drop_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):  # the other side may be faster
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up in the middle is part of what is tested


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        url = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        answer = self.server.owner.take_answer(Request(self.command, url.path, parameters, headers, body))
        self.server.owner.stopping.wait(answer.wait_seconds)
        self.close_connection = answer.lost or answer.announced_bytes is not None
        if answer.lost:
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.announced_bytes or len(answer.body)))
        self.end_headers()
        if not answer.seconds_per_byte:
            self.wfile.write(answer.body)
            return
        for byte in answer.body:
            if self.server.owner.stopping.wait(answer.seconds_per_byte):
                return
            self.wfile.write(bytes([byte]))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve
