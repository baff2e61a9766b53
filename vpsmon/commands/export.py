"""`vpsmon export`: metrics for Prometheus."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--only", type=click.Choice(["waha", "n8n", "leads"]), help="Read this alone; the file then holds no more."
)
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the metrics instead of writing the file.")
@click.option(
    "--serve", metavar="FILE", help="Answer the HTTP request on standard input with FILE, for a systemd socket."
)
@click.pass_obj
def export(config_file: str | None, only: str | None, to_stdout: bool, serve: str | None) -> None:
    """Write metrics for Prometheus to metrics/metrics.prom in the state directory.

    Exit status: 0 done, whatever was found; 1 it could not do its job; 2 wrong usage.
    """
    if serve is not None:
        from vpsmon.scrape import serve as serve_file

        serve_file(serve)
        return
    from vpsmon.export import run_export
    from vpsmon.rest_of_pass import leave

    leave(run_export(config_file, only, to_stdout))
