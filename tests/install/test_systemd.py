"""The real installation on a real systemd, as the services see it: installed, watched, frozen, killed, upgraded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pytest

import install
from tests.kit.container_exec import Done
from tests.kit.docker import DockerEngine
from tests.kit.kernel import wait_until
from tests.kit.systemd_machine import Machine, systemd_machine
from tests.kit.telegram import FakeTelegram

INSTALL = "python3 /src/install.py"
LINK = "/usr/local/bin/vpsmon"
STATE = "/opt/vpsmon/.alerts"
UNITS = (
    "vps-monitor.service",
    "vps-auto-recovery.timer",
    "vps-auto-recovery.path",
    "vps-daily-report.timer",
    "vps-metrics-exporter.timer",
    "vps-metrics-exporter.socket",
)
SERVICES = ("vps-monitor", "vps-auto-recovery", "vps-daily-report", "vps-metrics-exporter")
MOST_EXPOSED = 2.0
PATIENCE_SECONDS = 120.0


class Installed(NamedTuple):
    """A machine with vpsmon on it, and what installing it printed."""

    machine: Machine
    result: Done


@pytest.fixture(scope="module")
def bot() -> Iterator[FakeTelegram]:
    with FakeTelegram(address="0.0.0.0") as server:  # noqa: S104 - the machine has to reach it
        yield server


@pytest.fixture(scope="module")
def installed(engine: DockerEngine, bot: FakeTelegram) -> Iterator[Installed]:
    """Installed without a terminal, so that Telegram is set up from the environment."""
    with systemd_machine(engine) as machine:
        keys = {
            "TELEGRAM_BOT_TOKEN": bot.token,
            "TELEGRAM_CHAT_ID": str(bot.chat_id),
            "TELEGRAM_API_BASE": bot.url.replace("127.0.0.1", machine.gateway),
        }
        yield Installed(machine, machine.shell(INSTALL, env=keys))


@pytest.fixture
def machine(installed: Installed) -> Machine:
    assert installed.result.status == 0, installed.result
    return installed.machine


def show(machine: Machine, unit: str, name: str) -> str:
    """A property of a unit."""
    return machine.read(f"systemctl show --value --property={name} {unit}")


def main_pid(machine: Machine) -> int:
    return int(show(machine, "vps-monitor", "MainPID"))


def journal(machine: Machine, unit: str) -> str:
    return machine.read(f"journalctl --no-pager --output=cat --unit={unit}")


@contextmanager
def drop_in(machine: Machine, unit: str, text: str) -> Iterator[None]:
    """Change a unit as `systemctl edit` does, for as long as the context lasts."""
    machine.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
    machine.read("systemctl daemon-reload")
    try:
        yield
    finally:
        machine.read(f"rm -r /etc/systemd/system/{unit}.d && systemctl daemon-reload")


def test_one_command_installs_and_everything_is_active(machine: Machine, installed: Installed) -> None:
    told = installed.result.output
    assert "user vpsmon, in group docker\n" in told
    assert "TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID, TELEGRAM_API_BASE: taken from the environment\n" in told
    assert re.search(r"vps-monitor +service running\n", told)
    assert re.search(r"last pass +20\S+ \S+ \S+ \(\d+ s ago\)", told)
    for unit in UNITS:
        assert (show(machine, unit, "ActiveState"), show(machine, unit, "UnitFileState")) == ("active", "enabled")
    assert "active" in machine.read("systemctl is-active vpsmon.slice")
    assert machine.read("stat -c '%a %U' /opt/vpsmon/monitor.conf /opt/vpsmon/.alerts") == "640 root\n711 vpsmon"


def test_systemd_finds_nothing_wrong_with_the_units(machine: Machine) -> None:
    done = machine.shell("systemd-analyze verify /etc/systemd/system/vps*.*")
    assert (done.status, done.output, done.errors) == (0, "", "")


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_is_more_exposed_than_it_has_to_be(machine: Machine, service: str) -> None:
    text = machine.read(f"systemd-analyze security --offline=true --no-pager /etc/systemd/system/{service}.service")
    assert float(text.split("level for")[1].split(":")[1].split()[0]) <= MOST_EXPOSED


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_can_do_its_work_in_its_sandbox(machine: Machine, service: str) -> None:
    unit = f"{service}.service"
    selftest = f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=-{LINK} selftest\n"
    with drop_in(machine, unit, selftest):
        machine.read(f"systemctl restart {unit}")
    machine.read("systemctl restart vps-monitor.service")
    told = journal(machine, unit)
    for name in ("configuration", "state directory", "/proc", "memory pressure", "kernel log", "Docker", "Telegram"):
        assert re.search(rf"(?m)^OK +{name}  ", told), told


@pytest.mark.parametrize("service", SERVICES)
def test_the_monitor_alone_may_end_processes_of_others(machine: Machine, service: str) -> None:
    unit = f"{service}.service"
    try_it = "/bin/sh -c 'if kill -0 1; then echo it may; else echo it must not; fi'"
    with drop_in(machine, unit, f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={try_it}\n"):
        machine.read(f"systemctl restart {unit}")
    machine.read("systemctl restart vps-monitor.service")
    assert ("it may\n" in journal(machine, unit)) == (service == "vps-monitor")


def run_client(machine: Machine, script: str) -> str:
    """What a Python program on the machine prints that can call `fetch` and connect to ADDRESS."""
    head = "import socket, urllib.request\nADDRESS = ('127.0.0.1', 19633)\n"
    url = "http://127.0.0.1:19633/metrics"
    fetch = f"def fetch():\n    return urllib.request.urlopen('{url}', timeout=20).read().decode()\n"
    machine.write("/root/client.py", head + fetch + script)
    machine.read("systemctl start vps-metrics-exporter.service")
    return machine.read("python3 /root/client.py")


def test_a_crowd_of_clients_neither_shuts_out_a_scrape_nor_closes_the_socket(machine: Machine) -> None:
    # 15 that say nothing, one that asks; then more, and faster, than systemd allows a socket by default.
    crowd = """
