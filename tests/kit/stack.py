"""Real PostgreSQL and Redis servers for tests: on this host on a free port, and an image of both for containers.

The binaries are those of the distribution (apt install postgresql redis-server). Servers die with the test run.
"""

import functools
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.docker import BUSYBOX, DockerEngine
from tests.kit.kernel import wait_until
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, NotApplicable, Previous, ReadError
from vpsmon.system.host import Host

STACK_IMAGE = "vpsmon-test/stack:latest"
POSTGRES_USER_ID = 999  # inside the image, as in the official one
PASSWORD = "super secret"  # of the superuser
READY_SECONDS = 30
DISK_FOLDER = Path("/var/tmp")
TRUST_LOCAL = "local all all trust\nhost all all all scram-sha-256\n"
# What the official image does with its variables: https://hub.docker.com/_/postgres. The database is made by a
# single-user server before the real one listens.
ENTRYPOINT = """#!/bin/sh
set -e
export PATH="{bin}:/bin"
data=/var/lib/postgresql/data
echo "$POSTGRES_PASSWORD" > /tmp/password
initdb -D $data --no-sync -U "${{POSTGRES_USER:-postgres}}" --pwfile=/tmp/password -A scram-sha-256 > /dev/null
printf '{hba}' > $data/pg_hba.conf
if [ -n "$POSTGRES_DB" ]; then echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D $data postgres; fi
exec postgres -D $data -c fsync=off -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
"""


@functools.cache
def postgres_folder() -> Path:
    """The folder of the newest PostgreSQL of this machine; its programs are in bin/."""
    folders = sorted(Path("/usr/lib/postgresql").glob("[0-9]*"), key=lambda folder: int(folder.name))
    if not folders:
        raise RuntimeError("no PostgreSQL on this machine: apt install postgresql")
    return folders[-1]


def find_rows(check: Any, settings: Settings, previous: Previous | None = None) -> dict[str, Finding]:
    """Read and judge a check on this machine as a pass does, and return its findings by name."""
    try:
        reading = check.read(Host(), settings, previous)
    except (NotApplicable, ReadError) as error:
        status: Any = "skipped" if isinstance(error, NotApplicable) else "unknown"
        return {
            name: Finding(check=name, status=status, message="", unit=unit, reason=str(error))
            for name, unit in check.ROWS.items()
        }
    return {finding.check: finding for finding in check.judge(reading, settings, previous)}


def free_port() -> int:
    """A TCP port that nothing listens on; below those that the kernel gives to whoever asks for any, meanwhile too."""
    while True:
        port = random.randrange(20_000, 32_768)  # noqa: S311 - two runs must not meet
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes every connection and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@dataclass(frozen=True)
class PostgresServer:
    """A cluster on 127.0.0.1; its superuser is `postgres` with the password `super secret`."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    def psql(self, query: str, database: str = "postgres", user: str = "postgres") -> str:
        """What psql prints for a query, through the socket, which asks for no password."""
        argv = ["psql", "-h", str(self.folder), "-p", str(self.port), "-U", user, "-d", database, "-XAtqc", query]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def dsn(self, user: str = "postgres", password: str = PASSWORD, database: str = "postgres") -> str:
        """A POSTGRES_DSN over TCP."""
        return f"host=127.0.0.1 port={self.port} user={user} password='{password}' dbname={database}"


@contextmanager
def postgres_server(standby: bool = False, **options: Any) -> Iterator[PostgresServer]:
    """Start a fresh cluster with these server options; `standby` makes it one without a primary, not ready yet."""
    with _service_folder("postgres") as folder:
        password = folder / "password"
        password.write_text(PASSWORD)
        initdb = [str(postgres_folder() / "bin/initdb"), "-D", str(folder / "data"), "--no-sync", "-U", "postgres"]
        secured = [*initdb, "-A", "scram-sha-256", f"--pwfile={password}"]
        subprocess.run(as_user("postgres", secured), check=True, capture_output=True, timeout=60)
        (folder / "data/pg_hba.conf").write_text(TRUST_LOCAL)
        if standby:
            (folder / "data/standby.signal").touch()
        port = free_port()
        chosen = {"fsync": "off", "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        settings = [word for name, value in {**chosen, **options}.items() for word in ("-c", f"{name}={value}")]
        argv = [str(postgres_folder() / "bin/postgres"), "-D", str(folder / "data"), *settings]
        with running(as_user("postgres", argv), folder / "log", signal.SIGQUIT) as process:
            server = PostgresServer(port, folder, process)
            if standby:
                wait_until(lambda: "was shut down at" in (folder / "log").read_text(), READY_SECONDS, "a standby")
            else:
                wait_until(lambda: _answers(server), READY_SECONDS, "PostgreSQL answers")
            yield server


def _answers(server: PostgresServer) -> bool:
    try:
        return server.psql("select 1") == "1"
    except RuntimeError:
        return False


@dataclass(frozen=True)
class RedisServer:
    """A server on 127.0.0.1."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    def cli(self, *words: str | int) -> str:
        """What redis-cli prints."""
        argv = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *map(str, words)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout.strip()

    def info(self, field: str, *login: str) -> str:
        """One field of INFO as redis-cli prints it; `login` are options of redis-cli."""
        fields = dict(line.split(":", 1) for line in self.cli(*login, "INFO").splitlines() if ":" in line)
        return fields[field]

    @property
    def url(self) -> str:
        """A REDIS_URL without user and password."""
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def redis_server(*options: str, folder: Path | None = None) -> Iterator[RedisServer]:
    """Start Redis with these options; a folder that is given is kept."""
    with _service_folder("redis") as own_folder:
        port = free_port()
        place = folder or own_folder
        fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--enable-debug-command", "yes"]
        argv = ["redis-server", *fixed, *([] if "--save" in options else ["--save", ""]), *options]
        mortal = ["setpriv", "--pdeathsig", "KILL", *argv]
        with running(mortal, own_folder / "log", signal.SIGTERM) as process:
            server = RedisServer(port, place, process)
            wait_until(lambda: server.cli("PING") != "", READY_SECONDS, "Redis answers")
            yield server


