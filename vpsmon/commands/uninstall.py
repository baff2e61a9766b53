"""`vpsmon uninstall`: removes everything `vpsmon install` created."""

from __future__ import annotations

import sys

import click

from vpsmon.commands.install import explained
from vpsmon.config.load import ConfigError
from vpsmon.core.text import clean
from vpsmon.installation.layout import InstallError, Places, find_places, follow_config
from vpsmon.state.directory import StateDirectory
from vpsmon.state.recovery_file import RECOVERY_FILE
from vpsmon.system.host import Host

_RESTORE_SECONDS = 600.0


@click.command(short_help="Remove everything install created.")
@click.option("--purge", is_flag=True, help="Also remove the program, its configuration and its state.")
@click.option("--yes", is_flag=True, help="With --purge: do not ask.")
@click.pass_obj
def uninstall(config_file: str | None, purge: bool, yes: bool) -> None:
    """Stop and remove the units, the completions and the man page; with --purge everything.

    Exit status: 0 done, also when there was nothing to do; 1 something stands in the way; 2 wrong usage.
    """
    if yes and not purge:
        raise click.UsageError("--yes is for --purge")
    from vpsmon.installation.lock import locked_units
    from vpsmon.installation.uninstall import list_left, list_own_paths, remove_from_system, require_root
    from vpsmon.installation.uninstall import purge as remove_everything

    with explained():
        host = Host()
        places = _find_state(find_places(config_file))
        if purge and not yes:
            _require_consent(list_own_paths(places))
        require_root(places)
        _undo_recovery(host, places)
        with locked_units():
            remove_from_system(host, places, click.echo)
            if purge:
                remove_everything(host, places, click.echo)
        left = list_left(places)
        click.echo("\n".join(["left:", *(f"  {each}" for each in left)]) if left else "nothing is left")


def _undo_recovery(host: Host, places: Places) -> None:
    """Have everything undone that recovery has stopped, paused or changed. Raises InstallError with what is left."""
    if not _list_changes(places):
        return
    click.echo("undoing what recovery has changed")
    command = [sys.executable, "-m", "vpsmon", "--config", places.config, "recover", "restore"]
    done = host.run_command(command, _RESTORE_SECONDS)
    left = _list_changes(places)
    if left:
        raise InstallError(
            f"nothing was removed, because recovery could not undo all: {'; '.join(left)}; {clean(done.errors, 300)}: "
            f"undo it by hand and delete {places.state}/{RECOVERY_FILE}, or see to the cause, and uninstall again"
        )


def _list_changes(places: Places) -> list[str]:
    from vpsmon.recovery.changes import list_emergencies

    content = StateDirectory(places.state).peek(RECOVERY_FILE)
    return [each.text for each in list_emergencies(content or {})]


def _find_state(places: Places) -> Places:
    """Return the places with the state directory of monitor.conf; a faulty one must not keep anybody from leaving."""
    try:
        return follow_config(places, {})
    except ConfigError:
        return places


def _require_consent(paths: list[str]) -> None:
    click.echo("\n".join(["to be removed, for good:", *(f"  {path}" for path in paths)]))
    if not sys.stdin.isatty():
        raise InstallError("nothing was removed: say --yes, where nobody can be asked")
    if not click.confirm("Remove all of it?", default=False):
        raise InstallError("nothing was removed")
