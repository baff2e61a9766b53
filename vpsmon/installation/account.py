"""The system user as which the services run."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd

from vpsmon.config.trust import USER
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.installation.layout import InstallError
from vpsmon.stack.docker.endpoint import find_endpoint
from vpsmon.system.host import Host

_TIMEOUT_SECONDS = 30.0
# Debian and most others give people numbers from here on (SYS_UID_MAX of login.defs(5)).
_FIRST_PERSON = 1000
_JOURNAL_GROUP = "systemd-journal"


def find_user() -> pwd.struct_passwd | None:
    """Return the user of the services, or None where there is none yet. Raises InstallError where it is a person."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return None
    if user.pw_uid >= _FIRST_PERSON or user.pw_uid == 0:
        raise InstallError(f"the user {USER} (id {user.pw_uid}) is no system user: rename it, then install again")
    return user


def make_user(host: Host, home: str) -> pwd.struct_passwd:
    """Return the user of the services, made where it is missing. Raises InstallError or ReadError."""
    user = find_user()
    if user is None:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", "/usr/sbin/nologin"]
        host.run(["useradd", *options, "--comment", "vpsmon", USER], _TIMEOUT_SECONDS)
        user = pwd.getpwnam(USER)
    return user


def find_docker_group() -> str | None:
    """Return the group that may use the Docker socket; None where only root may, or Docker is not here."""
    with contextlib.suppress(NotApplicable, ReadError, OSError, KeyError):
        path = find_endpoint().socket_path
        if path:
            return _usable(grp.getgrgid(os.stat(path).st_gid))
    with contextlib.suppress(KeyError):
        return _usable(grp.getgrnam("docker"))
    return None


def _usable(group: grp.struct_group) -> str | None:
    return group.gr_name if group.gr_gid else None


def may_use_docker() -> bool:
    """Return whether the user of the services is in the group of the Docker socket."""
    group = find_docker_group()
    return group is not None and USER in grp.getgrnam(group).gr_mem


def allow_docker(host: Host) -> str | None:
    """Put the user into the group of the Docker socket; return the group, or None where there is none to be in."""
    group = find_docker_group()
    if group and not may_use_docker():
        host.run(["usermod", "--append", "--groups", group, USER], _TIMEOUT_SECONDS)
    return group


def allow_journal(host: Host) -> None:
    """Let the user read the journal: systemd-oomd says there, and nowhere else, which container it has ended."""
    with contextlib.suppress(KeyError):
        if USER not in grp.getgrnam(_JOURNAL_GROUP).gr_mem:
            host.run(["usermod", "--append", "--groups", _JOURNAL_GROUP, USER], _TIMEOUT_SECONDS)


def remove_user(host: Host) -> bool:
    """Remove the user of the services and its group; return whether there was one. Raises InstallError, ReadError."""
    if find_user() is None:
        return False
    host.run(["userdel", USER], _TIMEOUT_SECONDS)
    return True
