"""Sends what waits in the outbox: in order, each message taken out when it has arrived.

Delivery is at least once: a process that dies after Telegram took a message and before that was written down sends it
again; the id in the message shows that it is the same one.
"""

from __future__ import annotations

import time
from typing import Any

from vpsmon.alerts.incidents import Notice
from vpsmon.alerts.line import Line, join_lines
from vpsmon.alerts.message import render_alert
from vpsmon.alerts.outbox import FILE, list_entries, take_out
from vpsmon.alerts.telegram import (
    LONGEST_RETRY_SECONDS,
    ChatMoved,
    Destination,
    MarkupRejected,
    NotSent,
    Refused,
    TopicRefused,
    TryLater,
    send_message,
    send_photo,
    send_sign_of_life,
)
from vpsmon.state.directory import StateDirectory
from vpsmon.state.folder import REPORTS, Folder
from vpsmon.system.host import Host
from vpsmon.system.log import say

# A short wait is over before the next pass would start; a longer one is left to a later pass.
_LONGEST_WAIT_SECONDS = 10.0
_MOST_SENT_IN_A_PASS = 20
# With markup, without it, and once more where the chat has moved or the topic is closed.
_MOST_TRIES_OF_A_PART = 4
# The lines of a text, or the name of a picture in the folder of the reports.
Part = list[Line] | str


