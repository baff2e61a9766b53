"""Whether a file that nobody has named may decide for this user: only where nobody else could have written it."""

from __future__ import annotations

import os
import stat

# The user of the services, and its group.
USER = "vpsmon"


def explain_distrust(path: str) -> str | None:
    """Return why a file cannot be trusted by this user; None where only they, or root, can change it or put it there.

    A link has to be trusted as well as what it leads to, and so has the folder of each. Raises nothing: what cannot be
    looked at is left to whoever opens it.
    """
    for each in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        try:
            reason = _judge(each, os.lstat(each)) or _judge(os.path.dirname(each), os.stat(os.path.dirname(each)))
        except OSError:
            return None
        if reason:
            return reason
    return None


def is_closed(facts: os.stat_result) -> bool:
    """Return whether a file can be read by its owner alone, or is root's and the services may read it as well."""
    mode = facts.st_mode & 0o077
    if mode != 0o040 or facts.st_uid != 0:
        return mode == 0
    import grp

    try:
        return grp.getgrgid(facts.st_gid).gr_name == USER
    except KeyError:
        return False


def _judge(path: str, facts: os.stat_result) -> str | None:
    if facts.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to user id {facts.st_uid}"
    # The mode of a link says nothing: whoever can write to its folder can replace it.
    if stat.S_ISLNK(facts.st_mode):
        return None
    if facts.st_mode & 0o002 or (facts.st_mode & 0o020 and not _is_private_group(facts.st_gid)):
        return f"others can write {path} (mode {stat.S_IMODE(facts.st_mode):04o})"
    return None


def _is_private_group(group_id: int) -> bool:
    """Return whether a group holds this user alone, as Debian makes one for each: there `umask 002` is harmless."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(group_id)
    except KeyError:
        return False
    return user.pw_gid == group_id and set(group.gr_mem) <= {user.pw_name}
