"""`vpsmon selftest`: tests every connection and permission that vpsmon uses, and says how to fix what is missing."""

from __future__ import annotations

import sys

import click

from vpsmon.config.settings import Config
from vpsmon.core.findings import ReadError
from vpsmon.core.text import format_local
from vpsmon.jobs.probes import ALL, run_probe, say_once
from vpsmon.jobs.start import EXIT_FAILED, load_or_explain
from vpsmon.jobs.tables import format_results
from vpsmon.system.host import Host
from vpsmon.system.terminal import print_text, wants_colour


@click.command(short_help="Test every connection and permission.")
@click.option("--send", is_flag=True, help="Also send a message to the Telegram chat.")
@click.pass_obj
def selftest(config_file: str | None, send: bool) -> None:
    """Test every connection and permission that vpsmon uses: OK, SKIP (why not) or FAIL (how to fix it).

    Exit status: 0 nothing failed; 1 something did, or the configuration is invalid; 2 wrong usage.
    """
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    host = Host()
    results = [run_probe(name, probe, host, config) for name, probe in ALL.items()]
    if send:
        results.append(run_probe("Telegram message", _send_message, host, config))
    print_text(format_results(say_once(results), wants_colour()))
    sys.exit(EXIT_FAILED if any(result.verdict == "FAIL" for result in results) else 0)


def _send_message(host: Host, config: Config) -> str:
    from vpsmon.alerts.telegram import NotSent, make_destination, send_message

    text = f"{host.name} · {format_local(host.wall_seconds())}\nvpsmon's self-test: messages arrive."
    try:
        send_message(make_destination(config.settings), text, as_html=False)
    except NotSent as error:
        raise ReadError(str(error)) from None
    return "sent; see the chat"
