"""A bot token in a text that vpsmon did not write goes no further, neither to the log nor to a refusal."""

from __future__ import annotations

import json
from typing import cast

import pytest

from vpsmon.alerts import telegram
from vpsmon.config.settings import DEFAULTS
from vpsmon.core.secrets import redact
from vpsmon.jobs.recover_text import format_json
from vpsmon.net.http_reply import HttpReply
from vpsmon.recovery.engine.journal import Entry
from vpsmon.recovery.engine.real_machine import RealMachine
from vpsmon.recovery.events import format_event
from vpsmon.recovery.messages import put_into_words
from vpsmon.recovery.model import Decision, Incident
from vpsmon.recovery.rules import restart_loop
from vpsmon.recovery.run import Result
from vpsmon.system.log import say

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
        telegram._check_reply(HttpReply(403, body), telegram.Destination("http://x", TOKEN, "1", ""))
    assert TOKEN not in str(caught.value)
    assert "<token>" in str(caught.value)


@pytest.mark.parametrize("token", [TOKEN, "123:abc"])
def test_a_server_that_repeats_the_token_before_the_text_is_cut_shows_none_of_it(token: str) -> None:
    description = f"{'x' * (199 - len(token) // 2)}{token}"
    body = json.dumps({"ok": False, "error_code": 401, "description": description}).encode()
    with pytest.raises(telegram.Refused) as caught:
        telegram._check_reply(HttpReply(401, body), telegram.Destination("http://x", token, "1", ""))
    assert token[:3] not in str(caught.value)


def test_the_last_lines_of_a_container_hold_no_token_anywhere() -> None:
    class Machine:
        def read_last_log_lines(self, container_id: str, count: int) -> list[str]:
            return [f"{'x' * 175}{TOKEN}", f"GET https://api.telegram.org/bot{TOKEN}/getMe"]

    facts = {"message": f"bot{TOKEN}", "advice": f"bot{TOKEN}", "program": ""}
    incident = Incident(target="a", name="a", cause="loop", steps=(), facts=facts)
    prepared = restart_loop.prepare(incident, cast("RealMachine", Machine()), DEFAULTS)
    assert TOKEN[:12] not in str(prepared.facts["last_lines"])
    decision = Decision(rule="restart_loop", target="a", name="a", cause="loop", verdict="person", incident=prepared)
    entry = Entry(decision, put_into_words(decision, restart_loop.describe))
    assert TOKEN not in json.dumps(format_json(Result([entry], []), is_dry=True))
    assert TOKEN not in format_event(decision, entry.wording, 0.0)
