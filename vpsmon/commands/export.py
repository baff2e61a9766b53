"""`vpsmon export`: metrics for Prometheus, and what Prometheus, Alertmanager and Grafana need to make use of them."""

from __future__ import annotations

import sys

import click

from vpsmon.jobs.start import EXIT_FAILED, load_or_explain


@click.command(short_help="Write metrics for Prometheus.")
@click.option(
    "--only", type=click.Choice(["waha", "n8n", "leads"]), help="Read this alone; the file then holds no more."
)
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the metrics instead of writing the file.")
@click.option("--rules", "printed", flag_value="rules", help="Print alerting rules for Prometheus.")
@click.option("--alertmanager", "printed", flag_value="alertmanager", help="Print a configuration for Alertmanager.")
@click.option("--dashboard", "printed", flag_value="dashboard", help="Print a dashboard for Grafana.")
@click.option(
    "--serve", metavar="FILE", help="Answer an HTTP request on standard input with FILE: for a systemd socket."
)
@click.pass_obj
def export(config_file: str | None, only: str | None, to_stdout: bool, printed: str | None, serve: str | None) -> None:
    """Write metrics for Prometheus to metrics/metrics.prom in the state directory.

    Exit status: 0 done, whatever was found; 1 it could not do its job; 2 wrong usage.
    """
    if sum([bool(only or to_stdout), printed is not None, serve is not None]) > 1:
        raise click.UsageError("--rules, --alertmanager, --dashboard and --serve each stand alone.")
    if serve is not None:
        from vpsmon.prometheus.scrape import serve as serve_file

        serve_file(serve)
    elif printed is not None:
        sys.exit(_print(config_file, printed))
    else:
        from vpsmon.jobs.export import run_export
        from vpsmon.passes.stack_stage import leave

        leave(run_export(config_file, only, to_stdout))


def _print(config_file: str | None, printed: str) -> int:
    from vpsmon.config.load import ConfigError
    from vpsmon.prometheus.files import read_dashboard, render_alertmanager, render_rules
    from vpsmon.system.log import say
    from vpsmon.system.terminal import print_text

    config = load_or_explain(config_file)
    if config is None:
        return EXIT_FAILED
    try:
        if printed == "rules":
            print_text(render_rules(config))
        elif printed == "alertmanager":
            print_text(render_alertmanager(config))
        else:
            print_text(read_dashboard().rstrip("\n"))
    except ConfigError as error:
        for line in error.lines:
            say("error", line)
        return EXIT_FAILED
    return 0
