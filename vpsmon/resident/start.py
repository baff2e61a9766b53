"""The first lines of the resident monitor: `python -I -S start.py DESCRIPTOR`, started by reexec.py.

Without `site`, and without the modules that read the command line and monitor.conf, Python itself is half as large.
What they found out is read from the descriptor, the search path for modules first of all.
"""

import marshal
import sys


def main() -> None:
    """Become the watcher."""
    with open(int(sys.argv[1]), "rb") as file:
        search_path, prefix, packed_orders = marshal.load(file)  # noqa: S302 written by our own process just before
    sys.path[:] = search_path
    sys.prefix = sys.exec_prefix = prefix
    from vpsmon.resident.reexec import Orders
    from vpsmon.resident.watcher import Watcher

    sys.exit(Watcher(Orders(packed_orders)).run())


if __name__ == "__main__":
    main()
