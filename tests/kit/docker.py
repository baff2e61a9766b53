"""A private Docker engine for tests: its own socket, data, bridge and addresses. Needs root.

It stays in the network namespace of the host, because tests have to reach container addresses. Nothing that exists is
touched: docker0 and its addresses are another daemon's, so the bridge is ours, made before and deleted after; iptables
rules are not written at all. It has a mount namespace of its own: the containerd of the machine, which it would use, is
hidden from it, and its mounts are gone with its last process, however that ends. What a killed test run left behind is
removed by the next one.
"""

import io
import ipaddress
import itertools
import os
import random
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
from docker.models.containers import Container
from docker.models.networks import Network

from tests.kit.kernel import is_left_over, wait_until

BUSYBOX_IMAGE = "vpsmon-test/busybox:latest"
BUSYBOX = Path("/bin/busybox")
PREFIX = "vpsmon-test-docker"
BRIDGE_PREFIX = "vpm"  # an interface's name has at most 15 characters, a process id up to 7
DISK_FOLDER = Path("/var/tmp")
HIDE_CONTAINERD = '[ ! -d /run/containerd ] || mount -t tmpfs tmpfs /run/containerd; exec "$@"'
READY_SECONDS = 60
STOP_SECONDS = 30
LOG_LINES_SHOWN = 20
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_number = itertools.count(1)


class EngineError(RuntimeError):
    """The engine did not come up; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class DockerEngine:
    """A running engine and how to reach it."""

    client: docker.DockerClient
    socket: Path
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        """What DOCKER_HOST is to be."""
        return f"unix://{self.socket}"


@contextmanager
def docker_engine(*extra_options: str) -> Iterator[DockerEngine]:
    """Start dockerd with its own everything; stop it at the end with all its containers and networks.

    Raises EngineError when it does not come up.
    """
    _remove_left_overs()
    with ExitStack() as stack:
        folder = stack.enter_context(_engine_folder())
        networks = _free_networks()
        bridge = stack.enter_context(_bridge(next(networks)))
        process = stack.enter_context(_daemon(folder, bridge, next(networks), extra_options))
        socket = folder / "docker.sock"
        _wait_until_ready(process, socket, folder / "dockerd.log")
        client = docker.DockerClient(base_url=f"unix://{socket}", timeout=30)
        stack.callback(client.close)
        stack.callback(_remove_everything, client)
        yield DockerEngine(client, socket, folder, process)


@contextmanager
def _engine_folder() -> Iterator[Path]:
    """A folder on a real disk: overlay2 does not work on every tmpfs."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=DISK_FOLDER))
    try:
        yield folder
    finally:
        _remove_folder(folder)


def _remove_left_overs() -> None:
    """Remove the folders and bridges of test runs that were killed."""
    for path in [*DISK_FOLDER.glob(f"{PREFIX}-*"), *Path("/sys/class/net").glob(f"{BRIDGE_PREFIX}[0-9]*-*")]:
        with suppress(OSError, RuntimeError):  # another run may be removing it too
            if is_left_over(path.name) and path.parent == DISK_FOLDER:
                _remove_folder(path)
            elif is_left_over(path.name):
                _ip("link", "delete", path.name)


def _remove_folder(folder: Path) -> None:
    wait_until(lambda: not _kill_left_processes(folder), STOP_SECONDS, f"the processes of {folder} are gone")
    shutil.rmtree(folder)


def _kill_left_processes(folder: Path) -> bool:
    """Kill what outlives a killed dockerd: shims, whose argv names this folder, and their children, the containers."""
    found = False
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{folder}/".encode() in (process / "cmdline").read_bytes():
                found = True
                children = (process / f"task/{process.name}/children").read_text().split()
                for pid in [*children, process.name]:
                    os.kill(int(pid), signal.SIGKILL)
    return found


def _free_networks() -> Iterator[ipaddress.IPv4Network]:
    """Private /20 networks that no route of this machine leads to, in random order: two runs must not meet."""
    candidates = list(ipaddress.IPv4Network("10.192.0.0/10").subnets(new_prefix=20))
    random.shuffle(candidates)
    routes = _routes()
    return (network for network in candidates if not any(network.overlaps(route) for route in routes))


def _routes() -> list[ipaddress.IPv4Network]:
    """The destinations in /proc/net/route but for the default route; the addresses there are little-endian hex."""
    rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    pairs = [(bytes.fromhex(row[1])[::-1], bytes.fromhex(row[7])[::-1]) for row in rows]
    return [ipaddress.IPv4Network((address, str(ipaddress.IPv4Address(mask)))) for address, mask in pairs if any(mask)]


@contextmanager
def _bridge(network: ipaddress.IPv4Network) -> Iterator[str]:
    """A bridge with the network's first address; dockerd uses it as its default bridge."""
    name = f"{BRIDGE_PREFIX}{os.getpid()}-{next(_number)}"
    _ip("link", "add", name, "type", "bridge")
    try:
        _ip("address", "add", f"{network[1]}/{network.prefixlen}", "dev", name)
        _ip("link", "set", name, "up")
        yield name
    finally:
        _ip("link", "delete", name)


