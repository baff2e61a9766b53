"""Where the control group hierarchies are mounted: /proc/self/mountinfo (proc_pid_mountinfo(5), cgroups(7))."""

from __future__ import annotations

from typing import NamedTuple


class Mount(NamedTuple):
    """A mounted hierarchy: the folder, the part of the hierarchy that it shows, and its v1 controllers (none: v2)."""

    folder: str
    root: str
    controllers: tuple[str, ...]


def parse_mounts(text: str) -> list[Mount]:
    """Return the control group hierarchies of a mountinfo file."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = tuple(kind[2].split(",")) if kind[0] == "cgroup" else ()
        mounts.append(Mount(_unescape(fields[4]), _unescape(fields[3]), controllers))
    return mounts


def _unescape(path: str) -> str:
    r"""Return a path of mountinfo as it is: space, tab, newline and backslash are written as \040 and so on."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
