"""Completion for bash, zsh and fish: the scripts of click, which ask vpsmon itself."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vpsmon.installation.files import MARK, OwnFile
from vpsmon.installation.layout import COMPLETIONS


def make_completions(main: click.Group) -> list[OwnFile]:
    """Return a script for each shell."""
    return [OwnFile(path, _make_script(main, shell)) for shell, path in COMPLETIONS.items()]


def _make_script(main: click.Group, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 click has these three
    shell_completion = kind(main, {}, "vpsmon", "_VPSMON_COMPLETE")
    # Not source(), which looks for the bash of this machine and complains about an old one on standard error.
    script = (kind.source_template % shell_completion.source_vars()).strip("\n")
    # Below the first line, which in zsh has to say which command this is for.
    first, _, rest = script.partition("\n")
    return f"{first}\n# {MARK}.\n{rest}\n"