def _ip(*args: str) -> None:
    result = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=30, env=_environment())
    if result.returncode != 0:
        raise RuntimeError(f"ip {' '.join(args)}: {result.stderr.strip()}")


def _environment() -> dict[str, str]:
    """The environment without a DOCKER_HOST; dockerd looks for runc and iptables on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return kept | {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"}


@contextmanager
def _daemon(
    folder: Path, bridge: str, pool: ipaddress.IPv4Network, extra_options: tuple[str, ...]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run dockerd in a session of its own, so that Ctrl-C at the tests lets it stop in order."""
    (folder / "daemon.json").write_text("{}")
    mounts = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", HIDE_CONTAINERD, "sh"]
    mortal = ["setpriv", "--pdeathsig", "TERM", "dockerd"]  # a killed test run takes dockerd with it
    argv = [*mounts, *mortal, *_options(folder, bridge, pool), *extra_options]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), start_new_session=True
        )
    with process:
        try:
            yield process
        finally:
            _stop(process)


def _options(folder: Path, bridge: str, pool: ipaddress.IPv4Network) -> list[str]:
    return [
        f"--config-file={folder}/daemon.json",  # else a daemon.json in /etc would take part
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/dockerd.pid",
        f"--bridge={bridge}",
        f"--default-address-pool=base={pool},size=24",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--shutdown-timeout=5",
    ]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop dockerd in order, or by force; a stopped (SIGSTOP) one has to be continued to hear it."""
    process.terminate()
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_until_ready(process: "subprocess.Popen[bytes]", socket: Path, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(socket):
        if process.poll() is not None or time.monotonic() > deadline:
            last_lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            state = "is not ready" if process.returncode is None else f"ended with {process.returncode}"
            raise EngineError("\n".join([f"dockerd {state}; its log ends:", *last_lines]))
        time.sleep(0.1)


def _answers(socket: Path) -> bool:
    try:
        client = docker.DockerClient(base_url=f"unix://{socket}", timeout=5)  # asks for the version
    except (docker.errors.DockerException, requests.RequestException):
        return False
    client.close()
    return True


def _remove_everything(client: docker.DockerClient) -> None:
    """Remove containers and networks; a daemon that a test killed has nothing to say about it."""
    with suppress(docker.errors.DockerException, requests.RequestException):
        for container in client.containers.list(all=True, ignore_removed=True):
            with suppress(docker.errors.APIError):
                container.remove(force=True, v=True)
        client.networks.prune()


def import_busybox_image(engine: DockerEngine) -> str:
    """Make the image from the static busybox of this machine, without a registry, and return its name."""
    repository, _, tag = BUSYBOX_IMAGE.partition(":")
    engine.client.api.import_image_from_data(_busybox_root(), repository=repository, tag=tag)
    return BUSYBOX_IMAGE


def _busybox_root() -> bytes:
    """A tar of a root folder in which every applet is a link to busybox."""
    applets = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True, timeout=30)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "etc", "tmp"):
            tar.addfile(_entry(folder, type=tarfile.DIRTYPE, mode=0o755))
        tar.addfile(_entry("bin/busybox", mode=0o755, size=BUSYBOX.stat().st_size), BUSYBOX.open("rb"))
        passwd = b"root:x:0:0:root:/:/bin/sh\n"
        tar.addfile(_entry("etc/passwd", mode=0o644, size=len(passwd)), io.BytesIO(passwd))
        for applet in set(applets.stdout.split()) - {"busybox"}:
            tar.addfile(_entry(f"bin/{applet}", type=tarfile.SYMTYPE, linkname="busybox"))
    return buffer.getvalue()


def _entry(name: str, **attributes: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(entry, key, value)
    return entry


@contextmanager
def run_container(
    engine: DockerEngine, name: str, command: str | list[str], image: str = BUSYBOX_IMAGE, **options: Any
) -> Iterator[Container]:
    """Start a container with the options of the docker SDK, and remove it at the end."""
    container = engine.client.containers.run(image, command, name=name, detach=True, **options)
    try:
        yield container
    finally:
        with suppress(docker.errors.APIError, requests.RequestException):
            container.remove(force=True, v=True)


@contextmanager
def internal_network(engine: DockerEngine, name: str) -> Iterator[Network]:
    """A network without a way out, as a compose stack keeps its databases on; removed at the end."""
    network = engine.client.networks.create(name, internal=True)
    try:
        network.reload()
        yield network
    finally:
        with suppress(docker.errors.APIError, requests.RequestException):
            network.remove()


def container_address(container: Container) -> str:
    """The container's address on its first network."""
    container.reload()
    networks: dict[str, dict[str, str]] = container.attrs["NetworkSettings"]["Networks"]
    return next(network["IPAddress"] for network in networks.values() if network["IPAddress"])