held = [socket.create_connection(ADDRESS) for _ in range(15)]
print(fetch())
for _ in range(400):
    socket.create_connection(ADDRESS).close()
"""
    assert "vpsmon_build_info" in run_client(machine, crowd)
    left = "systemctl list-units --no-legend --all 'vps-metrics-exporter@*'"
    wait_until(lambda: machine.read(left).strip() == "", PATIENCE_SECONDS, "all scrapes have ended")
    assert show(machine, "vps-metrics-exporter.socket", "ActiveState") == "active"
    assert "vpsmon_build_info" in run_client(machine, "print(fetch())")


def test_a_scrape_can_read_no_secret_and_is_hardly_exposed(machine: Machine) -> None:
    unit = "vps-metrics-exporter@.service"
    text = machine.read(f"systemd-analyze security --offline=true --no-pager /etc/systemd/system/{unit}")
    assert float(text.split("level for")[1].split(":")[1].split()[0]) <= MOST_EXPOSED
    spy = f"[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo here; cat /opt/vpsmon/monitor.conf {STATE}/*.json'\n"
    with drop_in(machine, unit, spy):
        seen = run_client(machine, "print(socket.create_connection(ADDRESS).makefile().read())")
    assert seen == "here"


def test_the_monitor_outlives_docker(machine: Machine) -> None:
    before = main_pid(machine)
    machine.read("systemctl stop docker.socket docker.service")
    assert "Docker   " in machine.shell("vpsmon status").output
    machine.read("systemctl reload vps-monitor")
    assert main_pid(machine) == before
    assert show(machine, "vps-monitor", "ActiveState") == "active"
    machine.read("systemctl start docker.socket")


def test_a_killed_monitor_comes_back(machine: Machine) -> None:
    before = main_pid(machine)
    machine.read(f"kill -9 {before}")
    wait_until(lambda: main_pid(machine) != before, PATIENCE_SECONDS, "systemd has noticed")
    wait_until(lambda: show(machine, "vps-monitor", "ActiveState") == "active", PATIENCE_SECONDS, "it is active")
    assert main_pid(machine) not in (0, before)


def test_a_frozen_monitor_is_restarted(machine: Machine) -> None:
    with drop_in(machine, "vps-monitor.service", "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n"):
        machine.read("systemctl restart vps-monitor")
        frozen = main_pid(machine)
        machine.read(f"kill -STOP {frozen}")
        wait_until(lambda: main_pid(machine) not in (0, frozen), PATIENCE_SECONDS, "another monitor runs")
    machine.read("systemctl restart vps-monitor")
    assert "Watchdog timeout" in journal(machine, "vps-monitor")


def has_elapsed(machine: Machine, timer: str) -> bool:
    return show(machine, timer, "LastTriggerUSec") not in ("", "n/a")


def test_the_timers_have_soon_done_their_first_work(machine: Machine) -> None:
    """The recovery is due a minute after installing: the tests above pass that time."""
    for timer in ("vps-auto-recovery.timer", "vps-metrics-exporter.timer"):
        wait_until(partial(has_elapsed, machine, timer), PATIENCE_SECONDS, f"{timer} has elapsed")
    written = f"test -s {STATE}/recovery_state.json"
    wait_until(lambda: machine.shell(written).status == 0, PATIENCE_SECONDS, "a recovery has run")
    assert show(machine, "vps-auto-recovery.service", "Result") == "success"
    assert "nothing to do" in journal(machine, "vps-auto-recovery.service")
    assert "memory_pressure_score " in machine.read(f"cat {STATE}/metrics/metrics.prom")
    assert show(machine, "vps-metrics-exporter.service", "Result") == "success"
    passes = json.loads(machine.read(f"cat {STATE}/pass_state.json"))["last_pass"]
    assert {"kernel", "stack"} <= passes.keys()


def test_status_says_that_everything_runs(machine: Machine) -> None:
    done = machine.shell("cd / && vpsmon status")
    assert done.status == 0, done.output
    assert re.search(r"vps-auto-recovery +path waiting, service idle, timer next in \d+ ", done.output)


def test_metrics_can_be_fetched_and_read_by_others(machine: Machine) -> None:
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:19633/metrics', timeout=9).read().decode())"
    assert "memory_pressure_score " in machine.run("python3", "-c", script).output
    assert "memory_pressure_score " in machine.run("cat", f"{STATE}/metrics/metrics.prom", user="nobody").output
    assert machine.run("ls", STATE, user="nobody").status != 0


def test_a_critical_pass_is_told_and_starts_recovery_without_any_privilege(machine: Machine, bot: FakeTelegram) -> None:
    machine.read("cp -p /opt/vpsmon/monitor.conf /tmp/before && systemctl stop vps-auto-recovery.timer")
    runs = journal(machine, "vps-auto-recovery.service").count("nothing to do")
    limits = "DISK_WARNING_PCT=0\\nDISK_CRITICAL_PCT=0\\n"
    machine.read(f"printf '{limits}' >> /opt/vpsmon/monitor.conf && systemctl reload vps-monitor")
    wait_until(
        lambda: journal(machine, "vps-auto-recovery.service").count("nothing to do") > runs,
        PATIENCE_SECONDS,
        "a recovery has run",
    )
    assert "critical: starting vps-auto-recovery.service" in journal(machine, "vps-monitor")
    assert machine.read(f"stat -c %U {STATE}/recovery_request") == "vpsmon"
    told = "CRITICAL disk_usage /"
    wait_until(lambda: any(told in each.text for each in bot.messages), PATIENCE_SECONDS, "the alert has arrived")
    machine.read("cat /tmp/before > /opt/vpsmon/monitor.conf && systemctl reload vps-monitor")
    machine.read("systemctl start vps-auto-recovery.timer")


def test_root_by_hand_leaves_nothing_that_the_services_cannot_write(machine: Machine) -> None:
    machine.read(f"systemctl stop vps-monitor vps-auto-recovery.timer; find {STATE} -mindepth 1 -delete")
    for command in ("monitor --once", "recover", "export", "report", "selftest"):
        machine.shell(f"cd / && vpsmon {command}")
    assert machine.read(f"ls -A {STATE}").splitlines()
    assert machine.read(f"find {STATE} ! -user vpsmon -o ! -group vpsmon") == ""
    machine.read("systemctl start vps-auto-recovery.timer vps-monitor")


def test_the_report_comes_at_eight_by_the_clock_of_the_machine(machine: Machine) -> None:
    """The clock is that of the host and must not be turned, so the time of the report is."""
    assert " 08:00:00" in machine.read("systemctl list-timers --all vps-daily-report.timer")
    soon = machine.read("date -d '+3 seconds' '+%F %T'")
    ended = "InactiveEnterTimestampMonotonic"
    before = show(machine, "vps-daily-report.service", ended)
    with drop_in(machine, "vps-daily-report.timer", f"[Timer]\nOnCalendar=\nOnCalendar={soon}\n"):
        machine.read("systemctl restart vps-daily-report.timer")
        service = "vps-daily-report.service"
        wait_until(lambda: show(machine, service, ended) != before, PATIENCE_SECONDS, "a report was made")
    assert show(machine, "vps-daily-report.service", "Result") == "success"
    assert machine.read(f"ls {STATE}/reports") == f"{machine.read('date +%F')}.txt"
    machine.read("systemctl restart vps-daily-report.timer")


def test_a_deleted_state_directory_comes_back_with_its_owner(machine: Machine) -> None:
    machine.read(f"rm -r {STATE} && systemctl restart vps-monitor")
    assert machine.read(f"stat -c '%a %U' {STATE}") == "711 vpsmon"
    # One of them may have run just then, and failed.
    machine.read("systemctl start vps-auto-recovery vps-metrics-exporter")


def test_status_and_selftest_see_a_unit_that_is_down(machine: Machine) -> None:
    machine.read("systemctl stop vps-auto-recovery.path")
    status, selftest = machine.shell("vpsmon status"), machine.shell("vpsmon selftest")
    machine.read("systemctl start vps-auto-recovery.path")
    assert status.status == 3
    assert "path NOT RUNNING: sudo systemctl start vps-auto-recovery.path" in status.output
    assert re.search(r"FAIL +units +vps-auto-recovery.path NOT RUNNING", selftest.output)
    machine.read("gpasswd --delete vpsmon docker")
    selftest = machine.shell("vpsmon selftest")
    machine.read("usermod --append --groups docker vpsmon")
    assert "not in the group docker, and cannot see containers: sudo vpsmon install" in selftest.output


def test_a_second_run_changes_nothing_and_respects_what_is_off(machine: Machine) -> None:
    machine.read("systemctl disable --now vps-daily-report.timer")
    before = machine.list_files()
    done = machine.shell(INSTALL)
    assert done.status == 0, done
    assert "wrote" not in done.output
    assert "making" not in done.errors
    assert "vps-daily-report.timer stays off\n" in done.output
    changed = before ^ machine.list_files()
    assert {line for line in changed if f"{STATE}/" not in line and ".service-" not in line} == set()
    machine.read("systemctl enable --now vps-daily-report.timer")


def test_an_upgrade_that_fails_leaves_the_old_version_running(machine: Machine) -> None:
    sources = " ".join(f"/src/{name}" for name in ("install.py", *install.SOURCES))
    machine.read(f"mkdir /new && cp -r {sources} /new")
    machine.read("echo 'raise SystemExit(\"a broken release\")' >> /new/vpsmon/resident/watcher.py")
    machine.read("echo 'OOMScoreAdjust=1' >> /new/units/sandbox")
    before = machine.read("readlink /opt/vpsmon/venv; cat /etc/systemd/system/vps*.*")
    failed = machine.shell("python3 /new/install.py")
    assert failed.status == 1
    assert "vps-monitor.service does not start" in failed.errors
    assert "the upgrade failed, as said above; the version from before runs on" in failed.errors
    assert "Traceback" not in failed.errors
    assert machine.read("readlink /opt/vpsmon/venv; cat /etc/systemd/system/vps*.*") == before
    assert machine.read("systemctl is-active vps-monitor") == "active"
    machine.read("rm -r /new")


def test_an_upgrade_replaces_the_old_version(machine: Machine) -> None:
    """Simulated by giving the present one another name: what a finished upgrade leaves must be the new one alone."""
    machine.read("cd /opt/vpsmon && cp -r $(readlink venv) venv-of-before && ln -sfn venv-of-before venv")
    # A unit that the old version did not have.
    machine.read("mkdir /opt/vpsmon/venv-x && touch /opt/vpsmon/venv-x/pyvenv.cfg")
    machine.read("systemctl disable --now vps-auto-recovery.path && rm /etc/systemd/system/vps-auto-recovery.path")
    assert machine.shell(INSTALL).status == 0
    # The new one, and what is other people's.
    assert len(machine.read("ls -d /opt/vpsmon/venv-*").splitlines()) == 2
    assert machine.read("ls -A /opt/vpsmon/venv-x") == "pyvenv.cfg"
    assert machine.read("systemctl is-active vps-monitor vps-auto-recovery.path") == "active\nactive"