class Delivery:
    """One attempt to empty the outbox."""

    def __init__(self, host: Host, state: StateDirectory, destination: Destination) -> None:
        self._host = host
        self._state = state
        self._destination = destination
        self._waited_seconds = 0.0

    def deliver(self, waits: bool = True) -> int:
        """Send what can be sent and return how many messages still wait. Raises StateError.

        Where another process sends, wait until it has done so, or raise StateBusy.
        """
        with self._state.delivery_lock(timeout_seconds=_LONGEST_WAIT_SECONDS * 2 if waits else 0.0):
            for _ in range(_MOST_SENT_IN_A_PASS):
                outbox = self._state.load(FILE)
                entries = list_entries(outbox)
                if not entries or not self._is_time(outbox):
                    return len(entries)
                try:
                    self._send(entries[0], outbox)
                except TryLater as error:
                    if not self._wait(error, len(entries)):
                        return len(entries)
                except Refused as error:
                    self._give_up(entries[0], str(error))
                else:
                    self._take_out(entries[0], refusal=None)
        return len(list_entries(self._state.load(FILE)))

    def ask_again(self) -> None:
        """Forget a refusal when Telegram would take messages again, without sending one. Raises StateError."""
        try:
            send_sign_of_life(_current_chat(self._state.load(FILE), self._destination))
        except NotSent:
            return
        with self._state.lock():
            self._state.commit({FILE: {**self._state.load(FILE), "refusal": None}})

    def _is_time(self, outbox: dict[str, Any]) -> bool:
        not_before = outbox.get("not_before_seconds")
        if not isinstance(not_before, (int, float)):
            return True
        # A time further off than any wait comes from a clock that was wrong.
        return not 0 < not_before - self._host.wall_seconds() <= LONGEST_RETRY_SECONDS

    def _send(self, entry: dict[str, Any], outbox: dict[str, Any]) -> None:
        parts = _list_parts(entry)
        for index in range(entry["parts_sent"], len(parts)):
            self._send_part(parts[index], _current_chat(outbox, self._destination))
            if index + 1 < len(parts):
                self._note_part(entry, index + 1)

    def _send_part(self, part: Part, destination: Destination) -> None:
        as_html, topic_refusal = True, ""
        for _ in range(_MOST_TRIES_OF_A_PART):
            try:
                self._try_part(part, destination, as_html)
                self._note_topic("" if destination.thread_id else topic_refusal)
                return
            except MarkupRejected:
                as_html = False
            except ChatMoved as moved:
                self._remember_chat(moved)
                destination = destination._replace(chat_id=moved.chat_id)
            except TopicRefused as refused:
                # The group takes what its topic does not; the next message tries the topic again.
                topic_refusal = str(refused)
                destination = destination._replace(thread_id="")
        raise Refused("Telegram takes the message neither with markup nor without")

    def _try_part(self, part: Part, destination: Destination, as_html: bool) -> None:
        if not isinstance(part, str):
            return send_message(destination, join_lines(part, as_html), as_html)
        picture = Folder(self._state, REPORTS).read(part)
        # One that its owner has deleted meanwhile is not missed.
        return send_photo(destination, part, picture) if picture else None

    def _wait(self, error: TryLater, waiting_count: int) -> bool:
        """Wait as Telegram asks when it is short, else leave it to a later pass; return whether to go on."""
        self._waited_seconds += error.retry_seconds
        if error.retry_seconds and self._waited_seconds <= _LONGEST_WAIT_SECONDS:
            time.sleep(error.retry_seconds)
            return True
        if error.retry_seconds:
            with self._state.lock():
                outbox = self._state.load(FILE)
                not_before = self._host.wall_seconds() + error.retry_seconds
                self._state.commit({FILE: {**outbox, "not_before_seconds": not_before}})
        say("warning", f"{error}; {waiting_count} message(s) wait in the outbox and are tried again by the next pass")
        return False

    def _give_up(self, entry: dict[str, Any], reason: str) -> None:
        """A permanent refusal is said once; the alert stays in alert_history.log."""
        known = self._state.load(FILE).get("refusal")
        if not isinstance(known, dict) or known.get("reason") != reason:
            where = "report is kept in .alerts/reports/" if entry.get("lines") else "alert is kept in alert_history.log"
            say("error", f"{reason}. The {where}")
        self._take_out(entry, refusal={"reason": reason, "wall_seconds": self._host.wall_seconds()})

    def _take_out(self, sent: dict[str, Any], **changes: Any) -> None:
        with self._state.lock():
            outbox = self._state.load(FILE)
            entries = take_out(list_entries(outbox), sent["id"], len(sent["notices"]))
            outbox.pop("not_before_seconds", None)
            self._state.commit({FILE: {**outbox, "entries": entries, **changes}})

    def _note_part(self, sent: dict[str, Any], parts_sent: int) -> None:
        """Note how many parts of a message have gone; what was added to it meanwhile becomes a message of its own."""
        with self._state.lock():
            outbox = self._state.load(FILE)
            others = take_out(list_entries(outbox), sent["id"], len(sent["notices"]))
            entries = [{**sent, "parts_sent": parts_sent}, *others]
            self._state.commit({FILE: {**outbox, "entries": entries}})

    def _note_topic(self, refusal: str) -> None:
        """Say once that the topic takes no messages, and forget it when it does again."""
        known = self._state.load(FILE).get("topic_refusal", "")
        if refusal == known:
            return
        if refusal:
            say("warning", refusal)
        with self._state.lock():
            self._state.commit({FILE: {**self._state.load(FILE), "topic_refusal": refusal}})

    def _remember_chat(self, moved: ChatMoved) -> None:
        say("warning", str(moved))
        with self._state.lock():
            outbox = self._state.load(FILE)
            ids = {"from": self._destination.chat_id, "to": moved.chat_id}
            self._state.commit({FILE: {**outbox, "moved_chat": ids}})


def _list_parts(entry: dict[str, Any]) -> list[Part]:
    """Return the messages that an entry becomes: those of its notices, or a report and its chart."""
    if entry.get("lines"):
        photo = entry.get("photo")
        return [[Line(*line) for line in entry["lines"]], *([str(photo)] if photo else [])]
    notices = [Notice(*notice) for notice in entry["notices"]]
    return list(render_alert(entry["host"], entry["wall_seconds"], entry["id"], notices))


def _current_chat(outbox: dict[str, Any], destination: Destination) -> Destination:
    moved = outbox.get("moved_chat")
    if isinstance(moved, dict) and moved.get("from") == destination.chat_id:
        return destination._replace(chat_id=str(moved.get("to")))
    return destination
