"""Telegram's Bot API: sends one message and says whether it arrived, may be tried again, or never will.

Source: core.telegram.org/bots/api and the tdlib/telegram-bot-api server.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from typing import Any, NamedTuple

from vpsmon.alerts.refusals import find_refusal
from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean, quote_foreign
from vpsmon.net.http_client import request
from vpsmon.net.http_reply import HttpReply

_TIMEOUT_SECONDS = 10.0
_UPLOAD_TIMEOUT_SECONDS = 30.0
_DEFAULT_RETRY_SECONDS = 30.0
# Telegram has not been seen to ask for more; whoever else answers may, and the message has not to wait for ever.
LONGEST_RETRY_SECONDS = 3600.0
# Less than the timeout: Telegram holds the answer back until there is an update.
_WAIT_FOR_UPDATE_SECONDS = 5
# The topic "General" of a forum; the Bot API wants messages for it without a topic.
_GENERAL_TOPIC = "1"


class NotSent(Exception):
    """A message did not arrive."""


class Refused(NotSent):
    """Telegram will never take this message; the text says why and what to do."""


class TopicRefused(Refused):
    """The topic takes no message; the group that it belongs to does."""


class TryLater(NotSent):
    """The message did not arrive, and may later; `retry_seconds` is how long Telegram asks to wait, or 0."""

    def __init__(self, reason: str, retry_seconds: float = 0) -> None:
        super().__init__(reason)
        self.retry_seconds = retry_seconds


class MarkupRejected(NotSent):
    """Telegram could not parse the markup; the same text without it will do."""


class ChatMoved(NotSent):
    """The group has become a supergroup; `chat_id` is its new id."""

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"the Telegram group has a new id: set TELEGRAM_CHAT_ID to {chat_id}")
        self.chat_id = chat_id


class Destination(NamedTuple):
    """Where messages go."""

    api_base: str
    token: str
    chat_id: str
    thread_id: str


def make_destination(settings: Settings) -> Destination:
    """Return where monitor.conf says that messages go."""
    return Destination(
        settings.TELEGRAM_API_BASE.rstrip("/"),
        settings.TELEGRAM_BOT_TOKEN,
        settings.TELEGRAM_CHAT_ID,
        "" if settings.TELEGRAM_THREAD_ID == _GENERAL_TOPIC else settings.TELEGRAM_THREAD_ID,
    )


class Chat(NamedTuple):
    """A chat in which somebody has written to the bot, and what it is called there."""

    chat_id: str
    name: str


def fetch_bot_name(destination: Destination) -> str:
    """Return the name of the bot that the token belongs to. Raises ReadError: the token is wrong, or no network."""
    result = _fetch(destination, "getMe", {})
    return clean(str(result.get("username", "unknown"))) if isinstance(result, dict) else "unknown"


def fetch_latest_chat(destination: Destination) -> Chat | None:
    """Return the chat from which the bot heard last, waiting a while for one; None for none yet. Raises ReadError."""
    updates = _fetch(destination, "getUpdates", {"offset": -1, "timeout": _WAIT_FOR_UPDATE_SECONDS})
    for update in reversed(updates if isinstance(updates, list) else []):
        contents = [each for each in update.values() if isinstance(each, dict)] if isinstance(update, dict) else []
        for content in contents:
            chat = content.get("chat")
            if isinstance(chat, dict) and isinstance(chat.get("id"), int):
                names = (chat.get(key) for key in ("title", "username", "first_name"))
                return Chat(str(chat["id"]), clean(next((str(name) for name in names if name), "without a name")))
    return None


def _fetch(destination: Destination, method: str, payload: dict[str, Any]) -> Any:
    """Return the result of a method that only asks. Raises ReadError."""
    try:
        return _call(destination, method, payload).get("result")
    except NotSent as error:
        raise ReadError(str(error)) from None


def send_message(destination: Destination, text: str, as_html: bool) -> None:
    """Send one message. Raises Refused, TryLater, MarkupRejected or ChatMoved when it did not arrive."""
    payload: dict[str, Any] = {
        "chat_id": destination.chat_id,
        "text": text,
        "link_preview_options": {"is_disabled": True},
    }
    if as_html:
        payload["parse_mode"] = "HTML"
    if destination.thread_id:
        payload["message_thread_id"] = destination.thread_id
    _call(destination, "sendMessage", payload)


def send_photo(destination: Destination, name: str, picture: bytes) -> None:
    """Send a picture in a file of this name. Raises Refused, TryLater or ChatMoved when it did not arrive.

    multipart/form-data as in RFC 7578; core.telegram.org/bots/api#sending-files.
    """
    fields = {"chat_id": destination.chat_id, "message_thread_id": destination.thread_id}
    # Random, so that it is not in the picture.
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
        if value
    ]
    head = f'Content-Disposition: form-data; name="photo"; filename="{name}"\r\nContent-Type: image/png'
    start = "".join([*parts, f"--{boundary}\r\n{head}\r\n\r\n"]).encode()
    body = b"".join([start, picture, f"\r\n--{boundary}--\r\n".encode()])
    content_type = f"multipart/form-data; boundary={boundary}"
    _post(destination, "sendPhoto", body, content_type, _UPLOAD_TIMEOUT_SECONDS)


def send_sign_of_life(destination: Destination) -> None:
    """Show "typing" in the chat for some seconds, which needs what a message needs. Raises as `send_message` does."""
    payload: dict[str, Any] = {"chat_id": destination.chat_id, "action": "typing"}
    if destination.thread_id:
        payload["message_thread_id"] = destination.thread_id
    _call(destination, "sendChatAction", payload)


def _call(destination: Destination, method: str, payload: dict[str, Any]) -> dict[str, Any]:
    return _post(destination, method, json.dumps(payload).encode(), "application/json", _TIMEOUT_SECONDS)


def _post(
    destination: Destination, method: str, body: bytes, content_type: str, timeout_seconds: float
) -> dict[str, Any]:
    """Return Telegram's answer. Raises Refused, TryLater, MarkupRejected or ChatMoved when there is none, or a no."""
    token = urllib.parse.quote(destination.token, safe=":")
    url = f"{destination.api_base}/bot{token}/{method}"
    try:
        reply = request("POST", url, body, {"Content-Type": content_type}, timeout_seconds, through_proxy=True)
    except ReadError as error:
        raise TryLater(f"Telegram cannot be reached: {error}") from None
    return _check_reply(reply, destination)


