"""Faults at a chosen system call of a real process: killed there, or the call fails. Not a line of it in the product.

strace stops a process where it enters the kernel, so that the n-th write, rename or fsync can be made its last, or
fail as it would on a broken disk. strace(1), "Tampering"; calls are counted for each process and each name apart.
Without --seccomp-bpf: with it, version 6.1 injects no signal.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.kit.command import clean_environment, vpsmon_path

# What changes a file, and what a message is sent with.
CHANGES = (
    "write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync,ftruncate,truncate,mkdir,chmod,"
    "fchmod,link,symlink"
)
SENDING = "connect,sendto,sendmsg,recvfrom,shutdown"
READING = "openat,read,pread64,flock,fstat,newfstatat"
_LINE = re.compile(r"(?P<process>\d+) +(?P<call>\w+)\((?P<rest>.*)")


class Call(NamedTuple):
    """The `number`-th call of this name in a process."""

    name: str
    number: int


def run_traced(
    words: Sequence[str],
    options: Sequence[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run vpsmon and its children below strace with these options, to its end."""
    command = ["strace", "--follow-forks", "--quiet=all", *options, str(vpsmon_path()), *words]
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_seconds)
    finally:
        _kill_group(process)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Whatever is left of the command: its children and strace itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def record_calls(
    words: Sequence[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    names: str = f"{CHANGES},{SENDING}",
    about: str = "",
) -> list[Call]:
    """Run vpsmon once without a fault, and return the calls of these names that it made, in order.

    `about`: only those whose arguments, with the paths of open files, hold this text.
    """
    log = cwd / "strace.log"
    run_traced(words, [f"--output={log}", f"--trace={names}", "--decode-fds=path"], cwd, env)
    calls = list(_parse(log.read_text(errors="replace").splitlines(), about))
    log.unlink()
    return calls


def _parse(lines: Sequence[str], about: str) -> Iterator[Call]:
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        match = _LINE.match(line)
        if match and "resumed>" not in line:
            key = match["process"], match["call"]
            counts[key] += 1
            if about in match["rest"]:
                yield Call(match["call"], counts[key])


def run_killed(
    words: Sequence[str], at: Call, cwd: Path, env: Mapping[str, str] | None = None, timeout_seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run vpsmon, killed with SIGKILL as it enters this call; where it never comes to it, it ends by itself."""
    fault = f"--inject={at.name}:signal=KILL:when={at.number}"
    return run_traced(words, ["--output=/dev/null", f"--trace={at.name}", fault], cwd, env, timeout_seconds)


def run_failing(
    words: Sequence[str], at: Call, error: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run vpsmon with this call failing with an error such as ENOSPC."""
    fault = f"--inject={at.name}:error={error}:when={at.number}"
    return run_traced(words, ["--output=/dev/null", f"--trace={at.name}", fault], cwd, env)
