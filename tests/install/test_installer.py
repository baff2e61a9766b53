"""install.py and uninstall on a machine of their own: what they ask, what stands in their way, and what they leave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.container_exec import Done
from tests.kit.docker import DockerEngine
from tests.kit.kernel import wait_until
from tests.kit.systemd_machine import PYTHON_VERSION, Machine, systemd_machine
from tests.kit.telegram import FakeTelegram

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "python3 /src/install.py"
UNITS = "vps-monitor.service vps-auto-recovery.path vps-auto-recovery.timer vps-metrics-exporter.socket"
EXPLAIN = f"systemctl show -p Id,ActiveState,Result,NRestarts {UNITS}; journalctl --no-pager -n 40"
PREFIX = "/opt/vps mon"
PATIENCE_SECONDS = 120.0
CHAT = {"id": 4711, "type": "private", "first_name": "Op"}
KEYS_OF_TELEGRAM = "grep -E '^TELEGRAM_(BOT_TOKEN|CHAT_ID)=' '{}/monitor.conf'"
# Runs a command and kills it, and nothing that it has started, when it prints the text or calls systemctl with it.
KILL_AT = """
import os, signal, subprocess, sys
point, *command = sys.argv[1:]
environment = {**os.environ, "PATH": f"/var/cache/kill:{os.environ['PATH']}", "KILL_AT": point}
process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
for line in process.stdout:
    if point in line:
        process.kill()
sys.exit(-process.wait())
"""
KILLING_SYSTEMCTL = """\
#!/bin/sh
case "$*" in *"$KILL_AT"*) kill -9 $PPID ;; esac
exec /usr/bin/systemctl "$@"
"""
# Half of the units, all of them but unknown to systemd, all but the last started.
DECISIVE_POINTS = ("wrote /etc/systemd/system/vps-metrics-exporter.service", "daemon-reload", "restart vps-monitor")
# Holds the units, starts install.py and, when that waits for them, kills it alone; then starts it once more.
HAND_OVER = """
import fcntl, os, subprocess, sys
def start():
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    print(next(line for line in process.stderr if "waiting" in line), end="", flush=True)
    return process
