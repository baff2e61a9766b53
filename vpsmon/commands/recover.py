"""`vpsmon recover`: repair what is wrong, verify it, and undo what was only for the emergency."""

from __future__ import annotations

import json
import sys

import click

from vpsmon.jobs.start import EXIT_FAILED, load_or_explain

_WHAT = ["run-all", "waha", "queue", "swap", "loops", "unhealthy", "restore"]


@click.command(short_help="Repair what is wrong, verify it, undo what is over.")
@click.argument("what", type=click.Choice(_WHAT), default="run-all", metavar="[WHAT]")
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def recover(config_file: str | None, what: str, dry_run: bool, as_json: bool) -> None:
    """Repair what is wrong with the stack: run-all (the default), or one of waha, queue, swap, loops, unhealthy.

    restore undoes at once what recovery stopped, paused or changed for a while.

    Exit status: 0 done, also when there was nothing to do; 1 it could not do its job; 2 wrong usage.
    """
    config = load_or_explain(config_file)
    if config is None:
        sys.exit(EXIT_FAILED)
    from vpsmon.jobs.recover_text import format_json, format_text
    from vpsmon.recovery.rules import load_rules
    from vpsmon.recovery.run import recover as run
    from vpsmon.recovery.run import send_alerts
    from vpsmon.state.directory import StateError
    from vpsmon.system.log import say
    from vpsmon.system.terminal import print_text

    rules = [rule for rule in load_rules() if what in ("run-all", "restore", *rule.COMMANDS)]
    try:
        result = run(config, rules, dry_run, what == "restore")
        if not dry_run:
            result = send_alerts(config, result)
    except StateError as error:
        say("error", str(error))
        sys.exit(EXIT_FAILED)
    for reason in result.unread:
        say("warning", reason)
    print_text(json.dumps(format_json(result, dry_run)) if as_json else format_text(result, dry_run))
    sys.exit(0 if result.is_complete else EXIT_FAILED)
