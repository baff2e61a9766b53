"""The faults of the other files here, on the units as they are installed: user, seccomp, read-only system and all.

What holds outside of the sandbox and not in it is no promise. The machine is one of systemd's own (tests/kit); its
state directory is a disk of a megabyte, and the Bot API is on this side of its network.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import wait_until
from tests.kit.systemd_machine import Machine, systemd_machine
from tests.kit.telegram import FakeTelegram
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.model import Action, Change

PREFIX = "/opt/vpsmon"
STATE = f"{PREFIX}/.alerts"
CONFIG = f"{PREFIX}/monitor.conf"
SERVICES = ("vps-monitor", "vps-auto-recovery", "vps-daily-report", "vps-metrics-exporter")
PATIENCE_SECONDS = 120.0


class Installed:
    """A machine with vpsmon on it, whose disks are full whenever a test wants an alert that nobody has had before."""

    def __init__(self, machine: Machine, telegram: FakeTelegram) -> None:
        self.machine = machine
        self.telegram = telegram
        self.base = telegram.url.replace("127.0.0.1", machine.gateway)
        self._token = telegram.token
        self._names: list[str] = []

    def configure(self, *more: str) -> None:
        """Write monitor.conf, for passes in quick succession, and have the monitor read it."""
        disks = ",".join(f"/disks/{name}" for name in self._names) or "/"
        limit = 0 if self._names else 100
        lines = [
            f'TELEGRAM_BOT_TOKEN="{self._token}"',
            f'TELEGRAM_CHAT_ID="{self.telegram.chat_id}"',
            f'TELEGRAM_API_BASE="{self.base}"',
            f'HEARTBEAT_URL="{self.base}/ping/5b2a1c3e-1111-4222-8333-abcdefabcdef"',
            f'DISK_PATHS="{disks}"',
            *(f"DISK_{level}_PCT={limit}" for level in ("WARNING", "CRITICAL")),
            *(f"MEMORY_{name}=100" for name in ("PRESSURE_WARNING", "PRESSURE_THRESHOLD")),
            "MONITOR_INTERVAL_SEC=1",
            "RECOVER_ON_CRITICAL=false",
            *more,
        ]
        text = "\n".join(lines)
        self.machine.read(f"cat > {CONFIG} <<'END'\n{text}\nEND")

    def reload(self) -> None:
        """Have the running monitor read monitor.conf."""
        self.machine.read("systemctl reload vps-monitor")

    def have_a_new_alert(self) -> str:
        """Fill a disk that nobody has heard of, and return its name."""
        name = f"disk-{len(self._names):03d}-"
        self._names.append(name)
        self.machine.read(f"mkdir -p /disks/{name}")
        self.configure()
        self.reload()
        return name

    def list_ids(self, words: str) -> list[str]:
        """Return the id of every message that holds the words."""
        return [each.text.rpartition("id ")[2] for each in self.telegram.messages if re.search(words, each.text)]

    def expect_told_once(self, words: str) -> None:
        """Wait for a message, and see that no second one comes with the passes that follow."""
        wait_until(lambda: bool(self.list_ids(words)), PATIENCE_SECONDS, f"{words} was told")
        self.wait_for_passes()
        assert len(self.list_ids(words)) == 1, [each.text for each in self.telegram.messages]

    def wait_for_passes(self, count: int = 2) -> None:
        """Wait until so many passes have ended: each calls the heartbeat, or its /fail."""
        before = len(self.list_pings())
        wait_until(lambda: len(self.list_pings()) >= before + count, PATIENCE_SECONDS, f"{count} passes have ended")

    def list_pings(self) -> list[str]:
        """Return the paths of all calls of the heartbeat."""
        return [request.path for request in self.telegram.requests if request.path.startswith("/ping")]

    def kill(self, service: str) -> None:
        """End every process of a service as the kernel would, and wait until systemd has noticed."""
        self.machine.shell(f"systemctl kill --signal=KILL {service}.service")
        dying = f"systemctl show --value --property=SubState {service}.service"
        wait_until(
            lambda: self.machine.read(dying) in ("dead", "failed", "running", "auto-restart"),
            PATIENCE_SECONDS,
            "its end",
        )

    def run(self, service: str) -> None:
        """Start a service and wait for its end, whatever that is."""
        self.machine.shell(f"systemctl start {service}.service")

    def read_journal(self) -> str:
        return self.machine.read("journalctl --no-pager --output=cat --unit='vps-*'")

    def expect_sound_state(self) -> None:
        """Every file can be read, nothing is quarantined, and nothing waits."""
        names = self.machine.read(f"ls -A {STATE}").splitlines()
        assert not [name for name in names if "corrupt" in name or name == "commit.json"], names
        assert json.loads(self.machine.read(f"cat {STATE}/outbox.json"))["entries"] == []


@pytest.fixture(scope="module")
def installed(engine: DockerEngine) -> Iterator[Installed]:
    with (
        FakeTelegram(address="0.0.0.0") as telegram,  # noqa: S104 - the machine has to reach it
        systemd_machine(engine, "vps3") as machine,
    ):
        machine.read(f"mkdir -p {STATE} && mount -t tmpfs -o size=1m tmpfs {STATE}")
        here = Installed(machine, telegram)
        here.configure()
        done = machine.shell("python3 /src/install.py")
        assert done.status == 0, done
        here.wait_for_passes()
        yield here


@pytest.fixture(autouse=True)
def no_service_was_ended_by_the_sandbox(installed: Installed) -> Iterator[None]:
    """Whatever a test does: no filtered system call, no traceback, and the monitor is there at the end."""
    yield
    wait_until(
        lambda: installed.machine.shell("systemctl is-active vps-monitor").output == "active\n",
        PATIENCE_SECONDS,
        "the monitor runs",
    )
    journal = installed.read_journal()
    assert "31/SYS" not in journal
    assert "Traceback" not in journal
    assert "Operation not permitted" not in journal


def fill(machine: Machine) -> None:
    machine.shell(f"dd if=/dev/zero of={STATE}/.ballast.new bs=1k 2>/dev/null")


def make_read_only(machine: Machine) -> None:
    machine.read(f"mount -o remount,ro {STATE}")


def relieve(machine: Machine) -> None:
    machine.read(f"mount -o remount,rw {STATE} && rm -f {STATE}/.ballast.new")


@contextmanager
def broken(installed: Installed, break_disk: Callable[[Machine], None]) -> Iterator[None]:
    """The disk of the state is of no use for as long as the context lasts, and afterwards all is as it was."""
    break_disk(installed.machine)
    try:
        yield
    finally:
        relieve(installed.machine)
    waits = "ls /run/vpsmon/*/*.json"
    wait_until(lambda: installed.machine.shell(waits).status != 0, PATIENCE_SECONDS, "the state is on its disk again")
    installed.wait_for_passes()
    installed.expect_sound_state()


@pytest.mark.parametrize("break_disk", [fill, make_read_only])
def test_alerts_outlive_a_broken_disk_and_every_death_of_the_monitor(
    installed: Installed, break_disk: Callable[[Machine], None]
) -> None:
    """Nothing is lost and nothing comes twice, where the state has nowhere to be but in memory."""
    with broken(installed, break_disk):
        name = installed.have_a_new_alert()
        installed.expect_told_once(f"CRITICAL disk_usage .*{name}")
        installed.telegram.stop()
        late = installed.have_a_new_alert()
        spare = f"grep -q {late} /run/vpsmon/*/outbox.json"
        wait_until(lambda: installed.machine.shell(spare).status == 0, PATIENCE_SECONDS, "the alert waits in memory")
        # RemoveIPC= has its chance: for a moment no process of the user is left.
        installed.machine.read("systemctl stop vps-monitor vps-auto-recovery.timer vps-metrics-exporter.timer")
        installed.machine.read("systemctl start vps-monitor vps-auto-recovery.timer vps-metrics-exporter.timer")
        installed.kill("vps-monitor")
        installed.telegram.start()
        installed.expect_told_once(f"CRITICAL disk_usage .*{late}")
        for service in SERVICES[1:]:
            installed.run(service)
        assert len(installed.list_ids(f"CRITICAL disk_usage .*{name}")) == 1
        # The disk itself is an alert of one type, and so comes once in ten minutes.
        assert len(installed.list_ids("CRITICAL state_directory")) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_killed_at_work_does_its_work_the_next_time(installed: Installed, service: str) -> None:
    name = installed.have_a_new_alert()
    for _ in range(3):
        installed.machine.shell(f"systemctl start --no-block {service}.service; sleep 0.2")
        installed.kill(service)
    if service != "vps-monitor":
        installed.run(service)
        assert installed.machine.read(f"systemctl show --value --property=Result {service}.service") == "success"
    wait_until(lambda: bool(installed.list_ids(name)), PATIENCE_SECONDS, "the alert has arrived")
    # At least once: only what was on its way in the moment of death comes again, with the same id.
    assert len(set(installed.list_ids(f"CRITICAL disk_usage .*{name}"))) == 1
    installed.wait_for_passes()
    installed.expect_sound_state()


@contextmanager
def drop_in(installed: Installed, service: str, text: str) -> Iterator[None]:
    """Change a unit as `systemctl edit` does, for as long as the context lasts."""
    folder = f"/etc/systemd/system/{service}.service.d"
    installed.machine.write(f"{folder}/test.conf", text)
    installed.machine.read(f"systemctl daemon-reload && systemctl restart {service}")
    try:
        yield
    finally:
        installed.machine.read(f"rm -r {folder} && systemctl daemon-reload && systemctl restart {service}")


def test_without_memory_for_a_pass_the_monitor_lives_and_tells_when_there_is_some(installed: Installed) -> None:
    with drop_in(installed, "vps-monitor", "[Service]\nLimitAS=40M\n"):
        name = installed.have_a_new_alert()
        assert installed.machine.read("systemctl is-active vps-monitor") == "active"
        assert installed.list_ids(name) == []
    installed.expect_told_once(f"CRITICAL disk_usage .*{name}")


def test_hidden_processes_are_no_fault(installed: Installed) -> None:
    installed.machine.read("mount -o remount,hidepid=2 /proc && systemctl restart vps-monitor")
    try:
        installed.expect_told_once(f"CRITICAL disk_usage .*{installed.have_a_new_alert()}")
        for service in SERVICES[1:]:
            installed.run(service)
            assert installed.machine.read(f"systemctl show --value --property=Result {service}.service") == "success"
    finally:
        installed.machine.read("mount -o remount,hidepid=0 /proc && systemctl restart vps-monitor")


def test_a_bot_that_is_refused_is_no_health(installed: Installed) -> None:
    """Telegram answers 401 to everything: the dead-man's switch is the only one left to notice."""
    token, installed.telegram.token = installed.telegram.token, "987654321:AAnotherTokenAltogether-0123456789abc"
    installed.have_a_new_alert()
    wait_until(lambda: installed.list_pings()[-1].endswith("/fail"), PATIENCE_SECONDS, "a failure was told")
    assert "ALERTS DO NOT ARRIVE: Telegram refuses the message" in installed.machine.shell("vpsmon status").output
    installed.telegram.token = token
    wait_until(lambda: not installed.list_pings()[-1].endswith("/fail"), PATIENCE_SECONDS, "all is well again")