def _check_reply(reply: HttpReply, destination: Destination) -> dict[str, Any]:
    """Return Telegram's answer. Raises Refused, TryLater, MarkupRejected or ChatMoved when it is a no."""
    answer = _parse(reply)
    if reply.status == 200 and answer.get("ok") is True:
        return answer
    parameters = answer.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    # Telegram does not repeat the token; whatever else stands at TELEGRAM_API_BASE may.
    told = str(answer.get("description", "no description")).replace(destination.token, "<token>")
    description = quote_foreign(told, 200)
    if reply.status == 429:
        wait = parameters.get("retry_after")
        if not isinstance(wait, (int, float)) or not wait > 0:
            wait = _DEFAULT_RETRY_SECONDS
        seconds = float(min(wait, LONGEST_RETRY_SECONDS))
        raise TryLater(f"Telegram asks to wait {seconds:g} s", seconds)
    if reply.status == 400 and isinstance(parameters.get("migrate_to_chat_id"), int):
        raise ChatMoved(str(parameters["migrate_to_chat_id"]))
    if reply.status == 400 and "can't parse entities" in description:
        raise MarkupRejected(description)
    refusal = find_refusal(reply.status, description) if answer else None
    if refusal is None:
        raise TryLater(f"Telegram answered with HTTP status {reply.status}")
    text = f"Telegram refuses the message: {description}: {refusal.remedy}"
    raise TopicRefused(text) if refusal.is_of_topic and destination.thread_id else Refused(text)


def _parse(reply: HttpReply) -> dict[str, Any]:
    """Return Telegram's answer, or {} when something else answered: a proxy's or a hotel's web page."""
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) and "ok" in answer else {}
