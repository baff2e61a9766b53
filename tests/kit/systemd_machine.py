"""A machine of its own for the installer: Debian with systemd as process 1, in a container of the test engine.

It has a cgroup2 hierarchy to itself, mounted before systemd starts: given the one of the host, systemd would mount the
missing controllers of version 1 as well, and every container made meanwhile would be without statistics for ever.
It has no way out: pip takes its wheels from a folder. `docker.service` in it is a relay to the engine of the test.
What takes long to make, the root folder and the wheels, is kept in /var/tmp for the next test run.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from docker.models.containers import Container

from tests.kit.container_exec import Done, run_in
from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import wait_until

ROOT = Path(__file__).resolve().parents[2]
CACHE_FOLDER = Path("/var/tmp")


class Suite(NamedTuple):
    """A distribution to install on: its Python, and what debootstrap wants to know."""

    python_version: str
    mirror: str = "http://deb.debian.org/debian"
    # An older debootstrap does not know the newest names; the script of one distribution serves all of its releases.
    script: str = "sid"
    options: str = ""


# Debian has no package with Ubuntu's keys, and what is installed here is thrown away.
_UBUNTU = ("http://archive.ubuntu.com/ubuntu", "gutsy", "--components=main,universe --no-check-gpg")
SUITES = {
    "bookworm": Suite("3.11"),
    "trixie": Suite("3.13"),
    "jammy": Suite("3.10", *_UBUNTU),
    "noble": Suite("3.12", *_UBUNTU),
}
SUITE = os.environ.get("TEST_SUITE", "bookworm")
PYTHON_VERSION = SUITES[SUITE].python_version
IMAGE = f"vpsmon-test/systemd-{SUITE}"
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,ca-certificates,man-db,bash-completion"
# All that systemd needs, and no more: without CAP_SYS_TIME nothing in it can turn the clock of the host.
CAPABILITIES = ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "SYS_NICE", "SYSLOG", "DAC_READ_SEARCH", "IPC_LOCK", "SYS_BOOT"]
BOOT = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /lib/systemd/systemd"
IS_BOOTED = "systemctl is-system-running 2>/dev/null"
RELAY_SOCKET = """\
[Socket]
ListenStream=/run/docker.sock
SocketGroup=docker
SocketMode=0660
RemoveOnStop=yes
"""
RELAY_SERVICE = """\
[Unit]
Requires=docker.socket
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd /engine.sock
"""
KEPT_SECONDS = 86_400
TERMINAL_SECONDS = 120  # building an environment, on a busy machine
# Everything that anybody may have changed, without what the kernel, the journal, useradd and the passing of time put
# there. What is in a file is compared where an installer may write; of the packages below /usr, their sizes.
LISTING = r"""
find / -xdev '(' -path /proc -o -path /sys -o -path '/var/log/journal/*' -o -path /var/cache \
  -o -path '/var/tmp/systemd-private-*' \
  -o -path /var/log/lastlog -o -path /var/log/faillog ')' -prune \
  -o -type d -printf '%p %m %u %g\n' -o -printf '%p %y %m %u %g %s %l\n'
find /etc /opt /root /usr/local /var/lib -xdev -type f -exec sha256sum {} +
"""


class Terminal:
    """The other end of a terminal: what the person reads and types."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(TERMINAL_SECONDS)
        self.screen = ""
        self._seen = 0

    def read_until(self, text: str) -> None:
        """Wait until the text is on the screen, below what was waited for before, or fail with what is there."""
        while (position := self.screen.find(text, self._seen)) < 0:
            if not self._read_more(text):
                raise EOFError(f"{text!r} did not come: {self.screen}")
        self._seen = position + len(text)

    def read_to_end(self) -> None:
        """Wait until the program has ended."""
        while self._read_more("the end"):
            pass

    def _read_more(self, wanted: str) -> bool:
        try:
            part = self._connection.recv(65536)
        except TimeoutError:
            raise TimeoutError(f"{wanted!r} did not come: {self.screen}") from None
        self.screen += part.decode("utf-8", "replace")
        return bool(part)

    def type(self, text: str) -> None:
        """Type a line."""
        self._connection.sendall(f"{text}\n".encode())


