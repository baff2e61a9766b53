"""`vpsmon status`: one screen for a person, or the same as an object for programs."""

from __future__ import annotations

import sys

import click

from vpsmon.jobs.start import EXIT_FAILED, load_or_explain

EXIT_NOT_RUNNING = 3


@click.command(short_help="Show what is going on and what was found.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(config_file: str | None, as_json: bool) -> None:
    """Show the units, the last pass and its worst, open incidents, what waits to be sent, and the services found.

    Exit status: 0 everything runs; 1 the configuration is invalid or the state cannot be read; 3 something is down.
    """
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    from vpsmon.jobs.status import look
    from vpsmon.jobs.status_json import format_status
    from vpsmon.jobs.status_text import format_screen
    from vpsmon.state.directory import StateError
    from vpsmon.state.shm_fallback import SparedState
    from vpsmon.system.host import Host
    from vpsmon.system.log import say
    from vpsmon.system.terminal import print_text

    state = SparedState(config.state_directory)
    try:
        overview = look(Host(), config, state)
    except StateError as error:
        say("error", str(error))
        sys.exit(EXIT_FAILED)
    print_text(format_status(overview) if as_json else format_screen(overview))
    for notice in state.notices:
        say("warning", notice)
    sys.exit(0 if overview.is_running else EXIT_NOT_RUNNING)
