"""`vpsmon monitor` as a resident process: signals, reload, systemd's protocol, and what it leaves to a child."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kit import telegram as bot_api
from tests.kit.command import ConfigValue, Workdir, clean_environment, started_vpsmon, vpsmon_path
from tests.kit.docker import DockerEngine, run_container
from tests.kit.kernel import kill_by_out_of_memory, memory_pressure, wait_until
from tests.kit.recovery import QUICK, SLEEP
from tests.kit.resident import forked_watcher, report
from tests.kit.telegram import FakeTelegram
from vpsmon.config.settings import Config

SHORT: dict[str, ConfigValue] = {
    "DISK_WARNING_PCT": 100,
    "DISK_CRITICAL_PCT": 100,
    "MEMORY_CRITICAL_MB": 100_000_000,
}
PATIENCE_SECONDS = 20.0


@contextmanager
def resident(workdir: Workdir, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with started_vpsmon(["monitor", *options], env=variables, cwd=workdir.path) as process:
        yield process


def await_pass(workdir: Workdir) -> None:
    """Wait until a pass has been remembered."""
    wait_until((workdir.path / ".alerts/pass_state.json").exists, PATIENCE_SECONDS, "a first pass")


def last_pass_seconds(workdir: Workdir) -> float:
    state = json.loads((workdir.path / ".alerts/pass_state.json").read_text())
    return float(state["with_alerts"]["vpsmon.checks.kernel.refaults"]["monotonic_seconds"])


def await_another_pass(workdir: Workdir, after_seconds: float) -> None:
    wait_until(lambda: last_pass_seconds(workdir) > after_seconds, PATIENCE_SECONDS, "another pass")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_on_a_signal(workdir: Workdir, number: signal.Signals) -> None:
    with resident(workdir, "--interval", "3600") as process:
        await_pass(workdir)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_it_stops_at_once_while_a_message_hangs_and_loses_nothing(workdir: Workdir, telegram: FakeTelegram) -> None:
    have_a_hanging_alert(workdir, telegram)
    with resident(workdir, "--interval", "3600") as process:
        wait_until(lambda: len(telegram.requests) == 1, PATIENCE_SECONDS, "an attempt to send")
        process.terminate()
        # Far less than the 60 s for which the message hangs.
        process.wait(timeout=10)
        wait_until(lambda: not children_of(process.pid), PATIENCE_SECONDS, "the child's end")
    workdir.run("monitor", "--once")
    assert len(telegram.messages) == 1


def have_a_hanging_alert(workdir: Workdir, telegram: FakeTelegram) -> None:
    """There is something to tell, and Telegram takes the request and does not answer."""
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        **SHORT,
    )
    telegram.script(bot_api.hang(60))


def children_of(process_id: int) -> list[str]:
    found = subprocess.run(["pgrep", "-P", str(process_id)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_passes_follow_the_interval_and_go_on_while_a_message_hangs(workdir: Workdir, telegram: FakeTelegram) -> None:
    have_a_hanging_alert(workdir, telegram)
    with resident(workdir, "--interval", "0.3"):
        wait_until(lambda: len(telegram.requests) == 1, PATIENCE_SECONDS, "an attempt to send")
        for _ in range(3):
            await_another_pass(workdir, last_pass_seconds(workdir))
        assert len(telegram.requests) == 1


def test_passes_that_do_not_end_are_no_more_than_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that thrashes each takes half a minute and 8 MB; the kernel rings every two seconds."""

    def report_and_hang(config: Config, is_regular: bool, with_stack: bool, descriptor: int) -> int:
        report(descriptor, "ok")
        time.sleep(60)
        return 0

    monkeypatch.setattr("vpsmon.resident.watcher.run_pass", report_and_hang)
    with forked_watcher(tmp_path, 0.05) as watcher_id:
        wait_until(lambda: len(children_of(watcher_id)) == 3, PATIENCE_SECONDS, "three passes")
        time.sleep(1)
        assert len(children_of(watcher_id)) == 3
        os.kill(int(children_of(watcher_id)[0]), signal.SIGKILL)
        wait_until(lambda: len(children_of(watcher_id)) == 3, PATIENCE_SECONDS, "another one")


