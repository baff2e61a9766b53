"""The command line. A file in commands/ is a command; it is imported when that command is called."""

from __future__ import annotations

import importlib
import os

import click

from vpsmon import __version__


class LazyGroup(click.Group):
    """A group whose commands cost nothing until they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        files = os.listdir(os.path.join(os.path.dirname(__file__), "commands"))
        return sorted(file[:-3] for file in files if file.endswith(".py") and not file.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None where there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"vpsmon.commands.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 what a file in commands/ holds under its own name
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", help="The monitor.conf to use. [default: ./monitor.conf, else the installed]")
@click.version_option(__version__, message="vpsmon %(version)s")
@click.pass_context
def main(context: click.Context, config: str | None) -> None:
    """Watch a small Docker server, say what is wrong, and repair what can safely be repaired."""
    context.obj = config
