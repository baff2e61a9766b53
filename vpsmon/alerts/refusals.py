"""What Telegram's refusals mean, and what to do about each; the manual shows this table.

The Bot API tells them apart by an English description only: `error_code` is 400 or 403 for nearly all of them. So the
phrases below are its protocol, and this is the one place that reads them. Source: tdlib/telegram-bot-api
(Client.cpp: fail_query_with_error) and the error names of core.telegram.org/api/errors, which it passes through.
"""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """A refusal that is final: what is in its description, in lower case, and the remedy for the owner."""

    status: int
    # "" is any other description with this status.
    phrase: str
    remedy: str
    # The chat is right and would take the message outside the topic.
    is_of_topic: bool = False


_TOPIC = "set TELEGRAM_THREAD_ID to an open topic of this group, or leave it empty; meanwhile alerts go to the group"
_CHAT = "TELEGRAM_CHAT_ID is wrong, or nobody has written to the bot yet: send it any message"
_RIGHTS = "let the bot send messages (and media, for the chart) in this chat, or make it an administrator"
_CHANNEL = "make the bot an administrator of the channel who may post messages"
_BACK = "add the bot to the chat again"

REFUSALS = (
    Refusal(401, "", "TELEGRAM_BOT_TOKEN is wrong or was revoked; ask @BotFather for the token"),
    Refusal(404, "", "TELEGRAM_BOT_TOKEN is not a bot token; ask @BotFather for it"),
    Refusal(409, "", "another program asks for this bot's messages, or it has a webhook: make a bot of vpsmon's own"),
    Refusal(400, "message thread not found", _TOPIC, is_of_topic=True),
    Refusal(400, "topic_closed", "open the topic again; meanwhile alerts go to the group", is_of_topic=True),
    Refusal(400, "topic_deleted", _TOPIC, is_of_topic=True),
    Refusal(400, "topic_id_invalid", _TOPIC, is_of_topic=True),
    Refusal(400, "chat not found", _CHAT),
    Refusal(400, "peer_id_invalid", _CHAT),
    Refusal(400, "chat_id is empty", "set TELEGRAM_CHAT_ID"),
    Refusal(400, "need administrator rights in the channel", _CHANNEL),
    Refusal(400, "not enough rights", _RIGHTS),
    Refusal(400, "have no rights to send", _RIGHTS),
    Refusal(400, "chat_write_forbidden", _RIGHTS),
    Refusal(400, "chat_send_", _RIGHTS),
    Refusal(400, "chat_admin_required", _CHANNEL),
    Refusal(400, "chat_restricted", "Telegram has restricted this chat: set TELEGRAM_CHAT_ID to another one"),
    Refusal(403, "bot was blocked by the user", "unblock the bot in Telegram"),
    Refusal(403, "user is deactivated", "this account is gone: set TELEGRAM_CHAT_ID to another chat"),
    Refusal(403, "bot was kicked", _BACK),
    Refusal(403, "bot is not a member of the channel", _CHANNEL),
    Refusal(403, "bot is not a member", _BACK),
    Refusal(403, "group chat was deleted", "the group is gone: set TELEGRAM_CHAT_ID to another chat"),
    Refusal(403, "can't initiate conversation", "open the bot in Telegram and press Start"),
    Refusal(403, "can't send messages to bots", "TELEGRAM_CHAT_ID is the id of a bot: set it to your own chat's"),
    Refusal(403, "", "the bot may not write to this chat; start the bot there, or add it again"),
    Refusal(400, "", "please report this: vpsmon does not know this refusal"),
)


def find_refusal(status: int, description: str) -> Refusal | None:
    """Return what a refusal means; None for a status that is no final refusal."""
    text = description.lower()
    return next((each for each in REFUSALS if each.status == status and each.phrase in text), None)
