"""`vpsmon install`: the systemd units and all that goes with them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import click

from vpsmon.config.load import ConfigError, load_config
from vpsmon.core.findings import ReadError
from vpsmon.installation.files import OwnFile
from vpsmon.installation.layout import InstallError, Places, find_places, follow_config
from vpsmon.jobs.start import EXIT_FAILED
from vpsmon.passes.check_memory import FILE as MEMORIES_FILE
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.system.host import Host
from vpsmon.system.log import say
from vpsmon.system.privileges import become_owner
from vpsmon.system.terminal import print_text

_FIRST_PASS_SECONDS = 15


@click.command(short_help="Install and start the systemd units.")
@click.option("--dry-run", is_flag=True, help="Print what would be written, as a diff; change nothing.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Where metrics can be fetched. [default: METRICS_LISTEN]")
@click.pass_obj
def install(config_file: str | None, dry_run: bool, listen: str | None) -> None:
    """Install and start the systemd units, the completions and the man page; again, after an upgrade.

    On a terminal it asks for the Telegram bot, where none is set up; else it takes TELEGRAM_BOT_TOKEN and
    TELEGRAM_CHAT_ID from the environment.

    Exit status: 0 done; 1 something stands in the way, and is named; 2 wrong usage.
    """
    from vpsmon.installation.lock import locked_units
    from vpsmon.installation.steps import plan_tools, preview, require_machine

    with explained():
        os.umask(0o022)  # what is made here is for the user of the services, and others, to read
        host = Host()
        # Checked as a variable would be, and written down below.
        given = {"METRICS_LISTEN": listen} if listen else {}
        places = follow_config(find_places(config_file), given)
        command_line = click.get_current_context().find_root().command
        assert isinstance(command_line, click.Group)  # noqa: S101 the group that this command was found in
        tools = plan_tools(places, command_line)
        if dry_run:
            print_text(preview(host, places, tools))
            return
        require_machine(places)
        with locked_units():
            _install(host, places, tools, given)
        config = load_config(places.config, os.environ)
        become_owner(config.state_directory)
        state = StateDirectory(config.state_directory)
        _wait_for_first_pass(state)
        from vpsmon.jobs.status import look
        from vpsmon.jobs.status_text import format_screen

        print_text(format_screen(look(host, config, state)))


def _install(host: Host, places: Places, tools: Sequence[OwnFile], given: Mapping[str, str]) -> None:
    """Put everything in its place and start it. Raises InstallError, ReadError, OSError."""
    from vpsmon.installation.settings_file import write_keys
    from vpsmon.installation.steps import (
        list_installed_units,
        plan_units,
        prepare_account,
        require_installable,
        start_units,
        write_files,
    )
    from vpsmon.installation.telegram_setup import set_up_telegram

    units = plan_units(host, places)
    require_installable(host, places, units, tools)
    prepare_account(host, places, click.echo)
    write_keys(places.config, given)
    set_up_telegram(host, places.config)
    known = {unit.path for unit in list_installed_units()}
    write_files(places, [*units, *tools], click.echo)
    start_units(host, units, known, click.echo)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """End the command with one line for whatever went wrong."""
    try:
        yield
        return
    except ConfigError as error:
        lines = error.lines
    except OSError as error:
        lines = [f"{error.filename}: {error.strerror}" if error.filename else str(error)]
    except (InstallError, ReadError, StateError) as error:
        lines = [str(error)]
    for line in lines:
        say("error", line)
    sys.exit(EXIT_FAILED)


def _wait_for_first_pass(state: StateDirectory) -> None:
    """The status that follows should not say that nothing has been looked at yet."""
    deadline = time.monotonic() + _FIRST_PASS_SECONDS
    while time.monotonic() < deadline and not state.load(MEMORIES_FILE).get("last_pass"):
        time.sleep(0.2)
