"""Root, working by hand, becomes the user to whom the state belongs, as the services are, before it touches the state.

Whoever owns a folder decides what the names in it lead to: root must not follow them.
"""

from __future__ import annotations

import os
import struct

# What the services have: the kernel log, and signals to the processes of containers (units/).
_CAP_KILL, _CAP_SYSLOG = 5, 34
# linux/prctl.h and linux/capability.h.
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2
_CAPABILITY_VERSION = 0x20080522


def become_owner(path: str) -> None:
    """Become the owner of a state directory, for good; nothing happens unless root runs this. Raises OSError.

    Where it is root's, or missing in a folder of root's, root goes on as root.
    """
    if os.geteuid() != 0:
        return
    above = os.stat(os.path.dirname(os.path.abspath(path)))
    # A guest may have put the name into a folder open to all: then the state directory is refused as a whole.
    owner = above if above.st_mode & 0o002 else _find_owner(path, above)
    if owner.st_uid != 0:
        _become(owner.st_uid, owner.st_gid)


def _find_owner(path: str, above: os.stat_result) -> os.stat_result:
    """Return the facts of whoever has a say in what the path leads to: of a link, of its target, or of the folder."""
    try:
        link = os.lstat(path)
        return link if link.st_uid else os.stat(path)
    except FileNotFoundError:
        return above


def _become(user_id: int, group_id: int) -> None:
    import ctypes
    import pwd

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    try:
        user = pwd.getpwuid(user_id)
        os.initgroups(user.pw_name, user.pw_gid)
        os.environ["HOME"] = user.pw_dir
    except KeyError:
        os.setgroups([])
    os.setresgid(group_id, group_id, group_id)
    os.setresuid(user_id, user_id, user_id)
    _keep_capabilities(libc, _list_permitted() & (1 << _CAP_KILL | 1 << _CAP_SYSLOG))


def _keep_capabilities(libc: object, mask: int) -> None:
    """Keep these and no others, for the programs that are started too; what is refused, the work goes on without.

    capset(2): two words of 32 bits each for effective, permitted and inheritable.
    """
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    libc.capset(header, struct.pack("=6I", low, low, low, high, high, high))  # type: ignore[attr-defined]
    for number in (_CAP_KILL, _CAP_SYSLOG):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)  # type: ignore[attr-defined]


def _list_permitted() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
