"""`vpsmon report`: the daily report, printed, sent, and always kept."""

from __future__ import annotations

import sys

import click

from vpsmon.jobs.start import EXIT_FAILED, load_or_explain


@click.command(short_help="Report on the last 24 hours.")
@click.argument("where", type=click.Choice(["print", "telegram", "email", "both"]), default="print", metavar="[WHERE]")
@click.option("--chart", "with_chart", is_flag=True, help="Add a picture of the last 24 hours.")
@click.pass_obj
def report(config_file: str | None, where: str, with_chart: bool) -> None:
    """Report on the last 24 hours: print it (the default), or send it by telegram, email, or both.

    It is always also kept in .alerts/reports/. With both, a way that is not set up is left out.

    Exit status: 0 done; 1 it could not be kept or sent, or the configuration is invalid; 2 wrong usage.
    """
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    from vpsmon.jobs.report import run

    sys.exit(run(config, where, with_chart))