units = os.open("/etc/systemd/system", os.O_RDONLY)
fcntl.flock(units, fcntl.LOCK_EX)
first = start()
first.kill()
first.wait()
second = start()
os.close(units)
sys.exit(second.wait())
"""
# useradd and userdel keep a copy of each file from before their latest change.
COPIES = ("/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-")


@pytest.fixture(scope="module")
def machine(engine: DockerEngine) -> Iterator[Machine]:
    with systemd_machine(engine, "vps2") as running:
        yield running


@pytest.fixture(scope="module")
def bot() -> Iterator[FakeTelegram]:
    with FakeTelegram(address="0.0.0.0") as server:  # noqa: S104 - the machine has to reach it
        server.chats.add(CHAT["id"])  # type: ignore[arg-type]
        yield server


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """The files of the machine before anything of this file happened."""
    return machine.list_files()


def changes(before: set[str], after: set[str]) -> set[str]:
    return {line for line in before ^ after if not any(f"{copy} " in f"{line} " for copy in COPIES)}


def assert_refused(done: Done, *parts: str) -> None:
    """It failed with one line that holds these parts."""
    assert done.status == 1, done
    assert len(done.errors.splitlines()) == 1, done.errors
    assert all(part in done.errors for part in parts), done.errors
    assert "Traceback" not in done.errors


def test_no_root(machine: Machine, before: set[str]) -> None:
    assert_refused(machine.run("python3", "/src/install.py", user="nobody"), "must be run as root: sudo python3")
    assert changes(before, machine.list_files()) == set()


def test_opt_is_read_only(machine: Machine, before: set[str]) -> None:
    script = f"mount --bind /opt /opt && mount -o remount,ro,bind /opt && {INSTALL}"
    assert_refused(machine.run("unshare", "--mount", "sh", "-c", script), "/opt/vpsmon: Read-only file system")
    assert changes(before, machine.list_files()) == set()


def test_no_space(machine: Machine, before: set[str]) -> None:
    script = f"mount -t tmpfs -o size=16m tmpfs /opt && {INSTALL}"
    done = machine.run("unshare", "--mount", "sh", "-c", script)
    assert done.status == 1
    assert "no space left on the disk" in done.errors.splitlines()[-1]
    assert changes(before, machine.list_files()) == set()


def test_a_name_that_no_unit_can_hold(machine: Machine, before: set[str]) -> None:
    assert_refused(machine.shell(f"{INSTALL} --prefix /opt/100%"), "'/opt/100%'", "use a path of letters and spaces")
    assert_refused(machine.shell(f"{INSTALL} --prefix /root/vpsmon"), "/root/vpsmon is in a home")
    assert changes(before, machine.list_files()) == set()


def test_an_older_python_says_so() -> None:
    script = f"import sys; sys.version_info = (3, 9, 7, 'final', 0); exec(open({str(ROOT / 'install.py')!r}).read())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs Python 3.10 or newer" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_killed_while_the_environment_is_made_and_then_asked_everything(
    machine: Machine, bot: FakeTelegram, before: set[str]
) -> None:
    """The whole dialogue, into a folder with a space in its name."""
    begun = f"ls '{PREFIX}'/venv-*/bin/python >/dev/null 2>&1"
    machine.read(f"setsid {INSTALL} --prefix '{PREFIX}' & until {begun}; do sleep 0.1; done; kill -KILL -$!")
    left = machine.read(f"ls '{PREFIX}'")
    assert left.startswith("venv-") and "\n" not in left
    bot.updates.clear()
    base = bot.url.replace("127.0.0.1", machine.gateway)
    with machine.terminal(f"{INSTALL} --prefix '{PREFIX}'; echo status $?", {"TELEGRAM_API_BASE": base}) as terminal:
        terminal.read_until("Its token")
        terminal.type("123456789:AAWrongTokenOfSomebodyElse-0123456789")
        terminal.read_until("TELEGRAM_BOT_TOKEN is wrong")
        terminal.read_until("Its token")
        terminal.type(bot.token)
        terminal.read_until("send any message to @vpsmon_test_bot")
        bot.updates.append({"update_id": 7, "message": {"message_id": 1, "chat": CHAT, "text": "hello"}})
        terminal.read_until("A message came from Op (chat 4711)")
        terminal.read_until("Shall alerts go there?")
        terminal.type("y")
        terminal.read_to_end()
    assert "status 0" in terminal.screen, terminal.screen
    assert bot.token not in terminal.screen
    assert bot.messages[-1].chat_id == CHAT["id"]
    assert "vpsmon is installed" in bot.messages[-1].text
    keys = machine.read(KEYS_OF_TELEGRAM.format(PREFIX)).splitlines()
    assert keys == [f'TELEGRAM_BOT_TOKEN="{bot.token}"', 'TELEGRAM_CHAT_ID="4711"']
    assert machine.read(f"stat -c '%a %U' '{PREFIX}/monitor.conf'") == "640 root"
    assert machine.read("systemctl is-active vps-monitor vps-auto-recovery.path") == "active\nactive"


def test_install_py_killed_alone_leaves_its_lock_to_the_part_that_goes_on(machine: Machine) -> None:
    machine.write("/var/cache/hand_over.py", HAND_OVER)
    done = machine.shell(f"python3 /var/cache/hand_over.py {INSTALL} --prefix '{PREFIX}'")
    assert done.status == 0, done
    first, second = done.output.splitlines()
    assert "waiting for another installation on this machine" in first
    assert "waiting for another installation in this folder" in second


def test_the_services_work_in_a_folder_with_a_space(machine: Machine) -> None:
    machine.read("systemctl start vps-auto-recovery.service")
    machine.read(f"test -s '{PREFIX}/.alerts/recovery_state.json'")
    machine.read("systemctl reload vps-monitor")
    assert machine.read("cd / && vpsmon status | grep -c FAILED || true") == "0"


def test_the_manual_and_the_completion_are_of_use(machine: Machine) -> None:
    done = machine.shell("MANWIDTH=100 man --warnings vpsmon")
    assert done.errors == ""
    assert "vpsmon recover [OPTIONS] [WHAT]" in done.output
    assert f"{PREFIX}/monitor.conf" in done.output
    script = (
        ". /usr/share/bash-completion/bash_completion; _completion_loader vpsmon; "
        'COMP_WORDS=(vpsmon st); COMP_CWORD=1; _vpsmon_completion vpsmon st vpsmon; echo "${COMPREPLY[@]}"'
    )
    assert machine.run("bash", "-c", script).output.split() == ["status"]


def test_uninstall_leaves_what_is_the_owners_and_says_so(machine: Machine) -> None:
    done = machine.shell("cd / && vpsmon uninstall")
    assert done.status == 0, done
    assert f"  {PREFIX}/monitor.conf\n" in done.output
    assert f"  {PREFIX}/.alerts\n" in done.output
    assert machine.shell("ls /etc/systemd/system/vps* /usr/local/bin/vpsmon /etc/systemd/system/*/vps*").output == ""
    again = machine.shell(f"'{PREFIX}/venv/bin/vpsmon' uninstall")
    assert again.status == 0
    assert "removed" not in again.output


def kill_install(machine: Machine, point: str) -> None:
    """Run `vpsmon install` until it is killed at this point."""
    machine.write("/var/cache/kill.py", KILL_AT)
    machine.write("/var/cache/kill/systemctl", KILLING_SYSTEMCTL)
    machine.read("chmod +x /var/cache/kill/systemctl")
    done = machine.run("python3", "/var/cache/kill.py", point, f"{PREFIX}/venv/bin/vpsmon", "install")
    assert done.status == 9, done


def list_points(machine: Machine) -> list[str]:
    """Every step of installing: what is printed, and what is asked of systemctl."""
    printed = machine.read(f"'{PREFIX}/venv/bin/vpsmon' install").splitlines()
    machine.read(f"'{PREFIX}/venv/bin/vpsmon' uninstall")
    last = next(number for number, line in enumerate(printed, 1) if line.startswith("started"))
    names = printed[last - 1].removeprefix("started: ").split(", ")
    return [*printed[:last], "daemon-reload", "enable", *(f"restart {name}" for name in names)]


def test_uninstall_of_a_half_install(machine: Machine) -> None:
    uninstalled = machine.list_files()
    kill_install(machine, "restart vps-monitor")
    machine.read(f"'{PREFIX}/venv/bin/vpsmon' uninstall")
    assert {line for line in changes(uninstalled, machine.list_files()) if "/.alerts" not in line} == set()


def test_killed_at_a_step_the_next_run_finishes(machine: Machine, request: pytest.FixtureRequest) -> None:
    for point in list_points(machine) if request.config.getoption("--soak") else DECISIVE_POINTS:
        kill_install(machine, point)
        again = machine.shell(f"'{PREFIX}/venv/bin/vpsmon' install")
        assert again.status == 0, (point, again)
        states = machine.shell(f"systemctl is-active {UNITS}; systemctl is-enabled {UNITS}")
        assert set(states.output.split()) == {"active", "enabled"}, (point, states, machine.read(EXPLAIN))
        machine.read(f"'{PREFIX}/venv/bin/vpsmon' uninstall")


def test_a_unit_of_somebody_else(machine: Machine) -> None:
    machine.write("/etc/systemd/system/vps-monitor.service", "[Service]\nExecStart=/bin/true\n")
    machine.read("ln -s /nowhere /usr/local/bin/vpsmon")
    command = f"'{PREFIX}/venv/bin/vpsmon' install"
    listed = machine.list_files()
    assert_refused(machine.shell(command), "/etc/systemd/system/vps-monitor.service is there already", "move it away")
    machine.read(f"'{PREFIX}/venv/bin/vpsmon' uninstall")
    assert changes(listed, machine.list_files()) == set()
    machine.read("rm /etc/systemd/system/vps-monitor.service")
    assert_refused(machine.shell(command), "/usr/local/bin/vpsmon is a link to /nowhere already", "move it away")
    machine.read("rm /usr/local/bin/vpsmon")


def test_a_faulty_configuration_is_said_before_anything_is_installed(machine: Machine) -> None:
    machine.read(f"cp '{PREFIX}/monitor.conf' /tmp/conf; echo 'DISK_WARNIG_PCT=80' >> '{PREFIX}/monitor.conf'")
    done = machine.shell(f"'{PREFIX}/venv/bin/vpsmon' install")
    machine.read(f"cat /tmp/conf > '{PREFIX}/monitor.conf'")
    assert_refused(done, "DISK_WARNIG_PCT: unknown key; did you mean DISK_WARNING_PCT?")
    assert machine.shell("ls /etc/systemd/system/vps*").output == ""


def test_purge_asks_first_and_leaves_the_machine_as_it_was(machine: Machine, before: set[str]) -> None:
    machine.read(f"'{PREFIX}/venv/bin/vpsmon' install")
    state = f"'{PREFIX}/.alerts/pass_state.json'"
    # Other people's, as it may be in a folder like /opt.
    machine.read(f"mkdir -p '{PREFIX}/venv-x/bin' && touch '{PREFIX}/venv-x/pyvenv.cfg' '{PREFIX}/venv-x/bin/python'")
    wait_until(lambda: machine.shell(f"test -s {state}").status == 0, PATIENCE_SECONDS, "a pass")
    refused = machine.shell("cd / && vpsmon uninstall --purge")
    assert refused.status == 1
    assert f"  {PREFIX}/monitor.conf\n" in refused.output
    assert "say --yes" in refused.errors
    done = machine.shell("cd / && vpsmon uninstall --purge --yes")
    assert done.status == 0, done
    assert done.output.endswith("nothing is left\n")
    machine.read(f"rm -r '{PREFIX}/venv-x' && rmdir '{PREFIX}'")
    assert changes(before, machine.list_files()) == set()


def test_no_python_venv_and_no_way_to_get_it(machine: Machine) -> None:
    packages = f"python3-venv python{PYTHON_VERSION}-venv"
    machine.read(f"dpkg --remove --force-depends {packages} && rm -r /etc/apt/sources.list*")
    done = machine.shell(INSTALL)
    assert done.status == 1
    assert "running apt-get install -y python3-venv" in done.errors
    assert "this command failed: apt-get" in done.errors
    assert "Traceback" not in done.errors
