"""`vpsmon export`: metrics for Prometheus."""

from __future__ import annotations

import sys

import click

from vpsmon.foreground import EXIT_FAILED, load_or_explain


@click.command()
@click.option(
    "--only", type=click.Choice(["waha", "n8n", "leads"]), help="Read this alone; the file then holds no more."
)
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the metrics instead of writing the file.")
@click.pass_obj
def export(config_file: str | None, only: str | None, to_stdout: bool) -> None:
    """Write metrics for Prometheus to metrics/metrics.prom in the state directory.

    Exit status: 0 done, whatever was found; 1 it could not do its job; 2 wrong usage.
    """
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    from vpsmon.export import export as run
    from vpsmon.export import make_context
    from vpsmon.log import say
    from vpsmon.output import print_text
    from vpsmon.rest_of_pass import leave
    from vpsmon.state import StateError

    context = make_context(config)
    try:
        text, look = run(context, only, publishes=not to_stdout)
    except StateError as error:
        say("error", str(error))
        leave(EXIT_FAILED)
    if to_stdout:
        print_text(text.rstrip("\n"))
    for notice in context.state.notices:
        say("warning", notice)
    if look.state_error:
        say("error", look.state_error)
    for finding in look.findings if only else ():
        if finding.status in ("unknown", "skipped"):
            say("warning", f"{finding.check}: {finding.reason or finding.message}")
    is_failed = look.state_error or all(finding.status == "unknown" for finding in look.findings)
    leave(EXIT_FAILED if is_failed else 0)
