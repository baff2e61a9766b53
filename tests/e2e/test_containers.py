"""Containers of a real engine: what is found, measured and judged, and every way in which the engine can fail."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.kit.docker import DockerEngine, docker_engine, import_busybox_image, internal_network, run_container
from tests.kit.kernel import wait_until
from vpsmon.checks.stack import container_memory, container_restarts, container_state
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, NotApplicable, Previous, ReadError
from vpsmon.net.http_client import request
from vpsmon.stack.docker import client as docker_client
from vpsmon.stack.docker import containers
from vpsmon.stack.docker.addresses import find_addresses
from vpsmon.stack.docker.api import ApiError, Engine
from vpsmon.stack.docker.cgroups import read_usage
from vpsmon.system.host import Host

SETTINGS = Settings()
COMPOSE = {"com.docker.compose.project": "crm"}
LONG_LABEL = 'it\'s "odd"\n\x1b[31m🐘 ' + "x" * 4096


@pytest.fixture(autouse=True)
def docker_host(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)


class Watch:
    """One check on the real engine, pass after pass."""

    def __init__(self, check: ModuleType) -> None:
        self.check = check
        self.previous: Previous | None = None

    def look(self) -> dict[str | None, Finding]:
        reading = self.check.read(Host(), SETTINGS, self.previous)
        findings = self.check.judge(reading, SETTINGS, self.previous)
        # As the state file keeps it.
        self.previous = Previous(json.loads(json.dumps(self.check.remember(reading, self.previous))), 1.0)
        return {finding.object: finding for finding in findings}

    def wait_for(self, name: str, text: str, seconds: float = 60) -> Finding:
        found: list[Finding] = []

        def has_text() -> bool:
            found[:] = [self.look()[name]]
            return text in found[0].message

        wait_until(has_text, seconds, f"{name} says {text!r}")
        return found[0]


def labels(service: str, **more: str) -> dict[str, str]:
    return COMPOSE | {"com.docker.compose.service": service} | more


def parse_size(text: str) -> float:
    """Bytes of a size as the docker command prints it: 41.54MiB."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * 1024.0 ** ["B", "KiB", "MiB", "GiB"].index(unit)


FILLED_BYTES = 40 * 1024 * 1024


def test_memory_and_limit_are_what_docker_stats_shows(engine: DockerEngine) -> None:
    fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=40; dd if=/dev/zero of=/y bs=1M count=30; exec sleep 600"
    with ExitStack() as stack:
        stack.enter_context(run_container(engine, "filled", ["sh", "-c", fill], mem_limit="100m"))
        stack.enter_context(run_container(engine, "free", ["sh", "-c", fill]))
        memory = Watch(container_memory)
        wait_until(lambda: (memory.look()["filled"].value or 0) >= FILLED_BYTES, 30, "the memory is filled")
        # The kernel moves the pages of a file between its lists for a while, which docker stats and we count alike,
        # but not at the same moment.
        wait_until(lambda: is_what_docker_shows(engine, memory.look()), 60, "the same memory as docker stats")
        findings = memory.look()
        assert "limit of 100 MB" in findings["filled"].message
        assert "no limit" in findings["free"].message


