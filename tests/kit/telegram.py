"""A local HTTP server that answers as the Telegram Bot API does, and as a bad network does when told to.

The wording of the refusals is that of the Bot API server (tdlib/telegram-bot-api), because a client that tells
permanent from temporary refusals depends on it.
"""

import http.server
import json
import re
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.kit.multipart import parse_form, read_png_size
from tests.kit.telegram_html import MarkupError, strip_markup

TOKEN = "123456789:AAFakeTokenForTestsOnly-0123456789abcde"
CHAT_ID = -1001234567890
TEXT_LIMIT_UTF16_UNITS = 4096
# core.telegram.org/bots/api#sendphoto: at most 10 MB, width and height together 10000, one at most 20 times the other.
PHOTO_LIMIT_BYTES = 10_000_000
PHOTO_LIMIT_PIXELS = 10_000
PHOTO_LIMIT_RATIO = 20
WELL_FORMED_TOKEN = re.compile(r"[1-9]\d*:[A-Za-z0-9_-]+")
# The Bot API turns control characters other than the line feed into spaces and drops carriage returns.
CONTROL_CHARACTERS = {code: " " for code in range(32) if code != 10} | {13: None}


@dataclass(frozen=True)
class Answer:
    """One scripted behaviour; `status` None means: judge the request as usual and answer that."""

    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    seconds_per_byte: float = 0.0
    lose_connection: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came in; `parameters` unites query, form and JSON body."""

    verb: str
    path: str
    method: str
    headers: dict[str, str]
    body: bytes
    parameters: dict[str, Any]
    received_at: float
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One accepted message: `text` is what the reader sees, `request.parameters` what was sent."""

    message_id: int
    chat_id: int
    thread_id: int | None
    text: str
    received_at: float
    request: Request
    photo: bytes = b""


