"""The stand-in for Telegram takes pictures as the Bot API does, and refuses what it refuses."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
import zlib
from typing import Any

import pytest

from tests.kit.multipart import PNG_START, parse_form, read_png_size
from tests.kit.telegram import CHAT_ID, FakeTelegram

BOUNDARY = "0123456789abcdef"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def make_png(width: int, height: int) -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    return PNG_START + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def make_form(photo: bytes | None, **fields: object) -> bytes:
    head = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    disposition = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'.encode()
    return head + (b"" if photo is None else disposition + photo + b"\r\n") + f"--{BOUNDARY}--\r\n".encode()


def send_photo(telegram: FakeTelegram, photo: bytes | None, **fields: object) -> dict[str, Any]:
    url = f"{telegram.url}/bot{telegram.token}/sendPhoto"
    body = make_form(photo, **{"chat_id": CHAT_ID, **fields})
    request = urllib.request.Request(url, body, {"Content-Type": CONTENT_TYPE})  # noqa: S310 - loopback
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
            content: dict[str, Any] = json.load(reply)
    except urllib.error.HTTPError as error:
        content = json.load(error)
    return content


def test_a_form_is_read_byte_for_byte() -> None:
    photo = bytes(range(256)) + b"\r\n--not the boundary\r\n\n"
    fields, files = parse_form(make_form(photo, chat_id=7, caption="ü"), CONTENT_TYPE)
    assert (fields, files) == ({"chat_id": "7", "caption": "ü"}, {"photo": photo})


def test_a_picture_is_taken(telegram: FakeTelegram) -> None:
    photo = make_png(640, 480)
    answer = send_photo(telegram, photo)
    assert answer["ok"] is True
    assert (answer["result"]["photo"][0]["width"], answer["result"]["photo"][0]["height"]) == (640, 480)
    assert [message.photo for message in telegram.messages] == [photo]


@pytest.mark.parametrize(
    ("photo", "description"),
    [
        (None, "there is no photo in the request"),
        (b"", "file must be non-empty"),
        (b"no picture", "IMAGE_PROCESS_FAILED"),
        (make_png(640, 480)[:-5], "IMAGE_PROCESS_FAILED"),
        (make_png(9000, 1001), "PHOTO_INVALID_DIMENSIONS"),
        (make_png(2100, 100), "PHOTO_INVALID_DIMENSIONS"),
    ],
)
def test_what_is_no_picture_is_refused(telegram: FakeTelegram, photo: bytes | None, description: str) -> None:
    assert send_photo(telegram, photo)["description"] == f"Bad Request: {description}"
    assert telegram.messages == []


def test_a_picture_for_nobody_is_refused(telegram: FakeTelegram) -> None:
    assert "chat not found" in send_photo(telegram, make_png(10, 10), chat_id=5)["description"]


def test_the_size_is_that_of_the_picture() -> None:
    assert read_png_size(make_png(640, 480)) == (640, 480)
