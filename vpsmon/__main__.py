"""The entry point: `vpsmon` and `python -m vpsmon`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line; where the machine has nothing left to run it with, say so in one line."""
    try:
        _run()
    except (OSError, MemoryError, ImportError, SystemError) as error:
        # Every module may be the one that did not fit any more, so nothing is imported for this line.
        reason = str(error) or type(error).__name__
        sys.exit(f"vpsmon: error: the machine is short of something: {reason}: see free, df and ulimit -a")


def _run() -> None:
    """Run the command line.

    A plain `monitor --once`, a plain `export` and each scrape go past click, whose import alone costs 25 ms, twice as
    much as starting Python; anything else, every mistake included, is left to click.
    """
    words = sys.argv[1:]
    if words[:2] == ["export", "--serve"] and len(words) == 3:
        from vpsmon.prometheus.scrape import serve

        serve(words[2])
        return
    if words == ["export"]:
        from vpsmon.jobs.export import run_export
        from vpsmon.passes.stack_stage import leave

        leave(run_export(None))
    if words[:2] == ["monitor", "--once"] and set(words[2:]) <= {"--json", "--no-alerts"}:
        # It ends before there is much to collect; looking for it while modules are loaded takes 1 ms of 40.
        gc.disable()
        from vpsmon.jobs.once import run_once
        from vpsmon.passes.stack_stage import leave

        try:
            leave(run_once(None, "--json" in words, "--no-alerts" not in words, None))
        except KeyboardInterrupt:
            sys.exit(130)
    from vpsmon.cli import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
