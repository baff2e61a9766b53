"""`vpsmon report`: gathers, keeps, and prints or sends; says on one line each how it went."""

from __future__ import annotations

from vpsmon.config import Config
from vpsmon.foreground import EXIT_FAILED
from vpsmon.host import Host
from vpsmon.log import say
from vpsmon.output import print_text, wants_colour
from vpsmon.report.archive import keep
from vpsmon.report.compose import compose
from vpsmon.report.gather import gather
from vpsmon.report.text import format_text
from vpsmon.state import StateDirectory, StateError


def run(config: Config, where: str, with_chart: bool) -> int:
    """Make the report and return the exit status of the command."""
    host, state = Host(), StateDirectory(config.state_directory)
    report = compose(gather(host, config, state))
    plain = format_text(report, with_colour=False)
    if where == "print":
        print_text(format_text(report, wants_colour()))
    is_done = True
    try:
        keep(state, report.wall_seconds, ".txt", f"{plain}\n".encode("utf-8", "replace"))
    except StateError as error:
        say("error", f"the report is not kept: {error}")
        is_done = False
    for notice in state.notices:
        say("warning", notice)
    return 0 if is_done else EXIT_FAILED