@dataclass(frozen=True)
class Machine:
    """The running machine."""

    container: Container

    def run(self, *words: str, env: Mapping[str, str] | None = None, user: str = "root") -> Done:
        """Run a command to its end."""
        return run_in(self.container, words, env, user)

    def shell(self, script: str, env: Mapping[str, str] | None = None) -> Done:
        """Run a shell script to its end."""
        return self.run("/bin/sh", "-c", script, env=env)

    def read(self, script: str) -> str:
        """Return what a shell script prints; it has to succeed."""
        done = self.shell(script)
        if done.status:
            raise RuntimeError(f"{script}: {done.errors or done.output}")
        return done.output.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file, with the folders that it needs."""
        self.read(f"mkdir -p '{os.path.dirname(path)}'")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo(os.path.basename(path))
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
        self.container.put_archive(os.path.dirname(path), buffer.getvalue())

    @contextmanager
    def terminal(self, script: str, env: Mapping[str, str]) -> Iterator[Terminal]:
        """Run a shell script on a terminal."""
        api = self.container.client.api  # type: ignore[union-attr]
        identity = api.exec_create(
            self.container.id, ["/bin/sh", "-c", script], stdin=True, tty=True, environment=dict(env)
        )
        stream = api.exec_start(identity["Id"], tty=True, socket=True)
        try:
            yield Terminal(stream._sock)  # type: ignore[union-attr]
        finally:
            stream.close()

    @property
    def gateway(self) -> str:
        """The address at which the machine finds the host."""
        self.container.reload()
        address: str = self.container.attrs["NetworkSettings"]["Gateway"]
        return address

    def list_files(self) -> set[str]:
        """Return a line for every path, with kind, mode, owner and target, and one for the content of every file."""
        return set(self.read(LISTING).splitlines())


@contextmanager
def systemd_machine(engine: DockerEngine, name: str = "vps1") -> Iterator[Machine]:
    """Boot a machine that has Docker, this checkout in /src and wheels in /wheels; it is gone at the end."""
    _import_image(engine)
    mounts = {
        str(ROOT): {"bind": "/src", "mode": "ro"},
        str(_wheels()): {"bind": "/wheels", "mode": "ro"},
        str(engine.socket): {"bind": "/engine.sock", "mode": "rw"},
    }
    options: dict[str, Any] = {
        "image": IMAGE,
        "hostname": name,
        "cgroupns": "private",
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "cap_add": CAPABILITIES,
        "devices": ["/dev/kmsg"],
        "tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec"},
        "volumes": mounts,
        "environment": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_CONFIG_FILE": "/dev/null"},
    }
    with run_container(engine, name, ["/bin/sh", "-c", BOOT], **options) as container:
        machine = Machine(container)
        wait_until(lambda: machine.shell(IS_BOOTED).output == "running\n", 120, "systemd has booted")
        machine.read("groupadd --system docker")
        machine.write("/etc/systemd/system/docker.socket", RELAY_SOCKET)
        machine.write("/etc/systemd/system/docker.service", RELAY_SERVICE)
        machine.read("systemctl daemon-reload && systemctl start docker.socket")
        yield machine


def prepare() -> None:
    """Make what takes long to make, unless it is there; a test that comes meanwhile waits for it."""
    _root_archive()
    _wheels()


def _import_image(engine: DockerEngine) -> None:
    if not engine.client.images.list(IMAGE):
        with _root_archive().open("rb") as archive:
            engine.client.api.import_image_from_data(archive, repository=IMAGE, tag="latest")


def _root_archive() -> Path:
    """Return a tar of the root folder, made by debootstrap in memory, which is several times as fast as on a disk."""
    suite = SUITES[SUITE]
    options = f"--variant=minbase --include={PACKAGES} {suite.options}"
    how = f"/usr/share/debootstrap/scripts/{suite.script}"
    script = (
        "mount -t tmpfs tmpfs /mnt && "
        f"debootstrap {options} {SUITE} /mnt {suite.mirror} {how} && "
        'rm -rf /mnt/var/cache/apt/archives/*.deb && tar -C /mnt --numeric-owner -cf "$0" .'
    )
    return _keep("root", f"{SUITE} {PACKAGES} {script}", ".tar", ["unshare", "--mount", "sh", "-ec", script])


def _wheels() -> Path:
    """Return a folder with the wheels that an installation needs, for the Python of the machine."""
    for_machine = ["--python-version", PYTHON_VERSION, "--only-binary", ":all:"]
    download = ["-m", "pip", "download", "--quiet", *for_machine, *_needs(), "--dest"]
    return _keep("wheels", " ".join(download), "", [sys.executable, *download])


def _needs() -> list[str]:
    """What the installer asks for: the locked versions of what vpsmon runs with, and what builds it."""
    import tomli

    locked = re.findall(r"^[\w.-]+==[^\s;\\]+", (ROOT / "vpsmon/requirements.lock").read_text(), re.MULTILINE)
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [*locked, *project["build-system"]["requires"]]


def _keep(kind: str, made_from: str, ending: str, command: list[str]) -> Path:
    """Return where something is kept that the command makes at the path it gets last, unless it is there already."""
    path = CACHE_FOLDER / f"vpsmon-test-{kind}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}{ending}"
    with (CACHE_FOLDER / f"vpsmon-test-{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            # What another run uses, of another checkout, is younger than that.
            for stale in CACHE_FOLDER.glob(f"vpsmon-test-{kind}-*"):
                if time.time() - stale.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            # Elsewhere first: what a killed run began must never be taken for the whole.
            folder = Path(tempfile.mkdtemp(prefix=f"vpsmon-test-{kind}-", dir=CACHE_FOLDER))
            _run([*command, str(folder / "made")])
            (folder / "made").rename(path)
            folder.rmdir()
        os.utime(path)
    return path


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    prepare()
