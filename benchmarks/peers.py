"""The monitors that Debian packages, and glances: how they are installed, and started in the foreground."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

POLICY = Path("/usr/sbin/policy-rc.d")
PACKAGES = ("prometheus-node-exporter", "monit", "netdata", "earlyoom", "nohang")
MONIT_CONFIG = """set daemon 30
set pidfile {folder}/monit.pid
set idfile {folder}/monit.id
set statefile {folder}/monit.state
check system $HOST
    if memory usage > 90% then alert
    if swap usage > 90% then alert
check filesystem root with path /
    if space usage > 90% then alert
"""


class Peer(NamedTuple):
    """A monitor: its name in the table and the command that runs it in the foreground."""

    name: str
    command: list[str]


def install(folder: Path) -> list[Peer]:
    """Install the peers and return them; what cannot be installed is said and left out."""
    with _no_service_starts():
        for package in PACKAGES:
            command = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", package]
            done = subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
            if done.returncode:
                print(f"{package} could not be installed", file=sys.stderr)
    glances = folder / "glances"
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(glances)], check=True)
    subprocess.run([str(glances / "bin/pip"), "install", "-q", "glances"], check=False)
    return [peer for peer in _list_peers(folder, glances) if os.access(peer.command[0], os.X_OK)]


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep Debian from starting what it installs."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _list_peers(folder: Path, glances: Path) -> list[Peer]:
    monit = folder / "monitrc"
    monit.write_text(MONIT_CONFIG.format(folder=folder))
    monit.chmod(0o600)
    nohang = next(
        (path for path in ("/etc/nohang/nohang.conf", "/usr/share/nohang/nohang.conf") if os.path.exists(path)), ""
    )

    def find(name: str) -> str:
        return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or f"/nonexistent/{name}"

    return [
        Peer("node_exporter", [find("prometheus-node-exporter"), "--web.listen-address=127.0.0.1:19100"]),
        Peer("monit", [find("monit"), "-I", "-c", str(monit)]),
        Peer("netdata", [find("netdata"), "-D", "-i", "127.0.0.1", "-p", "19999"]),
        Peer("earlyoom", [find("earlyoom"), "--dryrun", "-r", "3600"]),
        Peer("nohang", [find("nohang"), "--monitor", "--config", nohang]),
        Peer("glances", [str(glances / "bin/glances"), "-s", "-B", "127.0.0.1", "-p", "16209"]),
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for found in install(Path(temporary)):
            print(found.name, " ".join(found.command))