class Refusal(Exception):
    """The Bot API refuses the request."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


def refusal(code: int, description: str, **parameters: int) -> Answer:
    """A scripted refusal in the shape of the Bot API."""
    content: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    if parameters:
        content["parameters"] = parameters
    return Answer(code, json.dumps(content).encode(), {"Content-Type": "application/json"})


def too_many_requests(retry_after_seconds: int) -> Answer:
    """429, as sent when a chat gets messages too fast."""
    return refusal(429, f"Too Many Requests: retry after {retry_after_seconds}", retry_after=retry_after_seconds)


def server_error() -> Answer:
    """500 with a JSON body."""
    return refusal(500, "Internal Server Error: restart")


def bad_gateway() -> Answer:
    """502 with the HTML body of the proxy in front of the Bot API."""
    title = b"502 Bad Gateway"
    body = b"<html><head><title>" + title + b"</title></head>\r\n<body><h1>" + title + b"</h1></body></html>\r\n"
    return Answer(502, body, {"Content-Type": "text/html"})


def blocked() -> Answer:
    """403, a permanent refusal."""
    return refusal(403, "Forbidden: bot was blocked by the user")


def migrated(new_chat_id: int) -> Answer:
    """400 that names the new chat id; FakeTelegram.migrate does the same for good."""
    return refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=new_chat_id)


def redirect(location: str) -> Answer:
    """302 to another address: a captive portal."""
    return Answer(302, b"", {"Location": location})


def closed_connection() -> Answer:
    """Close the connection without an answer; nothing is accepted."""
    return Answer(0, lose_connection=True)


def lost_answer() -> Answer:
    """Accept the request, then lose the connection before the answer."""
    return Answer(lose_connection=True)


def hang(seconds: float) -> Answer:
    """Answer nothing for this long, then close; nothing is accepted."""
    return Answer(0, wait_seconds=seconds, lose_connection=True)


def slow(seconds_per_byte: float) -> Answer:
    """Judge as usual and send the answer byte by byte."""
    return Answer(seconds_per_byte=seconds_per_byte)


def utf16_units(text: str) -> int:
    """The length of a text as the Bot API counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class FakeTelegram:
    """The Bot API on a free loopback port; a context manager that serves while it is open."""

    def __init__(self, token: str = TOKEN, chat_id: int = CHAT_ID, address: str = "127.0.0.1") -> None:
        self.address = address
        self.token = token
        self.chat_id = chat_id
        self.chats = {chat_id}
        self.threads: set[int] = set()
        self.closed_threads: set[int] = set()
        self.migrations: dict[int, int] = {}
        self.always: Answer | None = None
        self.updates: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.messages: list[Message] = []
        self.stopping = threading.Event()
        self._answers: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """What TELEGRAM_API_BASE is to be."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve; after the first start always on the same port."""
        self.stopping.clear()
        self._server = _Server(self, self._port)
        self._port = self._server.server_address[1]
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

    def __enter__(self) -> "FakeTelegram":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def script(self, *answers: Answer) -> None:
        """Queue answers for the next requests, one each; afterwards `always`, or the usual judgement."""
        self._answers.extend(answers)

    def migrate(self, old_chat_id: int, new_chat_id: int) -> None:
        """Turn a group into a supergroup: the old id is refused with the new one from now on."""
        self.migrations[old_chat_id] = new_chat_id
        self.chats.add(new_chat_id)

    def wait_for_messages(self, count: int, timeout_seconds: float = 10.0) -> list[Message]:
        """Return the messages as soon as there are that many, or fail."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.messages) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self.messages)} of {count} messages after {timeout_seconds} s")
            return list(self.messages)

    def take_answer(self, request: Request) -> Answer:
        """Note the request and return the behaviour that is due."""
        with self._changed:
            self.requests.append(request)
            answer = self._answers.popleft() if self._answers else self.always or Answer()
            return answer if answer.status is not None else _with_content(answer, *self._judge(request))

    def _judge(self, request: Request) -> tuple[int, dict[str, Any]]:
        try:
            self._check_token(request.path)
            return 200, {"ok": True, "result": self._call(request)}
        except Refusal as refused:
            content: dict[str, Any] = {"ok": False, "error_code": refused.code, "description": refused.description}
            return refused.code, content | ({"parameters": refused.parameters} if refused.parameters else {})

    def _check_token(self, path: str) -> None:
        parts = unquote(urlsplit(path).path).split("/")
        if len(parts) != 3 or not parts[1].startswith("bot"):
            raise Refusal(404, "Not Found")
        token = parts[1].removeprefix("bot")
        if not WELL_FORMED_TOKEN.fullmatch(token) or len(token) > 80:
            raise Refusal(401, "Unauthorized: invalid token specified")
        if token != self.token:
            raise Refusal(401, "Unauthorized")

    def _call(self, request: Request) -> Any:
        methods = {
            "getme": self._get_me,
            "sendmessage": self._send_message,
            "sendphoto": self._send_photo,
            "sendchataction": self._send_chat_action,
            "getupdates": self._get_updates,
        }
        method = methods.get(request.method.lower())
        if method is None:
            raise Refusal(404, "Not Found: method not found")
        return method(request)

    def _bot(self) -> dict[str, Any]:
        identity = int(self.token.partition(":")[0])
        return {"id": identity, "is_bot": True, "first_name": "vpsmon", "username": "vpsmon_test_bot"}

    def _get_me(self, request: Request) -> dict[str, Any]:
        return self._bot() | {
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }

    def _get_updates(self, request: Request) -> list[dict[str, Any]]:
        offset = int(request.parameters.get("offset") or 0)
        return [update for update in self.updates if update["update_id"] >= offset]

    def _send_message(self, request: Request) -> dict[str, Any]:
        return self._accept(request, _shown_text(request.parameters), b"")

    def _send_photo(self, request: Request) -> dict[str, Any]:
        photo = request.files.get("photo")
        if photo is None:
            raise Refusal(400, "Bad Request: there is no photo in the request")
        _check_photo(photo)
        return self._accept(request, "", photo)

    def _send_chat_action(self, request: Request) -> bool:
        self._find_chat(str(request.parameters.get("chat_id", "")))
        self._find_thread(str(request.parameters.get("message_thread_id") or ""))
        if request.parameters.get("action") != "typing":
            raise Refusal(400, "Bad Request: wrong parameter action in request")
        return True

    def _accept(self, request: Request, text: str, photo: bytes) -> dict[str, Any]:
        chat_id = self._find_chat(str(request.parameters.get("chat_id", "")))
        thread_id = self._find_thread(str(request.parameters.get("message_thread_id") or ""))
        message = Message(len(self.messages) + 1, chat_id, thread_id, text, request.received_at, request, photo)
        self.messages.append(message)
        self._changed.notify_all()
        return _message_json(message, self._bot())

    def _find_chat(self, chat: str) -> int:
        if not chat:
            raise Refusal(400, "Bad Request: chat_id is empty")
        chat_id = int(chat) if re.fullmatch(r"-?\d+", chat) else None
        if chat_id in self.migrations:
            raise Refusal(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.migrations[chat_id],
            )
        if chat_id not in self.chats or chat_id is None:
            raise Refusal(400, "Bad Request: chat not found")
        return chat_id

    def _find_thread(self, thread: str) -> int | None:
        if not thread:
            return None
        if not thread.isdigit() or int(thread) not in self.threads:
            raise Refusal(400, "Bad Request: message thread not found")
        if int(thread) in self.closed_threads:
            raise Refusal(400, "Bad Request: TOPIC_CLOSED")
        return int(thread)


def _shown_text(parameters: dict[str, Any]) -> str:
    """Return the text after entity parsing, or refuse it."""
    raw = str(parameters.get("text") or "")
    if not raw:
        raise Refusal(400, "Bad Request: message text is empty")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in raw):
        raise Refusal(400, "Bad Request: strings must be encoded in UTF-8")
    text = _parse(raw, str(parameters.get("parse_mode") or "")).translate(CONTROL_CHARACTERS).strip()
    if not text:
        raise Refusal(400, "Bad Request: text must be non-empty")
    if utf16_units(text) > TEXT_LIMIT_UTF16_UNITS:
        raise Refusal(400, "Bad Request: message is too long")
    return text


def _check_photo(photo: bytes) -> None:
    if not photo:
        raise Refusal(400, "Bad Request: file must be non-empty")
    if len(photo) > PHOTO_LIMIT_BYTES:
        raise Refusal(400, f"Bad Request: file of size {len(photo)} bytes is too big for a photo")
    size = read_png_size(photo)
    if size is None:
        raise Refusal(400, "Bad Request: IMAGE_PROCESS_FAILED")
    if sum(size) > PHOTO_LIMIT_PIXELS or max(size) > PHOTO_LIMIT_RATIO * min(size):
        raise Refusal(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")


def _parse(raw: str, parse_mode: str) -> str:
    if not parse_mode:
        return raw
    if parse_mode.lower() != "html":  # the Markdown modes exist, but nothing here may depend on them
        raise Refusal(400, "Bad Request: unsupported parse_mode")
    try:
        return strip_markup(raw)
    except MarkupError as error:
        raise Refusal(400, f"Bad Request: can't parse entities: {error}") from error


def _message_json(message: Message, bot: dict[str, Any]) -> dict[str, Any]:
    private = message.chat_id > 0
    kind = "private" if private else "supergroup" if message.chat_id < -1000000000000 else "group"
    chat = {"id": message.chat_id, "type": kind} | ({"first_name": "Op"} if private else {"title": "Operators"})
    content = {"message_id": message.message_id, "from": bot, "chat": chat, "date": int(message.received_at)}
    thread = {} if message.thread_id is None else {"message_thread_id": message.thread_id, "is_topic_message": True}
    if message.photo:
        width, height = read_png_size(message.photo) or (0, 0)
        names = {"file_id": f"photo-{message.message_id}", "file_unique_id": str(message.message_id)}
        size = names | {"width": width, "height": height, "file_size": len(message.photo)}
        return content | thread | {"photo": [size]}
    return content | thread | {"text": message.text}


def _with_content(answer: Answer, status: int, content: dict[str, Any]) -> Answer:
    return Answer(
        status,
        json.dumps(content).encode(),
        {"Content-Type": "application/json"},
        answer.wait_seconds,
        answer.seconds_per_byte,
        answer.lose_connection,
    )


class _Server(http.server.ThreadingHTTPServer):
    """The listening socket, and the connections that stop() has to drop."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, telegram: FakeTelegram, port: int) -> None:
        self.telegram = telegram
        self.connections: set[socket.socket] = set()
        super().__init__((telegram.address, port), _Handler)

    def drop_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):  # the other side may be faster
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up in the middle is part of what is tested


