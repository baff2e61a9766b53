"""A folder of whole files below `.alerts/`, such as the reports: written all or nothing, and never too many."""

from __future__ import annotations

import contextlib
import os

from vpsmon.state.atomic_file import replace_file
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.state.private_file import opened_folder

REPORTS = "reports"
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Folder:
    """One folder. Names are those of files in it; hidden ones are on their way to be written."""

    def __init__(self, state: StateDirectory, name: str) -> None:
        self._state = state
        self.path = os.path.join(state.path, name)

    def write(self, name: str, content: bytes, most_kept: int) -> str:
        """Write a file, drop the first of the same ending by name beyond so many, and return its path.

        Raises StateError.
        """
        with self._state.lock(), self._state.explain_errors():
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            replace_file(os.path.join(self.path, name), content)
            ending = os.path.splitext(name)[1]
            for old in [each for each in self.list() if each.endswith(ending)][:-most_kept]:
                self.remove(old)
        return os.path.join(self.path, name)

    def list(self) -> list[str]:
        """Return the names of the files in order; none where there is no such folder."""
        try:
            with opened_folder(self.path) as directory:
                return sorted(name for name in os.listdir(directory) if not name.startswith("."))
        except OSError:
            return []

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none. Raises StateError."""
        path = os.path.join(self.path, name)
        try:
            with (
                opened_folder(self.path) as directory,
                open(os.open(name, _READ, dir_fd=directory), "rb") as file,
            ):
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror}") from None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises StateError."""
        with (
            self._state.explain_errors(),
            contextlib.suppress(FileNotFoundError),
            opened_folder(self.path) as directory,
        ):
            os.unlink(name, dir_fd=directory)
