"""The files outside of the installation's own folder: written only where they are ours, known again by a mark."""

from __future__ import annotations

import contextlib
import difflib
import os
from typing import NamedTuple

from vpsmon.installation.layout import InstallError

MARK = "Written by `vpsmon install`"
_MARK_LINES = 3
_FOLDERS_FILE = ".installed-folders"


class OwnFile(NamedTuple):
    """A file that vpsmon writes; `link` is the target where it is a symbolic link."""

    path: str
    text: str = ""
    link: str = ""


def read_text(path: str) -> str | None:
    """Return the text of a file; None where there is no regular file that can be read."""
    if os.path.islink(path):
        return None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def is_ours(file: OwnFile, path: str | None = None) -> bool:
    """Return whether vpsmon wrote what is at its path, or at another one: it says so, or it is the very link."""
    path = path or file.path
    if os.path.islink(path):
        return bool(file.link) and os.readlink(path) == file.link
    return is_marked(path)


def is_marked(path: str) -> bool:
    """Return whether a file says in its first lines that vpsmon wrote it."""
    return any(MARK in line for line in (read_text(path) or "").split("\n")[:_MARK_LINES])


def is_current(file: OwnFile) -> bool:
    """Return whether the file is there as it should be."""
    if file.link:
        return os.path.islink(file.path) and os.readlink(file.path) == file.link
    return read_text(file.path) == file.text


def require_ours(file: OwnFile) -> None:
    """Raise InstallError where somebody else's file is in the place of one of ours."""
    if os.path.lexists(file.path) and not is_ours(file):
        kind = f"a link to {os.readlink(file.path)}" if os.path.islink(file.path) else "there"
        raise InstallError(f"{file.path} is {kind} already and not vpsmon's: move it away, then install again")


def describe_change(file: OwnFile) -> str:
    """Return what writing the file would change, as a diff; nothing where nothing would."""
    if is_current(file):
        return ""
    if file.link:
        return f"link {file.path} -> {file.link}\n"
    before = read_text(file.path)
    old, name = (before, file.path) if before is not None else ("", "/dev/null")
    lines = difflib.unified_diff(old.splitlines(), file.text.splitlines(), name, file.path, lineterm="")
    return "\n".join(lines) + "\n"


def write(file: OwnFile, prefix: str) -> bool:
    """Write the file unless it is current; return whether it was written. Killed anywhere, it is the old or the new."""
    if is_current(file):
        return False
    _make_folders(os.path.dirname(file.path), prefix)
    temporary = f"{file.path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    if file.link:
        os.symlink(file.link, temporary)
    else:
        write_new(temporary, file.text, 0o644)
    os.replace(temporary, file.path)
    return True


def write_new(path: str, text: str, mode: int) -> None:
    """Make a file with this text on the disk. Raises OSError, also where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)  # whatever the umask is
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def remove(file: OwnFile) -> bool:
    """Remove a file of ours, and what a killed run left beside it; return whether there was one."""
    new = f"{file.path}.new"
    # Killed between making and filling it, a run leaves an empty one.
    if is_ours(file, new) or read_text(new) == "":
        os.unlink(new)
    if not is_ours(file):
        return False
    os.unlink(file.path)
    return True


def _make_folders(folder: str, prefix: str) -> None:
    """Make a folder and those above it; noted first, so that uninstall removes them even after a killed run."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        _note_folder(each, prefix)
        os.mkdir(each, 0o755)
        os.chmod(each, 0o755)  # noqa: S103 - the folders of /usr/local/share are for everybody


def _note_folder(folder: str, prefix: str) -> None:
    if folder not in list_noted_folders(prefix):
        with open(os.path.join(prefix, _FOLDERS_FILE), "a", encoding="utf-8") as file:
            file.write(f"{folder}\n")
            file.flush()
            os.fsync(file.fileno())


def list_noted_folders(prefix: str) -> list[str]:
    """Return the folders that installing has made, outermost first."""
    return (read_text(os.path.join(prefix, _FOLDERS_FILE)) or "").splitlines()


def remove_noted_folders(prefix: str) -> None:
    """Remove the folders that installing has made, as far as they are empty now, and the note of them."""
    for folder in reversed(list_noted_folders(prefix)):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(prefix, _FOLDERS_FILE))
