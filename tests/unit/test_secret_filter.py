"""A bot token in a text that vpsmon did not write goes no further, neither to the log nor to a refusal."""

from __future__ import annotations

import json

import pytest

from vpsmon.alerts import telegram
from vpsmon.host import HttpReply
from vpsmon.log import say
from vpsmon.text import redact

TOKEN = "123456789:" + "aB3_-" * 7


@pytest.mark.parametrize("text", ["{}", "https://api.telegram.org/bot{}/sendMessage", "A={};", "{0} and {0}"])
def test_a_token_is_taken_out_wherever_it_stands(text: str) -> None:
    assert redact(text.format(TOKEN)) == text.format("<token>")


@pytest.mark.parametrize("text", ["12:30:45", "172.18.0.4:5432", "sha256:" + "a" * 64, "postgres:16-alpine"])
def test_what_only_looks_a_little_like_one_stays(text: str) -> None:
    assert redact(text) == text


def test_the_log_holds_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    say("error", f"cannot reach bot{TOKEN}")
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err
    assert "bot<token>" in printed.err


def test_a_refusal_of_telegram_holds_no_token() -> None:
    body = json.dumps({"ok": False, "error_code": 403, "description": f"Forbidden: {TOKEN}"}).encode()
    with pytest.raises(telegram.Refused) as caught:
        telegram._check_reply(HttpReply(403, body))
    assert TOKEN not in str(caught.value)
    assert "<token>" in str(caught.value)
