"""Real Prometheus, node_exporter and Alertmanager on free ports of loopback, and systemd's way to answer a connection.

The programs are those of the distribution (apt install prometheus prometheus-node-exporter prometheus-alertmanager
systemd). They die with the test run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.command import clean_environment, vpsmon_path
from tests.kit.kernel import wait_until
from tests.kit.stack import free_port

READY_SECONDS = 30
# Scraped as often as a test has patience for.
GLOBAL = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, body: bytes | None = None) -> bytes:
    """The body of a URL. Raises OSError (urllib.error.HTTPError for a refusal)."""
    with _OPENER.open(url, body, timeout=10) as reply:
        content: bytes = reply.read()
        return content


@dataclass(frozen=True)
class Server:
    """One of the three, on loopback."""

    port: int
    log: Path

    @property
    def address(self) -> str:
        """Host and port, as a scrape target."""
        return f"127.0.0.1:{self.port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """The JSON that its HTTP API answers."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        return json.loads(fetch(f"http://{self.address}{path}{query}"))


class Prometheus(Server):
    """A Prometheus server."""

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The instant vector of an expression, by its sorted labels. Raises urllib.error.HTTPError."""
        result = self.ask("/api/v1/query", query=expression)["data"]["result"]
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in result}

    def value(self, expression: str) -> float | None:
        """The one number that an expression comes to; None where there is none."""
        values = list(self.query(expression).values())
        assert len(values) <= 1, values
        return values[0] if values else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self.ask("/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextmanager
def prometheus(config: str, files: dict[str, str] | None = None) -> Iterator[Prometheus]:
    """Start Prometheus with this prometheus.yml, and these files beside it."""
    with _folder() as folder:
        for name, text in {"prometheus.yml": config, **(files or {})}.items():
            (folder / name).write_text(text, encoding="utf-8")
        port = free_port()
        argv = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with _running(argv, folder / "log"):
            server = Prometheus(port, folder / "log")
            _wait_for(server, "/-/ready")
            yield server


@contextmanager
def node_exporter(*options: str) -> Iterator[tuple[Server, int]]:
    """Start node_exporter as the user that Debian runs it as; yield it and its process id."""
    with _folder() as folder:
        port = free_port()
        argv = [
            *("setpriv", "--reuid=prometheus", "--regid=prometheus", "--clear-groups"),
            "prometheus-node-exporter",
            *options,
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with _running(argv, folder / "log") as process_id:
            server = Server(port, folder / "log")
            _wait_for(server, "/metrics")
            yield server, process_id


def textfile_only(folder: Path) -> tuple[str, ...]:
    """The options of a node_exporter that shows the files of this folder and nothing else."""
    return "--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={folder}"


@contextmanager
def alertmanager(config: str) -> Iterator[Server]:
    """Start Alertmanager with this alertmanager.yml."""
    with _folder() as folder:
        (folder / "alertmanager.yml").write_text(config, encoding="utf-8")
        port = free_port()
        argv = [
            "prometheus-alertmanager",
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with _running(argv, folder / "log"):
            server = Server(port, folder / "log")
            _wait_for(server, "/-/ready")
            yield server


@contextmanager
def scrape_endpoint(metrics_file: Path, port: int | None = None) -> Iterator[int]:
    """Accept connections as vps-metrics-exporter.socket does, one process each, and yield the port."""
    with _folder() as folder:
        port = port or free_port()
        command = [str(vpsmon_path()), "export", "--serve", str(metrics_file)]
        argv = ["systemd-socket-activate", "--accept", "--inetd", f"--listen=127.0.0.1:{port}", *command]
        with _running(argv, folder / "log"):
            wait_until(lambda: _accepts(port), READY_SECONDS, "the endpoint accepts connections")
            yield port


def check(tool: str, *words: str, text: str | None = None) -> str:
    """What promtool or amtool prints; empty or only a summary where all is well."""
    done = subprocess.run([tool, *words], input=text, capture_output=True, text=True, timeout=60, check=False)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(server: Server, path: str) -> None:
    def answers() -> bool:
        try:
            fetch(f"http://{server.address}{path}")
        except OSError:
            return False
        return True

    wait_until(answers, READY_SECONDS, f"port {server.port} answers; it says: {server.log}")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"vpsmon-test-prometheus-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    with process:
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
