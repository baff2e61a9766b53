"""Runs the installed vpsmon command as a real process, apart from the environment of whoever runs the tests."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# A proxy variable would send requests for the loopback servers of this kit elsewhere.
NOT_INHERITED_PREFIXES = ("VPSMON_", "TELEGRAM_")
NOT_INHERITED_SUFFIX = "_PROXY"

ConfigValue = str | int | float | bool

# Whatever the disks and the memory pressure of the machine that runs the tests are: they are no alert.
QUIET_LIMITS: dict[str, ConfigValue] = {
    "DISK_WARNING_PCT": 100,
    "DISK_CRITICAL_PCT": 100,
    "MEMORY_PRESSURE_WARNING": 100,
    "MEMORY_PRESSURE_THRESHOLD": 100,
}


def vpsmon_path() -> Path:
    """The console script of the installation that runs the tests."""
    return Path(sys.executable).parent / "vpsmon"


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without settings of vpsmon and without proxies, plus the extra variables."""
    kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    return kept | dict(extra or {})


def _is_setting(name: str) -> bool:
    return name.startswith(NOT_INHERITED_PREFIXES) or name.upper().endswith(NOT_INHERITED_SUFFIX)


@contextmanager
def started_vpsmon(
    args: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Start vpsmon and yield the process; whatever is left of it and its children is killed at the end."""
    process = subprocess.Popen(
        [str(vpsmon_path()), *args],
        env=clean_environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            _kill_group(process.pid)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run_vpsmon(
    args: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_seconds: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Run vpsmon to its end and return what it printed.

    Raises subprocess.TimeoutExpired after killing it with all its children.
    """
    with started_vpsmon(args, env, cwd) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_seconds)
        finally:
            _kill_group(process.pid)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def run_command(
    command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None, timeout_seconds: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    """Run a program that may run vpsmon in turn (prlimit, setpriv) to its end, whatever that is."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def run_in_namespace(
    cwd: Path,
    preparation: str,
    words: Sequence[str],
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Run vpsmon where the shell commands of the preparation have changed what is mounted, for it alone."""
    script = f"{preparation} && exec {shlex.join([str(vpsmon_path()), *words])}"
    namespace = ["unshare", "--mount", "--propagation=private", "sh", "-ec", script]
    return run_command(namespace, cwd, env, timeout_seconds)


def write_config(folder: Path, **keys: ConfigValue) -> Path:
    """Write a valid monitor.conf of mode 0600 with these keys, and return its path."""
    path = folder / "monitor.conf"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text("".join(f"{name}={_toml(value)}\n" for name, value in keys.items()), encoding="utf-8")
    return path


def _toml(value: ConfigValue) -> str:
    """A JSON scalar is a TOML scalar too, but for DEL, which TOML wants escaped, and for escaped surrogate pairs."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@dataclass(frozen=True)
class Workdir:
    """A folder with a monitor.conf, in which vpsmon is run."""

    path: Path

    def write_config(self, **keys: ConfigValue) -> Path:
        """Write monitor.conf in this folder."""
        return write_config(self.path, **keys)

    def run(
        self, *args: str, env: Mapping[str, str] | None = None, timeout_seconds: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run vpsmon in this folder."""
        return run_vpsmon(args, env, self.path, timeout_seconds)
