"""The three ways into Prometheus, with the configurations of its page, on the whole stack in real containers."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.command import Workdir
from tests.kit.compose import POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY, ComposeStack, compose_stack
from tests.kit.docker import DockerEngine
from tests.kit.kernel import wait_until
from tests.kit.prometheus import (
    GLOBAL,
    Prometheus,
    check,
    node_exporter,
    prometheus,
    scrape_endpoint,
    textfile_only,
)
from tests.kit.stack import free_port
from vpsmon.checks import Check, load_checks
from vpsmon.prometheus.files import read_dashboard

MANUAL = (Path(__file__).resolve().parents[2] / "docs/prometheus.md").read_text(encoding="utf-8")
CONFIGURATIONS = re.findall(r"```yaml\n(scrape_configs:.*?)```", MANUAL, re.DOTALL)
WAYS = ("node_exporter", "scrape endpoint", "target file")
SECONDS = 60
# What Prometheus adds to a series.
OF_THE_TARGET = ("__name__", "host", "instance", "job")
TABLES = """
insert into execution_entity (status, "stoppedAt") select 'success', now() from generate_series(1, 7);
insert into execution_entity (status, "stoppedAt") select 'error', now() from generate_series(1, 2);
insert into execution_entity (status) values ('running'), ('running'), ('waiting');
create table leads as select g from generate_series(1, 321) g;
create table big as select g, repeat('x', 500) as t from generate_series(1, 40000) g;
"""


class Exported:
    """A machine with its stack, whose metrics have been exported into `folder`."""

    def __init__(self, workdir: Workdir, stack: ComposeStack, port: int) -> None:
        self.workdir = workdir
        self.stack = stack
        self.port = port
        self.folder = workdir.path / ".alerts/metrics"

    def run(self, *words: str) -> str:
        done = self.workdir.run(*words, env={"DOCKER_HOST": self.stack.engine.url})
        assert done.returncode == 0, done.stderr
        for secret in (POSTGRES_PASSWORD, REDIS_PASSWORD, WAHA_KEY):
            assert secret not in done.stdout + done.stderr
        return done.stdout

    def count_warnings(self) -> int:
        """The warnings that were told, by the log of them."""
        return (self.workdir.path / ".alerts/alert_history.log").read_text().count(" WARNING ")

    def read(self) -> str:
        return (self.folder / "metrics.prom").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def exported(engine: DockerEngine) -> Iterator[Exported]:
    # node_exporter is not root and has to pass through, as through /opt/vpsmon; pytest's own folders are root's alone.
    with tempfile.TemporaryDirectory(prefix="vpsmon-") as name, compose_stack(engine) as stack:
        folder = Path(name)
        folder.chmod(0o755)
        stack.psql(TABLES)
        stack.waha.add("default")
        stack.waha.add("sales", "STOPPED")
        stack.waha.add("support", "FAILED")
        for job in range(1, 4):
            stack.redis("LPUSH", "bull:jobs:wait", str(job))
        port = free_port()
        workdir = Workdir(folder)
        workdir.write_config(METRICS_LISTEN=f"127.0.0.1:{port}", DISK_WARNING_PCT=0, DISK_CRITICAL_PCT=100)
        machine = Exported(workdir, stack, port)
        machine.run("monitor", "--once")
        machine.run("export")
        stack.psql("select count(*) from big; select count(*) from big; select count(*) from big")
        machine.run("export")
        yield machine


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest, exported: Exported) -> Iterator[Prometheus]:
    config = CONFIGURATIONS[WAYS.index(request.param)].replace("/opt/vpsmon/.alerts/metrics", str(exported.folder))
    with ExitStack() as cleanup:
        if request.param == "node_exporter":
            target = cleanup.enter_context(node_exporter(*textfile_only(exported.folder)))[0].address
        else:
            target = (
                f"127.0.0.1:{cleanup.enter_context(scrape_endpoint(exported.folder / 'metrics.prom', exported.port))}"
            )
        config = config.replace("127.0.0.1:9100", target).replace("127.0.0.1:19633", target)
        running = cleanup.enter_context(prometheus(GLOBAL + config))
        wait_until(lambda: running.value("vpsmon_build_info") == 1, SECONDS, "Prometheus has scraped")
        yield running


def test_prometheus_takes_every_number_of_the_file(server: Prometheus, exported: Exported) -> None:
    lines = [line for line in exported.read().splitlines() if not line.startswith("#")]
    assert len(lines) > 80
    for line in lines:
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups("")  # type: ignore[union-attr]
        wanted = dict(re.findall(r'(\w+)="(.*?)"', labels))
        found = [
            number
            for pairs, number in server.query(name).items()
            if {key: text for key, text in pairs if key not in OF_THE_TARGET} == wanted
        ]
        assert found == [pytest.approx(float(value), rel=1e-12)], line


def test_the_numbers_are_those_of_the_stack(server: Prometheus, exported: Exported) -> None:
    stack = exported.stack
    assert server.value('waha_session_status{status="connected"}') == 1
    assert server.value('waha_session_status{status="disconnected"}') == 2
    expected = {"active": 2, "waiting": 1, "completed": 7, "failed": 2}
    for status, count in expected.items():
        assert server.value(f'n8n_workflow_executions{{status="{status}"}}') == count
    assert server.value("vpsmon_n8n_queue_jobs") == 3
    assert server.value("lead_count") == 321
    assert 0 <= (server.value("memory_pressure_score") or 0) <= 100
    for service in stack.containers:
        name = f"crm-{service}-1"
        assert (server.value(f'container_memory_bytes{{container="{name}"}}') or 0) > 0
        assert 0 <= (server.value(f'container_cpu_percent{{container="{name}"}}') or 0) <= 800
        assert server.value(f'vpsmon_container_recent_restarts{{container="{name}"}}') == 0
    blog_bytes = server.value('container_memory_bytes{container="crm-blog-1"}') or 0
    blog_percent = server.value('container_memory_percent{container="crm-blog-1"}')
    assert blog_percent == pytest.approx(blog_bytes / (64 * 1024 * 1024) * 100)
    size = int(stack.psql("select sum(pg_database_size(oid)) from pg_database"))
    assert server.value("postgres_database_size_bytes") == pytest.approx(size, rel=0.02)
    assert 0 < (server.value("postgres_cache_hit_ratio") or 0) <= 100
    assert (server.value("postgres_active_connections") or 0) >= 1
    used = re.search(r"used_memory:(\d+)", stack.redis("INFO", "memory"))
    assert used
    assert server.value("redis_memory_bytes") == pytest.approx(int(used[1]), rel=0.1)
    assert server.value("redis_total_keys") == int(stack.redis("DBSIZE"))
    assert (server.value("redis_connected_clients") or 0) >= 1
    assert exported.count_warnings() >= 1
    assert server.value('alerts_total{severity="warning"}') == exported.count_warnings()


def test_the_target_knows_the_machine(server: Prometheus, exported: Exported) -> None:
    (labels,) = server.query("vpsmon_build_info")
    assert dict(labels)["host"] in (
        "vps1",
        json.loads((exported.folder / "targets.json").read_text())[0]["labels"]["host"],
    )


def test_promtool_finds_nothing_but_the_name_of_the_original(exported: Exported) -> None:
    assert check("promtool", "check", "metrics", text=exported.read()).splitlines() == [
        'lead_count non-histogram and non-summary metrics should not have "_count" suffix'
    ]


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=WAYS)
def test_promtool_takes_each_configuration(config: str, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(config)
    assert check("promtool", "check", "config", str(tmp_path / "prometheus.yml")) == ""


def read_queries() -> dict[str, str]:
    """Every query of the dashboard by the title of its panel or annotation, as Grafana would send it for vps1."""
    dashboard = json.loads(read_dashboard())
    queries = {each["name"]: each["expr"] for each in dashboard["annotations"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            queries[f"{panel['id']} {panel['title']} {target['refId']}"] = target["expr"]
    return {title: query.replace("$host", "vps1").replace("$__rate_interval", "1m") for title, query in queries.items()}


def grow(text: str) -> str:
    """The file a minute later: every counter has moved."""
    return re.sub(r"(?m)^(\w+_total(?:\{.*\})?) (\S+)$", lambda line: f"{line[1]} {float(line[2]) + 1:g}", text)


def test_every_query_of_the_dashboard_finds_data(exported: Exported, tmp_path: Path) -> None:
    # This machine has no swap, no trend and no Telegram: what they would give is put in.
    given = {"swap_total_bytes": 1000, "vpsmon_memory_forecast_hours": 20, "vpsmon_outbox_messages": 0}
    text = "".join(line for line in exported.read().splitlines(True) if not line.startswith(tuple(given)))
    text += "".join(f"{name} {value}\n" for name, value in given.items())
    path = tmp_path / "metrics.prom"
    path.write_text(text)
    with ExitStack() as cleanup:
        target = f"127.0.0.1:{cleanup.enter_context(scrape_endpoint(path))}"
        config = CONFIGURATIONS[1].replace("127.0.0.1:19633", target)
        running = cleanup.enter_context(prometheus(GLOBAL + config))
        wait_until(lambda: running.value("vpsmon_build_info") == 1, SECONDS, "Prometheus has scraped")
        path.write_text(grow(text))
        queries = read_queries()
        assert len(queries) > 45
        # A rate needs two scrapes; a line through the past needs two whole minutes of it.
        missing = {title for title in queries if "predict_linear" in queries[title]}
        assert len(missing) == 1
        for title in queries.keys() - missing:
            wait_until(lambda title=title: bool(running.query(queries[title])), SECONDS, f"{title} has data")  # type: ignore[misc]
        for title in missing:
            shorter = queries[title].replace("[2h:1m]", "[2h:1s]")
            wait_until(lambda query=shorter: bool(running.query(query)), SECONDS, f"{title} has data")  # type: ignore[misc]


def test_the_dashboard_is_one_that_grafana_can_place() -> None:
    dashboard = json.loads(read_dashboard())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert variables == ["datasource", "host"]
    sources = re.findall(r'"uid": "([^"]+)"', read_dashboard())
    assert set(sources) == {"${datasource}", "vpsmon"}
    assert {each["name"] for each in dashboard["annotations"]["list"]} == {"Alerts", "OOM kills", "Repairs"}


def test_every_metric_of_the_contract_is_on_the_dashboard() -> None:
    dashboard = read_dashboard()
    names = {
        name for stage in ("kernel", "stack", "export") for check in load_checks(stage) for name in check_metrics(check)
    }
    assert [name for name in names if name not in dashboard] == []


def check_metrics(check: Check) -> dict[str, str]:
    """The metrics of a check with what they mean."""
    metrics: dict[str, str] = getattr(check, "METRICS", {})
    return metrics
