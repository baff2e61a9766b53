"""`vpsmon monitor`: one pass in the foreground, or the resident watcher."""

from __future__ import annotations

import sys
from typing import Any

import click

from vpsmon.core.findings import Severity
from vpsmon.jobs.once import run_once
from vpsmon.jobs.start import EXIT_FAILED, load_or_explain


class _Seconds(click.FloatRange):
    """A number of seconds. Nothing is smaller or larger than nan, so click would let it pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises click.BadParameter."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value!r} is no number", param, ctx)
        return number


@click.command(short_help="Check the machine and send alerts, continuously or once.")
@click.option("--once", is_flag=True, help="Run one pass, print it and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print JSON.")
@click.option("--no-alerts", is_flag=True, help="With --once: send no alert; the next pass does.")
@click.option("--fail-on", type=click.Choice(["warning", "critical"]), help="With --once: exit 3 when this is reached.")
@click.option(
    "--interval",
    type=_Seconds(min=0.1, max=86400),
    metavar="SECONDS",
    help="Seconds between passes. [default: MONITOR_INTERVAL_SEC]",
)
@click.pass_obj
def monitor(
    config_file: str | None,
    once: bool,
    as_json: bool,
    no_alerts: bool,
    fail_on: Severity | None,
    interval: float | None,
) -> None:
    """Check the machine and send alerts: again and again, or once with --once.

    Exit status: 0 done, whatever was found; 1 nothing could be read or remembered, or the configuration is invalid;
    2 wrong usage; 3 the severity of --fail-on was reached.
    """
    if once and interval is not None:
        raise click.UsageError("--interval is for the resident monitor, not for --once")
    if once:
        sys.exit(run_once(config_file, as_json, not no_alerts, fail_on))
    if as_json or no_alerts or fail_on:
        raise click.UsageError("--json, --no-alerts and --fail-on need --once")
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    from vpsmon.passes.problems import SETUP_HINT
    from vpsmon.resident.reexec import become_resident, pack_orders
    from vpsmon.system.log import say

    if not config.settings.has_telegram:
        say("info", SETUP_HINT)
    become_resident(pack_orders(config, config_file, interval))
