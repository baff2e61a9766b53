"""`vpsmon recover`: repair what is wrong, verify it, and undo what was only for the emergency."""

from __future__ import annotations

import json
import sys

import click

from vpsmon.jobs.start import EXIT_FAILED, load_or_explain

_ALL, _RESTORE = "run-all", "restore"


def _list_words() -> list[str]:
    """Return the words of the rules, in the order of the rules; each rule has its own."""
    from vpsmon.recovery.rules import load_rules

    return list(dict.fromkeys(word for rule in load_rules() for word in rule.commands))


class _What(click.Choice):  # type: ignore[type-arg]  # click 8.1 takes no argument
    """run-all, restore, or a word of a rule, which is asked for when it is needed: to import the rules takes 0.1 s."""

    def __init__(self) -> None:
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """The words of the command line."""
        return (_ALL, *_list_words(), _RESTORE)

    @choices.setter
    def choices(self, words: tuple[str, ...]) -> None:
        """Leave it at those of the rules."""


class _Recover(click.Command):
    """Has the words of the rules in its help, once that is asked for."""

    @property
    def help(self) -> str | None:
        return self._help and self._help.replace("WORDS", ", ".join(_list_words()))

    @help.setter
    def help(self, text: str | None) -> None:
        self._help = text


@click.command(cls=_Recover, short_help="Repair what is wrong, verify it, undo what is over.")
@click.argument("what", type=_What(), default=_ALL, metavar="[WHAT]")
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def recover(config_file: str | None, what: str, dry_run: bool, as_json: bool) -> None:
    """Repair what is wrong with the stack: run-all (the default), or one of WORDS.

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

    rules = [rule for rule in load_rules() if what in (_ALL, _RESTORE, *rule.commands)]
    try:
        result = run(config, rules, dry_run, what == _RESTORE)
        if not dry_run:
            result = send_alerts(config, result)
    except StateError as error:
        say("error", str(error))
        sys.exit(EXIT_FAILED)
    for reason in result.unread:
        say("warning", reason)
    print_text(json.dumps(format_json(result, dry_run)) if as_json else format_text(result, dry_run))
    sys.exit(0 if result.is_complete else EXIT_FAILED)
