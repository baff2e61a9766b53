"""The man page, made from the help of the commands (man(7), groff_man_style(7))."""

from __future__ import annotations

import inspect

import click

from vpsmon import __version__
from vpsmon.installation.files import MARK, OwnFile
from vpsmon.installation.layout import MANUAL, Places

_SUMMARY = "watch a small Docker server, report what is wrong, repair what can be repaired"


def make_manual(main: click.Group, places: Places) -> OwnFile:
    """Return the man page of this installation."""
    parts = [
        f'.\\" {MARK}.',
        f'.TH VPSMON 1 "" "vpsmon {__version__}" "User Commands"',
        ".SH NAME",
        f"vpsmon \\- {_SUMMARY}",
        ".SH SYNOPSIS",
        ".B vpsmon",
        "[OPTIONS] COMMAND [ARGUMENTS]",
        ".SH DESCRIPTION",
        *_paragraphs(main.help or ""),
        ".SH OPTIONS",
        *_options(main, click.Context(main, info_name="vpsmon")),
        ".SH COMMANDS",
        *_commands(main),
        ".SH ENVIRONMENT",
        *_entry("VPSMON_CONFIG", "the monitor.conf to use, where --config names none"),
        *_entry("DOCKER_HOST", "where the container engine listens, where it is not at one of the usual sockets"),
        *_entry("NO_COLOR", "if set, nothing is coloured"),
        "Each key of monitor.conf can also be set as a variable of the same name, which wins over the file.",
        ".SH FILES",
        *_entry(places.config, "the configuration: every key, its default and what it means"),
        *_entry(places.state, "the state: alerts, outbox, history, reports, metrics, recovery.log"),
        *_entry("/etc/systemd/system/vps-*, vpsmon.slice", "the units; to change one: systemctl edit NAME"),
        ".SH SEE ALSO",
        ".BR systemctl (1),",
        ".BR journalctl (1),",
        ".BR docker (1)",
    ]
    return OwnFile(MANUAL, "\n".join(parts) + "\n")


def _commands(main: click.Group) -> list[str]:
    context = click.Context(main, info_name="vpsmon")
    lines = []
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None  # noqa: S101 it was just listed
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(["vpsmon", name, *command.collect_usage_pieces(inner)])
        lines += [f".SS {_escape(usage)}", *_paragraphs(command.help or ""), *_options(command, inner)]
    return lines


def _paragraphs(help_text: str) -> list[str]:
    paragraphs = inspect.cleandoc(help_text).split("\n\n")
    return [line for each in paragraphs for line in (".PP", _escape(" ".join(each.split())))]


def _options(command: click.Command, context: click.Context) -> list[str]:
    records = [parameter.get_help_record(context) for parameter in command.params]
    return [line for record in records if record and record[1] for line in _entry(*record)]


def _entry(term: str, text: str) -> list[str]:
    return [".TP", f".B {_escape(term)}", _escape(text), ".PP"]


def _escape(text: str) -> str:
    """Return what troff takes for nothing but text: `-` is a minus that can be copied, `.` and `'` are no requests."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