def test_a_hangup_reads_the_configuration_again(workdir: Workdir) -> None:
    workdir.write_config(DISK_WARNING_PCT=100, DISK_CRITICAL_PCT=100)
    history = workdir.path / ".alerts/alert_history.log"
    with resident(workdir, "--interval", "3600") as process:
        await_pass(workdir)
        workdir.write_config(**SHORT)
        process.send_signal(signal.SIGHUP)
        wait_until(history.exists, PATIENCE_SECONDS, "an alert by the new limit")
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert "configuration read again" in errors
    assert "CRITICAL memory_available" in history.read_text()


def test_a_broken_configuration_keeps_the_one_before_and_says_why(workdir: Workdir) -> None:
    workdir.write_config(**SHORT)
    with resident(workdir, "--interval", "3600") as process:
        await_pass(workdir)
        before = last_pass_seconds(workdir)
        (workdir.path / "monitor.conf").write_text("DISK_WARNIN_PCT=1")
        process.send_signal(signal.SIGHUP)
        await_another_pass(workdir, before)
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert "did you mean DISK_WARNING_PCT?" in errors
    assert "going on with the one before" in errors
    assert process.returncode == 0


def test_a_broken_configuration_at_the_start_ends_it(workdir: Workdir) -> None:
    (workdir.path / "monitor.conf").write_text("DISK_WARNIN_PCT=1")
    done = workdir.run("monitor")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_it_speaks_systemd_s_protocol(workdir: Workdir) -> None:
    address = str(workdir.path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(PATIENCE_SECONDS)
        variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
        with resident(workdir, "--interval", "3600", **variables) as process:
            messages = receive_until(listener, lambda seen: seen.count("WATCHDOG=1") >= 4)
            process.send_signal(signal.SIGHUP)
            messages += receive_until(listener, lambda seen: "RELOADING=1" in seen)
            process.terminate()
            messages += receive_until(listener, lambda seen: "STOPPING=1" in seen)
    assert messages[0] == "READY=1"
    assert any(re.fullmatch(r"STATUS=(ok|warning|critical); last pass \d\d:\d\d:\d\d", line) for line in messages)


def receive_until(listener: socket.socket, is_enough: Callable[[list[str]], bool]) -> list[str]:
    lines: list[str] = []
    while not is_enough(lines):
        lines += listener.recv(4096).decode().splitlines()
    return lines


def test_a_watchdog_meant_for_another_process_is_ignored(workdir: Workdir) -> None:
    address = str(workdir.path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(2)
        variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
        with resident(workdir, "--interval", "3600", **variables):
            receive_until(listener, lambda seen: "WATCHDOG=1" in seen)
            with pytest.raises(TimeoutError):
                listener.recv(4096)


def test_a_kill_leaves_a_state_that_the_next_run_uses(workdir: Workdir) -> None:
    workdir.write_config(**SHORT)
    with resident(workdir, "--interval", "0.1") as process:
        await_pass(workdir)
        time.sleep(0.5)
        process.kill()
        process.wait(timeout=PATIENCE_SECONDS)
    done = workdir.run("monitor", "--once")
    assert done.returncode == 0
    assert "unreadable" not in done.stderr
    assert (workdir.path / ".alerts/alert_history.log").read_text().count("CRITICAL memory_available") == 1


def test_a_hundred_passes_leave_nothing_behind(workdir: Workdir) -> None:
    with resident(workdir, "--interval", "0.1") as process:
        wait_until(lambda: count_passes(workdir) >= 20, PATIENCE_SECONDS, "the first passes")
        memory_kb = private_kb(process.pid)
        wait_until(lambda: count_passes(workdir) >= 120, PATIENCE_SECONDS * 3, "a hundred passes more")
        # A page or two of the stack; a single leaked object a pass would be more than that in a day.
        assert private_kb(process.pid) - memory_kb < 64
        process.send_signal(signal.SIGSTOP)
        # 0, 1 and 2; the pipe of the signals; the bells; and the pipe of the pass that is under way.
        assert count_files(process.pid) <= 3 + 2 + 2 + 1
        # One at the kernel checks, one that is just ending, one that asks the stack.
        assert len(children_of(process.pid)) <= 3
        process.send_signal(signal.SIGCONT)


def count_passes(workdir: Workdir) -> int:
    history = workdir.path / ".alerts/history_machine_passes.log"
    return len(history.read_text().splitlines()) if history.exists() else 0


def private_kb(process_id: int) -> int:
    """The memory of a process that is no file's; also what its copies share with it at the moment."""
    return read_number(process_id, "status", "RssAnon")


def read_number(process_id: int, file: str, name: str) -> int:
    """A number of a process, such as a size in kB."""
    text = Path(f"/proc/{process_id}/{file}").read_text()
    return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]


def test_it_is_small_and_loads_nothing_that_a_pass_loads(workdir: Workdir) -> None:
    with resident(workdir, "--interval", "3600") as process:
        await_pass(workdir)
        wait_until(lambda: not children_of(process.pid), PATIENCE_SECONDS, "the end of the pass")
        assert read_number(process.pid, "smaps_rollup", "Pss") <= 9 * 1024
        libraries = Path(f"/proc/{process.pid}/maps").read_text()
    assert not re.search("ssl|crypto|libpq|site-packages|_datetime", libraries)


@pytest.mark.alone
def test_a_stall_is_told_long_before_the_interval_is_over(workdir: Workdir) -> None:
    workdir.write_config(MEMORY_PRESSURE_WARNING=4, MEMORY_PRESSURE_THRESHOLD=100)
    history = workdir.path / ".alerts/alert_history.log"
    with resident(workdir, "--interval", "3600"):
        await_pass(workdir)
        with memory_pressure():
            wait_until(lambda: "memory_pressure" in read_if_there(history), PATIENCE_SECONDS, "an alert of the stall")


@pytest.mark.alone
def test_an_oom_kill_is_told_at_once_with_its_victim(workdir: Workdir) -> None:
    history = workdir.path / ".alerts/alert_history.log"
    with resident(workdir, "--interval", "3600"):
        await_pass(workdir)
        process_id = kill_by_out_of_memory("greedy")
        wait_until(lambda: f"greedy (pid {process_id}" in read_if_there(history), PATIENCE_SECONDS, "an alert")


def known_names(workdir: Workdir) -> set[str]:
    """The containers that recovery would go by, were the engine silent now."""
    state = json.loads(read_if_there(workdir.path / ".alerts/pass_state.json") or "{}")
    memory = state.get("with_alerts", {}).get("vpsmon.checks.stack.container_memory", {}).get("memory", {})
    return {each["name"] for each in memory.get("known", ())}


@pytest.mark.usefixtures("docker_host")
def test_a_container_is_known_as_soon_as_it_was_started(workdir: Workdir, engine: DockerEngine) -> None:
    with ExitStack() as stack:
        stack.enter_context(resident(workdir, "--interval", "3600", DOCKER_HOST=engine.url))
        stack.enter_context(run_container(engine, "before", SLEEP, **QUICK))
        wait_until(lambda: "before" in known_names(workdir), PATIENCE_SECONDS, "it is known")
        stack.enter_context(run_container(engine, "later", SLEEP, **QUICK))
        wait_until(lambda: "later" in known_names(workdir), PATIENCE_SECONDS, "another one is known")


def test_an_engine_that_starts_anew_is_listened_to_again(workdir: Workdir, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with resident(workdir, "--interval", "0.5", DOCKER_HOST=f"unix://{path}"):
        await_pass(workdir)
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
                server.listen()
                server.settimeout(PATIENCE_SECONDS)
                wait_until(lambda: "GET /events?" in first_words(server), PATIENCE_SECONDS, "it listens")
            path.unlink()


def first_words(server: socket.socket) -> str:
    """What the next client of a server says first."""
    client, _ = server.accept()
    with client:
        return client.recv(4096).decode()


def read_if_there(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_storm_of_kernel_messages_does_not_keep_it_busy(workdir: Workdir) -> None:
    with resident(workdir, "--interval", "3600") as process, open("/dev/kmsg", "wb", buffering=0) as kernel_log:
        await_pass(workdir)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            kernel_log.write(b"vpsmon test: Killed process 0 (nobody)")
            time.sleep(0.01)
        # The first pass, and one every 2 s.
        assert 2 <= count_passes(workdir) <= 4
        assert process.poll() is None


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("mount -t tmpfs none /proc/pressure", "for memory pressure: this kernel does not have it"),
        ("mount --bind -o ro $0 /proc/pressure/memory", "for memory pressure: Read-only file system"),
        ("mount --bind /dev/null /dev/kmsg", "for OOM kills: it is empty"),
    ],
    ids=["no pressure", "no trigger", "no kernel log"],
)
def test_where_the_kernel_does_not_ring_the_interval_remains_and_that_is_said_once(
    workdir: Workdir, mount: str, reason: str
) -> None:
    with resident_where(workdir, mount, "0.3") as process:
        await_pass(workdir)
        await_another_pass(workdir, last_pass_seconds(workdir))
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert errors.count(reason) == 1
    assert "it is noticed at the interval" in errors
    assert errors.count("the kernel does not wake vpsmon") == 1


@contextmanager
def resident_where(workdir: Workdir, mount: str, interval: str) -> Iterator[subprocess.Popen[str]]:
    """A monitor where these shell commands have mounted something, for it alone; $0 is a file like the pressure's."""
    ordinary = workdir.path / "pressure"
    ordinary.write_text(Path("/proc/pressure/memory").read_text())
    script = f'{mount} && shift && exec "$@"'
    namespace = ["unshare", "--mount", "sh", "-c", script, str(ordinary), "-"]
    command = [*namespace, str(vpsmon_path()), "monitor", "--interval", interval]
    with subprocess.Popen(
        command, cwd=workdir.path, env=clean_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_between_two_passes_it_sleeps(workdir: Workdir) -> None:
    nothing_rings = "mount -t tmpfs none /proc/pressure && mount --bind /dev/null /dev/kmsg"
    with resident_where(workdir, nothing_rings, "3600") as process:
        await_pass(workdir)
        wait_until(lambda: not children_of(process.pid), PATIENCE_SECONDS, "the end of the pass")
        wakings = read_number(process.pid, "status", "voluntary_ctxt_switches")
        time.sleep(2)
        assert read_number(process.pid, "status", "voluntary_ctxt_switches") <= wakings + 1


def count_files(process_id: int) -> int:
    return len(os.listdir(f"/proc/{process_id}/fd"))


@pytest.mark.parametrize(
    ("keys", "is_started"),
    [
        ({"DISK_CRITICAL_PCT": 0}, True),
        ({"DISK_CRITICAL_PCT": 0, "RECOVER_ON_CRITICAL": False}, False),
        ({"DISK_CRITICAL_PCT": 0, "ENABLE_AUTO_RECOVERY": False}, False),
    ],
    ids=["default", "not on critical", "no recovery"],
)
def test_a_critical_pass_starts_recovery_unless_that_is_switched_off(
    workdir: Workdir, keys: dict[str, ConfigValue], is_started: bool
) -> None:
    workdir.write_config(**keys)
    variables = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    with resident(workdir, "--interval", "0.5", **variables) as process:
        await_pass(workdir)
        await_another_pass(workdir, last_pass_seconds(workdir))
        if is_started:
            wait_until((workdir.path / ".alerts/recovery_state.json").exists, PATIENCE_SECONDS, "a recovery")
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert errors.count("critical: starting vpsmon recover run-all") == is_started


@pytest.mark.parametrize("is_allowed", [True, False])
def test_where_memory_is_critical_its_rule_runs_at_once_in_a_copy(workdir: Workdir, is_allowed: bool) -> None:
    workdir.write_config(**SHORT, RECOVER_ON_CRITICAL=is_allowed)
    recovery = workdir.path / ".alerts/recovery_state.json"
    with resident(workdir, "--interval", "1", DOCKER_HOST="unix:///nonexistent/docker.sock") as process:
        await_pass(workdir)
        if is_allowed:
            wait_until(recovery.exists, PATIENCE_SECONDS, "a recovery")
        else:
            await_another_pass(workdir, last_pass_seconds(workdir))
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)
        assert not children_of(process.pid)
    assert recovery.exists() == is_allowed