class Endless(http.server.BaseHTTPRequestHandler):
    """Answers everything with 16 MB that look like JSON for as long as one cares to read."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b"[")
            for _ in range(256):
                self.wfile.write(b"{}," * 21_845)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is said."""


@contextmanager
def endless_server() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Endless) as server:  # noqa: S104 - the machine has to reach it
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_an_answer_without_end_takes_no_service_down(installed: Installed) -> None:
    with endless_server() as port:
        url = f"http://{installed.machine.gateway}:{port}"
        installed.configure(f'WAHA_URL="{url}"', f'N8N_URL="{url}"', 'N8N_API_KEY="a-key-of-n8n"')
        installed.reload()
        installed.wait_for_passes()
        for service in SERVICES[1:]:
            installed.run(service)
            assert installed.machine.read(f"systemctl show --value --property=Result {service}.service") == "success"
    installed.configure()
    installed.reload()
    assert "oom-kill" not in installed.read_journal()


def test_uninstall_undoes_what_recovery_has_changed_or_removes_nothing(
    installed: Installed, engine: DockerEngine
) -> None:
    """The last one, since it leaves nothing."""
    machine = installed.machine
    with run_container(engine, "crm-blog-1", ["sleep", "600"]) as container:
        container.stop(timeout=0)
        identity = str(container.id)
        stop, start = (Action(f"{verb}_container", identity, "crm-blog-1") for verb in ("stop", "start"))
        change = Change("1", "swap_thrashing", stop, start, None, "calm", 1.0, 1_700_000_000.0)
        book = Book({}, "another-boot", 1.0, 1_700_000_000.0)
        book.changes.append(change)
        content = json.dumps({"schema": 1, **book.to_content(2.0, 1_700_000_001.0)})
        machine.read("systemctl stop vps-auto-recovery.timer vps-auto-recovery.path vps-auto-recovery.service")
        machine.read(f"cat > {STATE}/recovery_state.json <<'END'\n{content}\nEND")
        machine.read("systemctl stop docker.socket docker.service")
        refused = machine.shell("cd / && vpsmon uninstall")
        assert refused.status == 1
        assert "nothing was removed, because recovery could not undo all" in refused.errors
        assert machine.read("systemctl is-active vps-monitor") == "active"
        machine.read("systemctl start docker.socket")
        done = machine.shell("cd / && vpsmon uninstall")
        assert done.status == 0, done
        container.reload()
        assert container.status == "running"
    assert machine.shell("ls /etc/systemd/system/vps*").output == ""
    machine.read("/opt/vpsmon/venv/bin/vpsmon install")
