"""Nobody is paged twice: what vpsmon tells by itself, Alertmanager tells only when vpsmon cannot."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.kit.command import Workdir
from tests.kit.kernel import wait_until
from tests.kit.prometheus import GLOBAL, Server, alertmanager, prometheus, scrape_endpoint
from tests.kit.telegram import FakeTelegram

MANUAL = (Path(__file__).resolve().parents[2] / "docs/prometheus.md").read_text(encoding="utf-8")
SECONDS = 30
SCRAPE = """
scrape_configs:
  - job_name: vpsmon
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels: {{host: vps1}}
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["{alertmanager}"]
"""


def states_of(server: Server, alert: str) -> set[str]:
    """What Alertmanager does with the alerts of a name: active, or suppressed."""
    alerts = server.ask("/api/v2/alerts")
    return {each["status"]["state"] for each in alerts if each["labels"]["alertname"] == alert}


def print_file(workdir: Workdir, option: str) -> str:
    done = workdir.run("export", option)
    assert done.returncode == 0, done.stderr
    return done.stdout


def put_token_in(workdir: Workdir, config: str, token: str) -> str:
    """The configuration after the command that the manual has for an Alertmanager without bot_token_file."""
    command = re.search(r"(?m)^sed -i .*bot_token_file.*$", MANUAL)
    assert command
    path = workdir.path / "alertmanager.yml"
    path.write_text(config, encoding="utf-8")
    words = shlex.split(command[0].replace("123:abc", token).replace("/etc/prometheus/alertmanager.yml", str(path)))
    subprocess.run(words, check=True, timeout=30)
    return path.read_text(encoding="utf-8")


def test_alertmanager_tells_what_vpsmon_cannot_tell_and_no_more(workdir: Workdir, telegram: FakeTelegram) -> None:
    workdir.write_config(
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_CHAT_ID=str(telegram.chat_id),
        TELEGRAM_API_BASE=telegram.url,
        DISK_WARNING_PCT=0,
    )
    assert workdir.run("monitor", "--once").returncode == 0
    assert len(telegram.messages) == 1  # the full disk, by vpsmon itself
    assert workdir.run("export").returncode == 0
    # As it is, but for the patience.
    rules = re.sub(r"for: \d+[ms]", "for: 1s", print_file(workdir, "--rules"))
    config = re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", print_file(workdir, "--alertmanager"))
    assert telegram.token not in config
    config = put_token_in(workdir, config, telegram.token)
    with ExitStack() as cleanup:
        manager = cleanup.enter_context(alertmanager(config))
        port = cleanup.enter_context(scrape_endpoint(workdir.path / ".alerts/metrics/metrics.prom"))
        scrape = GLOBAL + SCRAPE.format(port=port, alertmanager=manager.address)
        server = cleanup.enter_context(prometheus(scrape, {"rules.yml": rules}))
        wait_until(lambda: {"VpsmonDisk", "VpsmonTellsItself"} <= server.firing(), SECONDS, "the alerts fire")
        wait_until(lambda: states_of(manager, "VpsmonDisk") == {"suppressed"}, SECONDS, "Alertmanager keeps it back")
        assert len(telegram.messages) == 1

        # Now the monitor dies.
        path = workdir.path / ".alerts/pass_state.json"
        state = json.loads(path.read_text())
        state["last_pass"]["kernel"]["wall_seconds"] -= 3600
        path.write_text(json.dumps(state))
        assert workdir.run("export").returncode == 0
        wait_until(lambda: "VpsmonMonitorQuiet" in server.firing(), SECONDS, "the monitor is missed")
        wait_until(lambda: states_of(manager, "VpsmonDisk") == {"active"}, SECONDS, "Alertmanager lets it go")

        def told() -> str:
            return "\n".join(message.text for message in telegram.messages[1:])

        wait_until(lambda: "no longer looks" in told() and "filling up" in told(), SECONDS, "Telegram has both")
        assert "vps1: disk / is filling up" in told()
        assert "🟠 WARNING" in told()
        assert "VpsmonTellsItself" not in told()