def as_user(user: str, argv: list[str]) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--pdeathsig", "QUIT", *argv]


@contextmanager
def _service_folder(name: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"vpsmon-test-{name}-{os.getpid()}-", dir=DISK_FOLDER))
    if name == "postgres":
        shutil.chown(folder, "postgres", "postgres")
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(argv: list[str], log: Path, stop_signal: signal.Signals) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)  # a stopped one has to be continued to hear it
                process.send_signal(stop_signal)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def import_stack_image(engine: DockerEngine) -> str:
    """Make an image with PostgreSQL, Redis and busybox of this machine, and return its name.

    `/postgres-entrypoint` as user 999 is PostgreSQL as the official image starts it, `redis-server …` is Redis.
    """
    repository, _, tag = STACK_IMAGE.partition(":")
    engine.client.api.import_image_from_data(_stack_root(), repository=repository, tag=tag)
    return STACK_IMAGE


def _stack_root() -> bytes:
    """A tar of a root folder: the programs where this machine has them, and every library that they name."""
    programs = [postgres_folder() / "bin" / name for name in ("postgres", "initdb", "psql")]
    programs += [Path("/usr/bin/redis-server"), Path("/usr/bin/redis-cli")]
    shared = Path("/usr/share/postgresql") / postgres_folder().name
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted({*programs, *_list_libraries(programs)}):
            tar.add(path.resolve(), str(path))
        for folder in (shared, postgres_folder() / "lib", Path("/usr/share/zoneinfo/Etc")):
            tar.add(folder, str(folder), filter=_without_manuals)
        tar.add(BUSYBOX, "bin/busybox")
        for applet in ("sh", "printf", "echo", "cat", "sleep"):
            tar.addfile(_entry(f"bin/{applet}", b"", type=tarfile.SYMTYPE, linkname="busybox"))
        entrypoint = ENTRYPOINT.format(bin=postgres_folder() / "bin", hba=TRUST_LOCAL.replace("\n", "\\n"))
        passwd = f"root:x:0:0::/:/bin/sh\npostgres:x:{POSTGRES_USER_ID}:{POSTGRES_USER_ID}::/tmp:/bin/sh\n"
        for name, text, mode in (("postgres-entrypoint", entrypoint, 0o755), ("etc/passwd", passwd, 0o644)):
            content = text.encode()
            tar.addfile(_entry(name, content, mode=mode), io.BytesIO(content))
        owner = {"uid": POSTGRES_USER_ID, "gid": POSTGRES_USER_ID}
        for folder_name, attributes in (("tmp", {"mode": 0o1777}), ("var/lib/postgresql", {"mode": 0o755, **owner})):
            tar.addfile(_entry(folder_name, b"", type=tarfile.DIRTYPE, **attributes))
    return buffer.getvalue()


def _list_libraries(programs: list[Path]) -> Iterator[Path]:
    for program in programs:
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True, timeout=30)
        words = (word for line in listed.stdout.splitlines() for word in line.split())
        yield from (Path(word) for word in words if word.startswith("/"))


def _without_manuals(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "/man/" in entry.name or "bitcode" in entry.name or "llvmjit" in entry.name else entry


def _entry(name: str, content: bytes, **attributes: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in attributes.items():
        setattr(entry, key, value)
    return entry
