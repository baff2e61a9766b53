"""The manual's fleet: three machines, one Prometheus, with the configuration that stands there."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.kit.command import Workdir
from tests.kit.kernel import wait_until
from tests.kit.prometheus import prometheus, scrape_endpoint
from tests.kit.stack import free_port

MANUAL = (Path(__file__).resolve().parents[2] / "docs/prometheus.md").read_text(encoding="utf-8")
FLEET = re.findall(r"```yaml\n(global:.*?)```", MANUAL, re.DOTALL)
HOSTS = ("vps1", "vps2", "vps3")
SECONDS = 30


def test_one_prometheus_knows_three_machines_apart(tmp_path: Path) -> None:
    (config,) = FLEET
    with ExitStack() as cleanup:
        for number, host in enumerate(HOSTS, 1):
            folder = tmp_path / host
            folder.mkdir()
            workdir = Workdir(folder)
            # Any disk is too full, and only the second one looks at one: /proc has no size.
            path = "/" if host == "vps2" else "/proc"
            workdir.write_config(DISK_WARNING_PCT=0, DISK_CRITICAL_PCT=100, DISK_PATHS=path)
            assert workdir.run("monitor", "--once").returncode == 0
            assert workdir.run("export").returncode == 0
            rules = re.sub(r"for: \d+[ms]", "for: 1s", workdir.run("export", "--rules").stdout)
            if host == "vps3":
                port = free_port()  # nothing listens: this machine is gone
            else:
                port = cleanup.enter_context(scrape_endpoint(folder / ".alerts/metrics/metrics.prom"))
            config = config.replace(f"10.0.0.{number}:19633", f"127.0.0.1:{port}")
        config = re.sub(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 1s", config)
        config = config.replace("127.0.0.1:9093", f"127.0.0.1:{free_port()}")
        server = cleanup.enter_context(prometheus(config, {"vpsmon.rules.yml": rules}))
        wait_until(lambda: {"VpsmonDisk", "VpsmonUnreachable"} <= server.firing(), SECONDS, "the alerts fire")
        firing = server.query('ALERTS{alertstate="firing"}')
        told = {(dict(labels)["alertname"], dict(labels)["host"]) for labels in firing}
        assert told == {("VpsmonDisk", "vps2"), ("VpsmonUnreachable", "vps3")}
        summaries = [each["annotations"]["summary"] for each in server.ask("/api/v1/alerts")["data"]["alerts"]]
        assert sorted(summaries) == ["vps2: disk / is filling up", "vps3: does not answer"]
        for query in re.findall(r"(?m)^\| [^|]*\? \| `([^`]+)` \|$", MANUAL):
            server.query(query)  # raises where Prometheus does not understand it
        worst = server.query("max by (host) (vpsmon_check_severity) > 0")
        assert [dict(labels)["host"] for labels in worst] == ["vps2"]
