"""Finding the chat of the owner by what the bot has heard."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit import telegram as bot_api
from tests.kit.telegram import FakeTelegram
from vpsmon.alerts.telegram import Chat, Destination, fetch_latest_chat
from vpsmon.core.findings import ReadError


def look(telegram: FakeTelegram) -> Chat | None:
    return fetch_latest_chat(Destination(telegram.url, telegram.token, "", ""))


@pytest.mark.parametrize(
    ("content", "chat"),
    [
        ({"message": {"chat": {"id": 5, "type": "private", "first_name": "Ann"}}}, Chat("5", "Ann")),
        ({"message": {"chat": {"id": -100, "title": "Ops\n\x1b[31m", "username": "ops"}}}, Chat("-100", "Ops??[31m")),
        ({"my_chat_member": {"chat": {"id": -7, "title": "Group"}}}, Chat("-7", "Group")),
        ({"channel_post": {"chat": {"id": -8}}}, Chat("-8", "without a name")),
        ({"poll": {"id": "1"}}, None),
        ({"message": {"chat": {"id": "text"}}}, None),
        ({"message": "nonsense"}, None),
    ],
)
def test_the_chat_of_any_kind_of_update(telegram: FakeTelegram, content: dict[str, Any], chat: Chat | None) -> None:
    telegram.updates.append({"update_id": 1, **content})
    assert look(telegram) == chat


def test_the_latest_counts_and_no_update_is_no_chat(telegram: FakeTelegram) -> None:
    assert look(telegram) is None
    for number in (1, 2):
        telegram.updates.append({"update_id": number, "message": {"chat": {"id": number, "first_name": "Ann"}}})
    assert look(telegram) == Chat("2", "Ann")


def test_another_reader_of_the_same_bot_is_named(telegram: FakeTelegram) -> None:
    telegram.always = bot_api.refusal(409, "Conflict: terminated by other getUpdates request")
    with pytest.raises(ReadError, match="make a bot of vpsmon's own"):
        look(telegram)