def is_what_docker_shows(engine: DockerEngine, findings: dict[str | None, Finding]) -> bool:
    """Whether docker stats shows the same memory for the same containers, within 2 %."""
    command = ["docker", "--host", engine.url, "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    used = {line.split()[0]: parse_size(line.split()[1]) for line in shown.splitlines()}
    return {"filled", "free"} <= used.keys() and all(
        findings[name].value == pytest.approx(size, rel=0.02) for name, size in used.items() if name in findings
    )


def test_names_services_and_addresses_of_a_compose_stack_without_published_ports(engine: DockerEngine) -> None:
    with ExitStack() as stack:
        stack.enter_context(internal_network(engine, "crm_backend"))
        serve = ["httpd", "-f", "-p", "8080"]
        options: dict[str, Any] = {"labels": labels("n8n", note=LONG_LABEL), "network": "crm_backend"}
        stack.enter_context(run_container(engine, "crm-n8n-1", serve, environment={"A": "b=c"}, **options))
        worker: dict[str, Any] = {"labels": labels("n8n-worker"), "network": "crm_backend"}
        stack.enter_context(run_container(engine, "crm-n8n-worker-1", ["sleep", "600"], **worker))
        stack.enter_context(run_container(engine, "sidecar", ["sleep", "600"], network_mode="container:crm-n8n-1"))
        stack.enter_context(run_container(engine, "onhost", ["sleep", "600"], network_mode="host"))
        found = containers.read_containers(Host(), SETTINGS)
        n8n = containers.find_container(found, "n8n")
        assert n8n is not None
        assert (n8n.name, n8n.project, n8n.labels["note"], n8n.environment["A"]) == (
            "crm-n8n-1",
            "crm",
            LONG_LABEL,
            "b=c",
        )
        address = find_addresses(found, n8n, 8080)[0]
        assert request("GET", f"http://{address.host}:{address.port}/", None, {}, 5.0).status == 404
        sidecar, onhost = (containers.find_container(found, name) for name in ("sidecar", "onhost"))
        assert sidecar and onhost
        assert find_addresses(found, sidecar, 8080)[0].host == address.host
        assert find_addresses(found, onhost, 80)[0].host == "127.0.0.1"


def test_a_published_port_is_known_with_the_address_it_is_bound_to(engine: DockerEngine) -> None:
    ports = {"80/tcp": ("127.0.0.1", 0)}
    with run_container(engine, "published", ["sleep", "600"], ports=ports) as container:
        container.reload()
        host_port = int(container.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        found = containers.read_containers(Host(), SETTINGS)
        published = containers.find_container(found, "published")
        assert published
        addresses = find_addresses(found, published, 80)
        assert (addresses[-1].host, addresses[-1].port) == ("127.0.0.1", host_port)


def test_a_crash_loop_is_a_warning_and_names_the_exit_status(engine: DockerEngine) -> None:
    options: dict[str, Any] = {"restart_policy": {"Name": "always"}}
    with run_container(engine, "crm-fail-1", ["/bin/false"], **options):
        watch = Watch(container_restarts)
        looping = watch.wait_for("crm-fail-1", "restarts in 5 min, warning above 5")
        assert looping.status == "warning"
        assert looping.value and looping.value > 5
        assert "it exited (1)" in watch.wait_for("crm-fail-1", "before the last one").message
        states = Watch(container_state)
        assert states.wait_for("crm-fail-1", "restarting: exited (1)").status == "warning"


def test_one_restart_by_hand_is_counted_once_and_is_no_alarm(engine: DockerEngine) -> None:
    with run_container(engine, "crm-web-1", ["sleep", "600"]) as container:
        watch = Watch(container_restarts)
        assert watch.look()["crm-web-1"].value == 0
        container.restart(timeout=0)
        findings = [watch.look()["crm-web-1"] for _ in range(4)]
        assert [(finding.value, finding.status) for finding in findings] == [(1, "ok")] * 4


def test_a_failing_health_check_is_critical_for_an_essential_container_only(engine: DockerEngine) -> None:
    check = {"test": ["CMD", "/bin/false"], "interval": 500_000_000, "retries": 1}
    with ExitStack() as stack:
        for service in ("waha", "other"):
            options: dict[str, Any] = {"healthcheck": check, "labels": labels(service)}
            stack.enter_context(run_container(engine, f"crm-{service}-1", ["sleep", "600"], **options))
        watch = Watch(container_state)
        assert watch.wait_for("crm-waha-1", "health check fails").status == "critical"
        assert watch.wait_for("crm-other-1", "health check fails").status == "warning"


@pytest.mark.alone
def test_the_ways_to_end_are_told_apart(engine: DockerEngine) -> None:
    heap = "echo 'FATAL ERROR: Ineffective mark-compacts near heap limit - JavaScript heap out of memory' >&2; exit 134"
    with ExitStack() as stack:
        run = stack.enter_context
        watch = Watch(container_state)
        watch.look()
        run(run_container(engine, "heap", ["sh", "-c", heap]))
        run(run_container(engine, "abort", ["sh", "-c", "echo something else; exit 134"]))
        run(run_container(engine, "oom", ["tail", "/dev/zero"], mem_limit="16m", memswap_limit="16m"))
        run(run_container(engine, "job", ["true"]))
        run(run_container(engine, "postgres", ["sleep", "600"])).kill()
        assert "the JavaScript heap was full" in watch.wait_for("heap", "exited (134)").message
        assert "it aborted" in watch.wait_for("abort", "exited (134)").message
        assert "OOM killer ended it at its memory limit" in watch.wait_for("oom", "exited (137)").message
        assert watch.wait_for("job", "exited (0)").status == "ok"
        killed = watch.wait_for("postgres", "killed manually")
        assert killed.status == "critical"
        assert "JavaScript heap" in watch.look()["heap"].message  # remembered, not looked up again


def test_a_full_javascript_heap_is_named_although_the_container_runs_again(engine: DockerEngine) -> None:
    script = (
        "if [ -e /was ]; then exec sleep 600; fi; touch /was; sleep 1; echo JavaScript heap out of memory; exit 134"
    )
    with run_container(engine, "n8n", ["sh", "-c", script], restart_policy={"Name": "always"}):
        finding = Watch(container_restarts).wait_for("n8n", "1 restart in")
        assert "the JavaScript heap was full" in finding.message
        assert finding.status == "ok"


@pytest.mark.alone
def test_a_worker_killed_inside_a_living_container_is_counted_in_its_memory_row(engine: DockerEngine) -> None:
    script = "tail /dev/zero; exec sleep 600"
    options = {"mem_limit": "16m", "memswap_limit": "16m"}
    with run_container(engine, "crm-pg-1", ["sh", "-c", script], **options):
        Watch(container_memory).wait_for("crm-pg-1", "the OOM killer ended 1 in it since its start")


def test_a_container_that_vanishes_after_it_was_listed_is_left_out(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = Engine.inspect_container

    def remove_first(client: Engine, container: str) -> Any:
        if container == doomed.id:
            doomed.remove(force=True)
        return inspect(client, container)

    with run_container(engine, "stays", ["sleep", "600"]), run_container(engine, "goes", ["sleep", "600"]) as doomed:
        monkeypatch.setattr(Engine, "inspect_container", remove_first)
        names = {container.name for container in containers.read_containers(Host(), SETTINGS)}
        assert "stays" in names
        assert "goes" not in names


def test_a_container_that_ends_before_it_is_measured_is_unknown_and_not_zero(engine: DockerEngine) -> None:
    with run_container(engine, "short", ["sleep", "600"]) as container:
        host = Host()
        found = containers.find_container(containers.read_containers(host, SETTINGS), "short")
        assert found
        container.kill()
        container.wait(timeout=30)
        with pytest.raises(ReadError, match="ended"):
            read_usage(host, found.id, found.pid)


def test_a_container_that_cannot_be_inspected_does_not_hide_the_others(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = Engine.inspect_container

    def fail_on_one(client: Engine, container: str) -> Any:
        if container == damaged.id:
            raise ApiError(500, "RWLayer is unexpectedly nil")
        return inspect(client, container)

    with run_container(engine, "fine", ["sleep", "600"]), run_container(engine, "damaged", ["sleep", "600"]) as damaged:
        monkeypatch.setattr(Engine, "inspect_container", fail_on_one)
        for check in (container_memory, container_state, container_restarts):
            findings = Watch(check).look()
            assert findings["damaged"].status == "unknown"
            assert "RWLayer is unexpectedly nil" in (findings["damaged"].reason or "")
            assert findings["fine"].status in ("ok", "skipped")


def test_without_a_socket_the_rows_are_not_applicable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(NotApplicable, match="no Docker engine at unix"):
        container_memory.read(Host(), SETTINGS, None)


def test_an_engine_that_ran_containers_and_is_gone_is_missed(engine: DockerEngine, tmp_path: Path) -> None:
    with run_container(engine, "before", ["sleep", "600"]), pytest.MonkeyPatch.context() as patch:
        watch = Watch(container_state)
        watch.look()
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        missed = watch.look()[None]
    assert missed.status == "unknown"
    assert "no Docker engine at unix" in (missed.reason or "")


def test_a_socket_that_nobody_listens_at_says_how_to_start_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(ReadError, match="is not running: systemctl start docker"):
        container_state.read(Host(), SETTINGS, None)


def test_a_user_without_rights_is_told_of_the_docker_group(engine: DockerEngine) -> None:
    # The folder of the socket is open to root only; to the socket itself the user has to get.
    script = (
        "import os; from vpsmon.system.host import Host; from vpsmon.config.settings import Settings\n"
        "from vpsmon.core.findings import ReadError; from vpsmon.checks.stack import container_memory\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: container_memory.read(Host(), Settings(), None)\n"
        "except ReadError as error: print(error)\n"
    )
    with _reachable_socket(engine) as url:
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"DOCKER_HOST": url},
            check=False,
        )
    assert "may not be used by this user" in done.stdout, done.stderr
    assert "group docker" in done.stdout


@contextmanager
def _reachable_socket(engine: DockerEngine) -> Iterator[str]:
    """The engine's own socket, its folder open to pass through; the socket itself stays root's."""
    mode = engine.folder.stat().st_mode
    engine.folder.chmod(0o711)
    engine.socket.chmod(0o660)
    try:
        yield engine.url
    finally:
        engine.folder.chmod(mode)


def test_a_hung_engine_is_one_line_within_the_time_of_a_check() -> None:
    # An engine of this test's own, stopped in its tracks.
    with docker_engine() as hung, pytest.MonkeyPatch.context() as patch:
        import_busybox_image(hung)
        patch.setenv("DOCKER_HOST", hung.url)
        with run_container(hung, "still", ["sleep", "600"]):
            watches = [Watch(check) for check in (container_memory, container_state, container_restarts)]
            watches[0].look()
            dockerd = int((hung.folder / "dockerd.pid").read_text())
            os.kill(dockerd, signal.SIGSTOP)
            try:
                started = time.monotonic()
                host = Host()
                for watch in watches:
                    with pytest.raises(ReadError, match="does not answer in time: it hangs"):
                        watch.check.read(host, SETTINGS, None)
                seconds = time.monotonic() - started
            finally:
                os.kill(dockerd, signal.SIGCONT)
            assert docker_client.TIMEOUT_SECONDS - 1 < seconds < docker_client.TIMEOUT_SECONDS + 1
            wait_until(lambda: "still" in watches[0].look(), 30, "the engine answers again")


def test_an_engine_that_accepts_and_answers_nonsense_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import http.server
    import threading

    class Nonsense(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>not Docker</html>")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Nonsense) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        with pytest.raises(ReadError, match="Docker at tcp://"):
            container_memory.read(Host(), SETTINGS, None)
        server.shutdown()


def test_an_essential_container_that_is_removed_is_missed_until_there_is_one_again(engine: DockerEngine) -> None:
    watch = Watch(container_state)

    def look(after_seconds: float) -> dict[str | None, str]:
        if watch.previous is not None:
            watch.previous = watch.previous._replace(elapsed_seconds=after_seconds)
        return {name: finding.status for name, finding in watch.look().items()}

    service = {**COMPOSE, "com.docker.compose.service": "n8n"}
    one_off = {**service, "com.docker.compose.oneoff": "True"}
    with run_container(engine, "crm-n8n-1", ["sleep", "600"], labels=service, stop_signal="SIGKILL"):
        assert look(0) == {"crm-n8n-1": "ok"}
    assert look(30) == {"crm-n8n-1": "ok"}, "a deployment"
    with run_container(engine, "crm-n8n-run-1", ["sleep", "600"], labels=one_off, stop_signal="SIGKILL"):
        assert look(300) == {"crm-n8n-run-1": "ok", "crm-n8n-1": "critical"}
    with run_container(engine, "crm-n8n-1", ["sleep", "600"], labels=service, stop_signal="SIGKILL"):
        assert look(30) == {"crm-n8n-1": "ok"}
