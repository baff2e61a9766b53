"""Setting up Telegram: in a dialogue on a terminal, or from the environment where there is none."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

import click

from vpsmon.alerts.telegram import (
    Chat,
    NotSent,
    fetch_bot_name,
    fetch_latest_chat,
    make_destination,
    send_message,
)
from vpsmon.config.load import load_config
from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.secrets import redact
from vpsmon.installation.settings_file import write_keys
from vpsmon.system.host import Host

_KEYS = ("TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "TELEGRAM_THREAD_ID", "TELEGRAM_API_BASE")
_LONGEST_WAIT_SECONDS = 600
_PAUSE_SECONDS = 1
_LATER = "Telegram is set up later: the README says how, and `vpsmon selftest --send` tries it."


def set_up_telegram(host: Host, config_path: str, environment: Mapping[str, str] = os.environ) -> None:
    """Put the bot and the chat into monitor.conf, unless they are there. Raises ConfigError or OSError.

    What the environment says is written down, because the services do not have this environment.
    """
    from_environment = {key: environment[key] for key in _KEYS if environment.get(key)}
    write_keys(config_path, from_environment)
    if from_environment:
        click.echo(f"{', '.join(from_environment)}: taken from the environment")
    settings = load_config(config_path, {}).settings
    if settings.has_telegram:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo(_LATER)
        return
    try:
        _ask(host, config_path, settings)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"\n{_LATER}")


def _ask(host: Host, config_path: str, settings: Settings) -> None:
    click.echo("\nAlerts go to a Telegram bot of your own. Write /newbot to @BotFather, who gives you its token.")
    settings, bot_name = _ask_token(host, settings)
    if not bot_name:
        click.echo(_LATER)
        return
    write_keys(config_path, {"TELEGRAM_BOT_TOKEN": settings.TELEGRAM_BOT_TOKEN})
    chat = _wait_for_chat(host, settings, bot_name)
    if chat is None:
        click.echo(_LATER)
        return
    settings = settings._replace(TELEGRAM_CHAT_ID=chat.chat_id)
    write_keys(config_path, {"TELEGRAM_CHAT_ID": chat.chat_id})
    _send_first_message(host, settings)


def _ask_token(host: Host, settings: Settings) -> tuple[Settings, str]:
    """Return the settings with a token that Telegram knows, and the bot's name; no name where it is left for later."""
    token = settings.TELEGRAM_BOT_TOKEN
    while True:
        question = "Its token (not shown; Enter: later)"
        token = token or click.prompt(question, default="", show_default=False, hide_input=True)
        if not token.strip():
            return settings, ""
        settings = settings._replace(TELEGRAM_BOT_TOKEN=token.strip())
        try:
            return settings, fetch_bot_name(make_destination(settings))
        except ReadError as error:
            click.echo(str(error))
            token = ""


def _wait_for_chat(host: Host, settings: Settings, bot_name: str) -> Chat | None:
    """Return the chat that the owner says is theirs, or None where none came in time."""
    click.echo(f"Now send any message to @{bot_name} in Telegram, or add it to a group and write /start there.")
    click.echo("Waiting for it … (Ctrl-C: later)")
    deadline = host.monotonic_seconds() + _LONGEST_WAIT_SECONDS
    refused = set()
    while host.monotonic_seconds() < deadline:
        try:
            chat = fetch_latest_chat(make_destination(settings))
        except ReadError as error:
            click.echo(str(error))
            return None
        if chat and chat.chat_id not in refused:
            click.echo(f"A message came from {chat.name} (chat {chat.chat_id}).")
            if click.confirm("Shall alerts go there?", default=True):
                return chat
            refused.add(chat.chat_id)
            click.echo("Waiting for another one …")
        time.sleep(_PAUSE_SECONDS)
    return None


def _send_first_message(host: Host, settings: Settings) -> None:
    text = f"{host.name} · vpsmon is installed. It writes when something is wrong, and only then."
    try:
        send_message(make_destination(settings), text, as_html=False)
        click.echo("A first message is in the chat.")
    except NotSent as error:
        click.echo(redact(f"The first message did not arrive: {error}"))
