"""The state directory `.alerts/`: JSON files and logs that survive a crash at any point.

One lock guards it. What one change touches is written as a whole or not at all: when it is more than one file, it is
first written to a journal, `commit.json`, and a run that finds a journal finishes it. An unreadable file is moved aside
and the work goes on without it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vpsmon.core.text import clean
from vpsmon.state.atomic_file import replace_file, sync_directory
from vpsmon.state.content import SCHEMA, WRONG_FORM, parse_content
from vpsmon.state.file_lock import wait_for_lock
from vpsmon.state.own_folder import is_foreign, is_marked, mark
from vpsmon.state.private_file import open_plain, open_private, opened_folder
from vpsmon.state.quarantine import move_aside

LOCK_TIMEOUT_SECONDS = 10.0
JOURNAL = "commit.json"
# For other programs: in a folder of its own, because the rest is for nobody else.
METRICS_FILE = "metrics/metrics.prom"
TARGETS_FILE = "metrics/targets.json"
_LARGEST_LOG_BYTES = 1_000_000
_NAME = re.compile(r"[a-z_]{1,64}\.(json|log)")


class StateError(Exception):
    """The state directory cannot be used; the text says which file, why, and what to do."""


class StorageError(StateError):
    """The disk that holds the state directory cannot be written, or read, at the moment."""


# Of the machine, and it may pass; a wrong owner or a file in the way does not.
_STORAGE_FAULTS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK),
)


class StateBusy(StateError):
    """Another process of vpsmon holds the lock."""


class StateDirectory:
    """The files of one installation. Use `lock()` around everything that reads and then writes."""

    def __init__(self, path: str, wall_clock: Callable[[], float] = time.time) -> None:
        # Its owner may have laid it elsewhere by a link; nothing below it is reached through one.
        self.path = os.path.realpath(path)
        self._named = path
        self.notices: list[str] = []
        # Whether what is written has to be on the disk before the work goes on. On a machine of 1 GB that thrashed that
        # took 3 to 12 s each time.
        self.waits_for_disk = True
        # Why it cannot be written at the moment, where the work goes on without it.
        self.trouble: str | None = None
        self._wall_seconds = wall_clock

    @contextlib.contextmanager
    def lock(self, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
        """Hold the lock of the directory, which is made where it is missing. Raises StateError."""
        with self._hold("lock", timeout_seconds):
            with self.explain_errors():
                self._finish_journal()
            yield

    @contextlib.contextmanager
    def delivery_lock(self, timeout_seconds: float) -> Iterator[None]:
        """Be the only process that sends; the files stay free for others meanwhile. Raises StateError."""
        with self._hold("delivery.lock", timeout_seconds):
            yield

    @contextlib.contextmanager
    def mail_lock(self, timeout_seconds: float) -> Iterator[None]:
        """Be the only process that hands mail over; a slow mail server delays no alert. Raises StateError."""
        with self._hold("mail.lock", timeout_seconds):
            yield

    @contextlib.contextmanager
    def export_lock(self, timeout_seconds: float) -> Iterator[None]:
        """Be the only process that exports, so that an older reading never replaces a newer one. Raises StateError."""
        with self._hold("export.lock", timeout_seconds):
            yield

    @contextlib.contextmanager
    def _hold(self, name: str, timeout_seconds: float) -> Iterator[None]:
        with self.explain_errors():
            self._prepare()
            descriptor = open_private(self._file(name), os.O_RDWR)
        try:
            if not wait_for_lock(descriptor, timeout_seconds):
                raise StateBusy(
                    f"state in {self.path} is locked by another vpsmon for more than {timeout_seconds:g} s: "
                    f"see which with `fuser -v {self._file(name)}`"
                )
            yield
        finally:
            os.close(descriptor)

    def load(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file without its schema number; {} where there is none or it is unreadable.

        An unreadable one is moved out of the way.
        """
        try:
            return parse_content(self._read(name))
        except FileNotFoundError:
            return {}
        except ValueError as why:
            return self.set_aside(name, str(why))

    def peek(self, name: str) -> dict[str, Any] | None:
        """Return the content as `load`; None where it is unreadable, which is left to whom the file belongs."""
        try:
            return parse_content(self._read(name))
        except FileNotFoundError:
            return {}
        except ValueError:
            return None

    def _read(self, name: str) -> bytes:
        try:
            with open(self._file(name), "rb", opener=open_plain) as file:
                return file.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _kind(error)(f"{self._file(name)} cannot be read: {error.strerror}") from None

    def commit(
        self,
        files: Mapping[str, dict[str, Any]],
        log_lines: Mapping[str, Sequence[str]] | None = None,
        must_last: bool = False,
    ) -> None:
        """Write the files that changed and append to the logs, all or nothing, also when killed. Raises StateError.

        `must_last`: it is no use where the machine forgets it when it is switched off (see spare.py).
        """
        syncs = must_last or self.waits_for_disk
        contents = {name: json.dumps({"schema": SCHEMA, **content}) for name, content in files.items()}
        with self.explain_errors():
            texts = {name: text for name, text in contents.items() if not self._holds(name, text)}
            appends = {name: self._plan_append(name, lines) for name, lines in (log_lines or {}).items() if lines}
            if len(texts) == 1 and not appends:
                self._write(*next(iter(texts.items())), syncs=syncs)
            elif texts or appends:
                journal = {"schema": SCHEMA, "files": texts, "appends": appends}
                self._write(JOURNAL, json.dumps(journal), syncs=syncs)
                self._apply(journal, syncs)

    def publish(self, name: str, text: str) -> None:
        """Replace a file in metrics/, which every user of the machine may read. Raises StateError.

        To get there others may pass through the state directory, but still neither list it nor read anything else.
        """
        folder = os.path.dirname(self._file(name))
        with self.explain_errors():
            with opened_folder(self.path) as directory:
                os.fchmod(directory, 0o711)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            with opened_folder(folder) as directory:
                os.fchmod(directory, 0o755)
            if not self._holds(name, text):
                self._write(name, text, 0o644)

    def _holds(self, name: str, text: str) -> bool:
        try:
            with open(self._file(name), encoding="utf-8", opener=open_plain) as file:
                return file.read() == text
        except (FileNotFoundError, ValueError):
            return False

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    @contextlib.contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Turn an OSError of a write below this directory into a StateError that says what to do."""
        try:
            yield
        except OSError as error:
            remedies = {
                errno.ENOSPC: f"make room (df -h {self.path})",
                errno.EROFS: "remount it writable, or set STATE_DIR",
                errno.EACCES: "run as its owner or with sudo, or set STATE_DIR",
                errno.ELOOP: "it must be no symbolic link",
                errno.ENOTDIR: "it must be a folder, and no symbolic link",
            }
            remedy = remedies.get(error.errno or 0, "check it, or set STATE_DIR")
            raise _kind(error)(f"state in {self.path} cannot be written: {error.strerror}: {remedy}") from None

    def _prepare(self) -> None:
        self._refuse_trap()
        if os.path.islink(self._named):
            os.stat(self._named)  # where it leads to is made by whoever made the link
        with contextlib.suppress(FileExistsError):
            os.makedirs(self.path, mode=0o700)
        if not is_marked(self.path):
            self._take()
        # To pass through is allowed: see publish.
        if os.stat(self.path).st_mode & 0o066:
            os.chmod(self.path, 0o700)

    def _take(self) -> None:
        """Make a folder vpsmon's own. Raises StateError where it holds what is not vpsmon's, OSError."""
        if is_foreign(self.path):
            raise StateError(f"{self.path} holds files of others: give vpsmon a folder of its own with STATE_DIR")
        mark(self.path)

    def _refuse_trap(self) -> None:
        """Raise StateError where another user has put this name into a folder that all users may write to."""
        try:
            own, above = os.lstat(self._named), os.stat(os.path.dirname(os.path.abspath(self._named)))
        except FileNotFoundError:
            return
        if above.st_mode & 0o002 and own.st_uid not in (0, os.geteuid()):
            raise StateError(f"{self._named} belongs to another user, in a folder open to all: set STATE_DIR elsewhere")

    def set_aside(self, name: str, why: str) -> dict[str, Any]:
        """Move an unusable file out of the way, where its owner finds it, and return {}. Raises StateError."""
        with self.explain_errors(), contextlib.suppress(FileNotFoundError):
            if is_foreign(self.path):
                return {}
            aside = move_aside(self.path, name, self._wall_seconds())
            self.notices.append(f"{self._file(name)} was unreadable ({why}): moved to {aside}, starting afresh")
        return {}

    def _write(self, name: str, text: str, mode: int = 0o600, syncs: bool = True) -> None:
        replace_file(self._file(name), text.encode(), mode, syncs)

    def _plan_append(self, name: str, lines: Sequence[str]) -> dict[str, Any]:
        path = self._file(name)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            size = 0
        if size > _LARGEST_LOG_BYTES:
            os.replace(path, f"{path}.1")
            size = 0
        return {"offset": size, "text": "".join(f"{clean(line, 2000)}\n" for line in lines)}

    def _finish_journal(self) -> None:
        if not os.path.lexists(self._file(JOURNAL)):
            return
        journal = self.load(JOURNAL)
        try:
            if journal:
                _check_journal(journal)
                self._apply(journal)
        except WRONG_FORM:
            self.set_aside(JOURNAL, "it is no journal")

    def _apply(self, journal: Mapping[str, Any], syncs: bool = True) -> None:
        """Do what the journal says; doing it twice is the same as doing it once."""
        for name, append in journal["appends"].items():
            self._append(name, append["offset"], append["text"], syncs)
        for name, text in journal["files"].items():
            self._write(name, text, syncs=syncs)
        os.unlink(self._file(JOURNAL))
        if syncs:
            sync_directory(self.path)

    def _append(self, name: str, offset: int, text: str, syncs: bool) -> None:
        """Write the text at the offset where the log ended when the change was planned."""
        with open(open_private(self._file(name), os.O_WRONLY), "wb") as file:
            # Never beyond the end: the owner may have emptied the log meanwhile.
            file.seek(min(offset, os.fstat(file.fileno()).st_size))
            file.write(text.encode("utf-8", "replace"))
            file.truncate()
            file.flush()
            if syncs:
                os.fsync(file.fileno())


def _check_journal(journal: Mapping[str, Any]) -> None:
    """Raise one of WRONG_FORM where doing what it says could end with an OSError: no later run would get beyond it."""
    for name in [*journal["appends"], *journal["files"]]:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a file")
    if any(append["offset"] < 0 for append in journal["appends"].values()):
        raise ValueError("an offset is negative")


def _kind(error: OSError) -> type[StateError]:
    return StorageError if error.errno in _STORAGE_FAULTS else StateError
