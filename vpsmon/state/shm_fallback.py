"""Where the state goes on while its own disk cannot be written: in memory (runtime_folder.py).

A full disk is one of the things that have to be told, and telling needs a rate limit and an outbox. What is written to
the spare lies over the files of the state directory, and goes back there in one step as soon as that is possible.
Recovery never acts on the spare alone: what it has stopped must be known after a restart of the machine, too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vpsmon.state.content import parse_content
from vpsmon.state.directory import JOURNAL, LOCK_TIMEOUT_SECONDS, StateDirectory, StateError, StorageError
from vpsmon.state.private_file import open_plain
from vpsmon.state.runtime_folder import find_runtime_folder, make_runtime_folder


class SparedState(StateDirectory):
    """The state directory of an installation; `trouble` says why the spare is in use, if it is."""

    def __init__(self, path: str, wall_clock: Callable[[], float] = time.time) -> None:
        super().__init__(path, wall_clock)
        # What the lock of this moment is made of.
        self._locks = contextlib.ExitStack()
        self._has_spare_lock = False

    @contextlib.contextmanager
    def lock(self, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
        """Hold the lock of the directory, and that of the spare where it is needed. Raises StateError."""
        with contextlib.ExitStack() as self._locks:
            self.trouble, self._has_spare_lock = None, False
            try:
                self._locks.enter_context(self._hold("lock", timeout_seconds))
                with self.explain_errors():
                    self._finish_journal()
                self._take_back()
            except StorageError as error:
                self.trouble = str(error)
                self._hold_spare()
            yield

    @contextlib.contextmanager
    def delivery_lock(self, timeout_seconds: float) -> Iterator[None]:
        """Be the only process that sends. Raises StateError."""
        with contextlib.ExitStack() as locks:
            try:
                locks.enter_context(super().delivery_lock(timeout_seconds))
            except StorageError:
                locks.enter_context(self._make_spare().delivery_lock(timeout_seconds))
            yield

    def load(self, name: str) -> dict[str, Any]:
        """Return the newest content of a JSON file; {} where there is none, or where it cannot be read."""
        spare = self._find_spare(name)
        if spare:
            self.trouble = self.trouble or f"what {self.path} could not take waits in {spare.path}"
            return spare.load(name)
        try:
            return self._load_from_journal(name) or super().load(name)
        except StorageError as error:
            self.trouble = str(error)
            return {}

    def peek(self, name: str) -> dict[str, Any] | None:
        """Return the newest content; None where it is unreadable, which is left to whom the file belongs."""
        spare = self._find_spare(name)
        return spare.peek(name) if spare else self._load_from_journal(name) or super().peek(name)

    def _load_from_journal(self, name: str) -> dict[str, Any]:
        """Return what a journal holds that could not be finished yet."""
        if name == JOURNAL or not os.path.lexists(self._file(JOURNAL)):
            return {}
        files = super().load(JOURNAL).get("files")
        text = files.get(name) if isinstance(files, dict) else None
        try:
            return parse_content(text) if isinstance(text, str) else {}
        except ValueError:
            # Whoever finishes the journal finds the file, and moves it aside.
            return {}

    def set_aside(self, name: str, why: str) -> dict[str, Any]:
        """Move an unusable file out of the way, where that is possible, and return {}."""
        spare = self._find_spare(name)
        try:
            return spare.set_aside(name, why) if spare else super().set_aside(name, why)
        except StorageError as error:
            self.trouble = str(error)
            return {}

    def commit(
        self,
        files: Mapping[str, dict[str, Any]],
        log_lines: Mapping[str, Sequence[str]] | None = None,
        must_last: bool = False,
    ) -> None:
        """Write the files that changed and append to the logs, all or nothing; with `must_last` never to the spare.

        The caller holds the lock. Raises StateError.
        """
        if not self.trouble:
            try:
                return super().commit(files, log_lines, must_last)
            except StorageError as error:
                self.trouble = str(error)
                if os.path.lexists(self._file(JOURNAL)):
                    return None  # written down as a whole: it is finished as soon as there is room
        if must_last:
            raise StateError(self.trouble)
        self._hold_spare()
        return self._make_spare().commit(files, log_lines)

    def _hold_spare(self) -> None:
        if not self._has_spare_lock:
            self._locks.enter_context(self._make_spare().lock(LOCK_TIMEOUT_SECONDS))
            self._has_spare_lock = True

    def _take_back(self) -> None:
        """Write what is in the spare where it belongs. Raises StorageError where that is still not possible."""
        spare = self._find_spare()
        if spare is None or not _list_content(spare):
            return
        self._hold_spare()
        names = _list_content(spare)
        files = {name: spare.load(name) for name in names if name.endswith(".json")}
        logs = {name: _read_lines(spare, name) for name in names if name.endswith(".log")}
        # Killed after the commit, it finds the lines there already.
        logs = {name: lines for name, lines in logs.items() if not self._ends_with(name, lines)}
        try:
            super().commit(files, logs)
        except StorageError:
            if not os.path.lexists(self._file(JOURNAL)):
                raise
        for name in names:
            os.unlink(os.path.join(spare.path, name))

    def _ends_with(self, name: str, lines: Sequence[str]) -> bool:
        try:
            return _read_lines(self, name)[-len(lines) :] == lines
        except FileNotFoundError:
            return False

    def _find_spare(self, name: str = "") -> StateDirectory | None:
        """Return the spare if there is one, and if so that file in it; nobody else may have made it."""
        folder = find_runtime_folder(self._find_owner())
        path = f"{folder}/{self._spare_name}"
        return self._open_spare(path) if folder and os.path.lexists(os.path.join(path, name)) else None

    def _make_spare(self) -> StateDirectory:
        """Return the spare, made where it is missing. Raises StateError."""
        try:
            path = f"{make_runtime_folder(self._find_owner())}/{self._spare_name}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        except OSError as error:
            where = error.filename or "a folder in memory"
            raise StateError(f"{self.trouble}; nor can {where} be written: {error.strerror}") from None
        return self._open_spare(path)

    @property
    def _spare_name(self) -> str:
        """The name of the spare in a folder that several installations of one user may share."""
        return self.path.replace("%", "%25").replace("/", "%2F")

    def _open_spare(self, path: str) -> StateDirectory:
        spare = StateDirectory(path, self._wall_seconds)
        spare.notices = self.notices
        return spare

    def _find_owner(self) -> int:
        try:
            return os.stat(self.path).st_uid
        except OSError:
            return os.geteuid()


def _list_content(spare: StateDirectory) -> list[str]:
    names = os.listdir(spare.path)
    return sorted(name for name in names if name.endswith((".json", ".log")) and not name.startswith("."))


def _read_lines(state: StateDirectory, name: str) -> list[str]:
    with open(os.path.join(state.path, name), encoding="utf-8", errors="replace", opener=open_plain) as file:
        return file.read().splitlines()
