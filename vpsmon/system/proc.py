"""The files of /proc that several checks read, parsed. Sizes are bytes, rates are counters since boot.

Formats: proc(5); Documentation/accounting/psi.rst of the kernel.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.text import clean
from vpsmon.system.host import Host

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PSI_REMEDY = "needs Linux 4.20 or newer, booted with psi=1, and is not passed to some virtual machines (OpenVZ)"


class Pressure(NamedTuple):
    """Percent of the last 10 seconds, and microseconds since boot, in which some or all tasks waited for memory."""

    some_average_percent: float
    full_average_percent: float
    some_total_microseconds: int
    full_total_microseconds: int


def read_counters(host: Host, name: str) -> dict[str, int]:
    """Return /proc/meminfo (in bytes) or /proc/vmstat as numbers by name. Raises ReadError."""
    path = os.path.join(host.proc, name)
    try:
        counters = host.once(f"counters of {name}", lambda: _bound(parse_counters(host.read_proc(name))))
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}; is /proc mounted?") from None
    if not counters:
        raise ReadError(f"{path} holds no counters; is /proc mounted?")
    return counters


def parse_counters(text: str) -> dict[str, int]:
    """Return `name value` and `name: value kB` lines as numbers, kB as bytes; lines of another form are left out."""
    counters = {}
    for line in text.splitlines():
        words = line.split()
        # Python refuses to read a number of more than 4,300 digits; 64 bits need 20.
        if len(words) in (2, 3) and words[1].isdecimal() and words[1].isascii() and len(words[1]) <= 20:
            factor = 1024 if words[2:] == ["kB"] else 1
            counters[words[0].rstrip(":")] = int(words[1]) * factor
    return counters


# lxcfs subtracts without looking: a guest that uses more than it was given has 2^64 - x kB of free swap.
_LARGEST_BYTES = 1 << 62
_BOUNDS = (("SwapFree", "SwapTotal"), ("MemAvailable", "MemTotal"), ("MemFree", "MemTotal"))


def _bound(counters: dict[str, int]) -> dict[str, int]:
    """Return the counters, each part of a whole of /proc/meminfo within it: none where it is below zero."""
    for part, whole in _BOUNDS:
        if part in counters and whole in counters:
            counters[part] = 0 if counters[part] > _LARGEST_BYTES else min(counters[part], counters[whole])
    return counters


def pick(counters: dict[str, int], name: str, source: str) -> int:
    """Return one counter. Raises ReadError when this kernel does not have it."""
    if name not in counters:
        raise ReadError(f"{source} has no line {name}; is the file what the kernel wrote?")
    return counters[name]


def read_boot_id(host: Host) -> str:
    """Return what is different after each boot: counters and positions in the kernel log start anew with it."""
    try:
        return host.read_proc("sys/kernel/random/boot_id").strip()
    except OSError:
        return "unknown"


def is_listening(host: Host, port: int) -> bool:
    """Return whether a program of this machine listens on a TCP port of loopback.

    Asked before a client library is imported that costs 100 ms, only to find nobody there. Connecting takes 0.1 ms;
    reading /proc/net/tcp took 4 ms, because the kernel walks its whole table of connections.
    """
    return host.once(f"listener on {port}", lambda: host.can_connect("127.0.0.1", port))


def read_memory_pressure(host: Host) -> Pressure:
    """Return /proc/pressure/memory. Raises NotApplicable where the kernel has it switched off, else ReadError."""
    path = os.path.join(host.proc, "pressure/memory")
    try:
        text = host.read_proc("pressure/memory")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP):
            raise NotApplicable(f"the kernel does not report memory pressure: {_PSI_REMEDY}") from None
        raise ReadError(f"{path} cannot be read: {error.strerror}") from None
    return parse_pressure(text)


def parse_pressure(text: str) -> Pressure:
    """Return the two lines of a pressure file. Raises ReadError when they are not as the kernel writes them."""
    lines = {}
    for line in text.splitlines():
        words = line.split()
        if words:
            lines[words[0]] = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    try:
        some, full = lines["some"], lines["full"]
        return Pressure(_percent(some), _percent(full), int(some["total"]), int(full["total"]))
    except (KeyError, ValueError):
        raise ReadError(f"memory pressure is not in the kernel's format: {clean(text)!r}") from None


def _percent(fields: dict[str, str]) -> float:
    percent = float(fields["avg10"])
    if not 0 <= percent <= 100:
        raise ValueError("not a percentage")
    return percent