class _Handler(http.server.BaseHTTPRequestHandler):
    """HTTP to Request, Answer to HTTP."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        answer = self.server.telegram.take_answer(self._read_request())
        self.server.telegram.stopping.wait(answer.wait_seconds)
        if answer.lose_connection:
            self.close_connection = True
            return
        self.send_response(answer.status or 200)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self._write_body(answer)

    def _write_body(self, answer: Answer) -> None:
        if not answer.seconds_per_byte:
            self.wfile.write(answer.body)
            return
        for position in range(len(answer.body)):
            if self.server.telegram.stopping.wait(answer.seconds_per_byte):
                self.close_connection = True
                return
            self.wfile.write(answer.body[position : position + 1])

    def _read_request(self) -> Request:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        parameters: dict[str, Any] = dict(parse_qsl(url.query, keep_blank_values=True))
        content_type = self.headers.get_content_type()
        files: dict[str, bytes] = {}
        if content_type == "multipart/form-data":
            fields, files = parse_form(body, self.headers["Content-Type"])
            parameters |= fields
        parameters |= _body_parameters(body, content_type)
        method = url.path.rpartition("/")[2]
        headers = dict(self.headers.items())
        return Request(self.command, self.path, method, headers, body, parameters, time.time(), files)


def _body_parameters(body: bytes, content_type: str) -> dict[str, Any]:
    """Read a JSON or form body; what is neither gives no parameters, as with the Bot API."""
    if content_type == "application/json":
        try:
            content = json.loads(body or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}
    if content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode("utf-8", "surrogateescape"), True, errors="surrogateescape"))
    return {}
