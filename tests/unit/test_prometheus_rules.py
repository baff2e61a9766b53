"""The alerting rules, run by promtool: each fires when it must, and not in the look-alike next to its limit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.kit.prometheus import check
from vpsmon.config.load import ConfigError
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.prometheus.files import render_alertmanager, render_rules

CONFIG = Config(DEFAULTS, "/opt/vpsmon/monitor.conf", "/opt/vpsmon/.alerts")
MEGABYTE = 1024 * 1024
# Values over time as promtool writes them: start, step and number of steps of a minute; `_` is no value.
ALWAYS = "x120"


def constant(value: float) -> str:
    return f"{value:.15g}+0{ALWAYS}"


# Alert, severity, series that make it fire within two hours, and series that must not.
Series = dict[str, str]
CASES: dict[str, tuple[str, str, Series, Series]] = {
    "pressure": (
        "VpsmonMemoryPressure",
        "warning",
        {"memory_pressure_score": constant(60)},
        {"memory_pressure_score": constant(59.9)},
    ),
    "high pressure": (
        "VpsmonMemoryPressure",
        "critical",
        {"memory_pressure_score": constant(80)},
        {"memory_pressure_score": constant(79)},
    ),
    "pressure for a moment": (
        "VpsmonMemoryPressure",
        "warning",
        {"memory_pressure_score": constant(70)},
        {"memory_pressure_score": "0x100 90 90 0x17"},
    ),
    "available": (
        "VpsmonMemoryAvailable",
        "warning",
        {"vpsmon_memory_available_bytes": constant(99 * MEGABYTE)},
        {"vpsmon_memory_available_bytes": constant(100 * MEGABYTE)},
    ),
    "hardly available": (
        "VpsmonMemoryAvailable",
        "critical",
        {"vpsmon_memory_available_bytes": constant(49 * MEGABYTE)},
        {"vpsmon_memory_available_bytes": constant(51 * MEGABYTE)},
    ),
    "swap": (
        "VpsmonSwap",
        "warning",
        {"swap_used_bytes": constant(1025 * MEGABYTE), "swap_total_bytes": constant(8192 * MEGABYTE)},
        {"swap_used_bytes": constant(1023 * MEGABYTE), "swap_total_bytes": constant(8192 * MEGABYTE)},
    ),
    "small swap that is full": (
        "VpsmonSwap",
        "critical",
        {"swap_used_bytes": constant(99 * MEGABYTE), "swap_total_bytes": constant(100 * MEGABYTE)},
        {"swap_used_bytes": constant(95 * MEGABYTE), "swap_total_bytes": constant(100 * MEGABYTE)},
    ),
    "no swap is not full": (
        "VpsmonSwap",
        "warning",
        {"swap_used_bytes": constant(91 * MEGABYTE), "swap_total_bytes": constant(100 * MEGABYTE)},
        {"swap_used_bytes": constant(0), "swap_total_bytes": constant(0)},
    ),
    "no swap is not used up": (
        "VpsmonSwap",
        "critical",
        {"swap_used_bytes": constant(99 * MEGABYTE), "swap_total_bytes": constant(100 * MEGABYTE)},
        {"swap_used_bytes": constant(0), "swap_total_bytes": constant(0)},
    ),
    "much swap": (
        "VpsmonSwap",
        "critical",
        {"swap_used_bytes": constant(2049 * MEGABYTE), "swap_total_bytes": constant(8192 * MEGABYTE)},
        {"swap_used_bytes": constant(2047 * MEGABYTE), "swap_total_bytes": constant(8192 * MEGABYTE)},
    ),
    "swap-in": (
        "VpsmonSwapIn",
        "warning",
        {"swap_swapin_rate": constant(5001)},
        {"swap_swapin_rate": constant(5000)},
    ),
    "a kill": (
        "VpsmonOomKill",
        "critical",
        {"vpsmon_oom_kills_total": "0x115 1x5"},
        {"vpsmon_oom_kills_total": "0x60 1x60"},
    ),
    "many kills long ago": (
        "VpsmonOomKill",
        "critical",
        {"vpsmon_oom_kills_total": "7x115 9x5"},
        {"vpsmon_oom_kills_total": constant(7)},
    ),
    "forecast": (
        "VpsmonMemoryForecast",
        "warning",
        {"vpsmon_memory_forecast_hours": constant(23)},
        {"vpsmon_memory_forecast_hours": constant(25)},
    ),
    "forecast soon": (
        "VpsmonMemoryForecast",
        "critical",
        {"vpsmon_memory_forecast_hours": constant(2)},
        {"vpsmon_memory_forecast_hours": "_x120"},
    ),
    "disk": (
        "VpsmonDisk",
        "warning",
        {'vpsmon_disk_used_percent{path="/"}': constant(81)},
        {'vpsmon_disk_used_percent{path="/"}': constant(80)},
    ),
    "full disk": (
        "VpsmonDisk",
        "critical",
        {'vpsmon_disk_used_percent{path="/"}': constant(91)},
        {'vpsmon_disk_used_percent{path="/"}': constant(89)},
    ),
    "restarts": (
        "VpsmonRestartLoop",
        "warning",
        {'vpsmon_container_recent_restarts{container="crm"}': constant(6)},
        {'vpsmon_container_recent_restarts{container="crm"}': constant(5)},
    ),
    "slow restart loop": (
        "VpsmonRestartLoop",
        "warning",
        {
            'vpsmon_container_recent_restarts{container="crm"}': constant(4),
            'vpsmon_check_severity{check="container_restarts",object="crm"}': constant(1),
        },
        {
            'vpsmon_container_recent_restarts{container="crm"}': constant(4),
            'vpsmon_check_severity{check="container_restarts",object="crm"}': constant(0),
        },
    ),
    "cache hit": (
        "VpsmonPostgresCacheHit",
        "warning",
        {
            "postgres_cache_hit_ratio": constant(89),
            'vpsmon_postgres_blocks_total{source="hit"}': "0+890x120",
            'vpsmon_postgres_blocks_total{source="read"}': "0+110x120",
        },
        {
            "postgres_cache_hit_ratio": constant(91),
            'vpsmon_postgres_blocks_total{source="hit"}': "0+910x120",
        },
    ),
    "cache hit of next to nothing": (
        "VpsmonPostgresCacheHit",
        "critical",
        {"postgres_cache_hit_ratio": constant(79)},
        {
            "postgres_cache_hit_ratio": constant(50),
            'vpsmon_postgres_blocks_total{source="hit"}': "0+10x120",
            'vpsmon_postgres_blocks_total{source="read"}': "0+10x120",
        },
    ),
    "queue": (
        "VpsmonQueue",
        "warning",
        {"vpsmon_n8n_queue_jobs": constant(501)},
        {"vpsmon_n8n_queue_jobs": constant(500)},
    ),
    "queue overflow": (
        "VpsmonQueue",
        "critical",
        {"vpsmon_n8n_queue_jobs": constant(1001)},
        {"vpsmon_n8n_queue_jobs": constant(1000)},
    ),
    "dead worker": (
        "VpsmonQueue",
        "critical",
        {"vpsmon_n8n_queue_jobs": constant(3), 'vpsmon_check_severity{check="n8n_queue"}': constant(2)},
        {"vpsmon_n8n_queue_jobs": constant(3), 'vpsmon_check_severity{check="n8n_queue"}': constant(0)},
    ),
    "WAHA": (
        "VpsmonWaha",
        "critical",
        {
            'waha_session_status{status="disconnected"}': constant(1),
            'vpsmon_check_severity{check="waha_session",object="a"}': constant(2),
        },
        {
            'waha_session_status{status="disconnected"}': constant(1),
            'vpsmon_check_severity{check="waha_session",object="a"}': constant(0),
        },
    ),
    "WAHA waits for a person": (
        "VpsmonCheck",
        "warning",
        {'vpsmon_check_severity{check="waha_session",object="a"}': constant(1)},
        {'vpsmon_check_severity{check="waha_session",object="a"}': constant(0)},
    ),
    "WAHA waits for a person, which is not critical": (
        "VpsmonWaha",
        "critical",
        {
            'waha_session_status{status="disconnected"}': constant(1),
            'vpsmon_check_severity{check="waha_session",object="a"}': constant(2),
        },
        {
            'waha_session_status{status="disconnected"}': constant(1),
            'vpsmon_check_severity{check="waha_session",object="a"}': constant(1),
        },
    ),
    "WAHA reconnects": (
        "VpsmonWaha",
        "critical",
        {'waha_session_status{status="disconnected"}': constant(2)},
        {'waha_session_status{status="disconnected"}': "1x50 0x10 1x58"},
    ),
    "an unhealthy container": (
        "VpsmonCheck",
        "critical",
        {'vpsmon_check_severity{check="container_state",object="crm"}': constant(2)},
        {'vpsmon_check_severity{check="container_state",object="crm"}': constant(1)},
    ),
    "what has a rule of its own": (
        "VpsmonCheck",
        "warning",
        {'vpsmon_check_severity{check="redis_memory"}': constant(1)},
        {'vpsmon_check_severity{check="disk_usage",object="/"}': constant(1)},
    ),
    "thrashing": (
        "VpsmonCheck",
        "critical",
        {'vpsmon_check_severity{check="swap_in"}': constant(2)},
        {'vpsmon_check_severity{check="swap_in"}': constant(1)},
    ),
    "vpsmon is quiet": (
        "VpsmonQuiet",
        "critical",
        {"vpsmon_last_pass_timestamp_seconds": "0+60x113 6780x7"},
        {"vpsmon_last_pass_timestamp_seconds": "0+60x117 7020x3"},
    ),
    "the machine is gone": ("VpsmonUnreachable", "critical", {"up": constant(0)}, {"up": constant(1)}),
    "the monitor is quiet": (
        "VpsmonMonitorQuiet",
        "critical",
        {"vpsmon_monitor_last_pass_timestamp_seconds": "0+60x111 6660x9"},
        {"vpsmon_monitor_last_pass_timestamp_seconds": "0+60x116 6960x4"},
    ),
    "alerts wait": (
        "VpsmonCannotTell",
        "warning",
        {"vpsmon_outbox_messages": constant(1)},
        {"vpsmon_outbox_messages": "0x110 1x10"},
    ),
    "a check fails": (
        "VpsmonCheckFails",
        "warning",
        {'vpsmon_check_success{check="redis_memory"}': constant(0)},
        {'vpsmon_check_success{check="redis_memory"}': constant(1)},
    ),
    "vpsmon tells": (
        "VpsmonTellsItself",
        "none",
        {
            "vpsmon_telegram_enabled": constant(1),
            "vpsmon_outbox_messages": "0x119 1",
            "vpsmon_monitor_last_pass_timestamp_seconds": f"0+60{ALWAYS}",
        },
        {
            "vpsmon_telegram_enabled": constant(1),
            "vpsmon_outbox_messages": "0x110 1x10",
            "vpsmon_monitor_last_pass_timestamp_seconds": f"0+60{ALWAYS}",
        },
    ),
    "vpsmon is dead and cannot tell": (
        "VpsmonTellsItself",
        "none",
        {
            "vpsmon_telegram_enabled": constant(1),
            "vpsmon_outbox_messages": constant(0),
            "vpsmon_monitor_last_pass_timestamp_seconds": "0+60x116 6960x4",
        },
        {
            "vpsmon_telegram_enabled": constant(1),
            "vpsmon_outbox_messages": constant(0),
            "vpsmon_monitor_last_pass_timestamp_seconds": "0+60x111 6660x9",
        },
    ),
}


def label(series: str) -> str:
    """The series as a target of the documentation has it."""
    name, _, labels = series.rstrip("}").partition("{")
    target = 'host="vps1",instance="127.0.0.1:19633",job="vpsmon"'
    return f"{name}{{{target}{',' if labels else ''}{labels}}}"


def run_rules(folder: Path, rules: str, series: Series, alert: str, severity: str, count: int) -> str:
    """Return what promtool says when that many alerts of the name and severity must fire at the end of two hours."""
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    expression = f'count(ALERTS{{alertname="{alert}",severity="{severity}",alertstate="firing"}}) or vector(0)'
    test = {
        "interval": "1m",
        "input_series": [{"series": label(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expression, "eval_time": "2h", "exp_samples": [{"labels": "{}", "value": count}]}
        ],
    }
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yml").write_text(json.dumps(content), encoding="utf-8")
    return check("promtool", "test", "rules", str(folder / "test.yml"))


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(render_rules(CONFIG), encoding="utf-8")
    assert check("promtool", "check", "rules", str(tmp_path / "rules.yml")) == ""


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires(name: str, tmp_path: Path) -> None:
    alert, severity, series, _ = CASES[name]
    assert run_rules(tmp_path, render_rules(CONFIG), series, alert, severity, 1) == ""


@pytest.mark.parametrize("name", CASES)
def test_a_rule_does_not_fire(name: str, tmp_path: Path) -> None:
    alert, severity, _, series = CASES[name]
    assert run_rules(tmp_path, render_rules(CONFIG), series, alert, severity, 0) == ""


def test_every_rule_has_a_case_in_each_severity() -> None:
    rules = re.findall(r"- alert: (\w+)\n.*?severity: (\w+)", render_rules(CONFIG), re.DOTALL)
    assert len(rules) > 20
    assert set(rules) == {(alert, severity) for alert, severity, *_ in CASES.values()}


def test_thresholds_are_those_of_monitor_conf(tmp_path: Path) -> None:
    settings = DEFAULTS._replace(MEMORY_PRESSURE_WARNING=12.5, N8N_QUEUE_MAX=10, WAHA_STUCK_AFTER_SEC=60)
    rules = render_rules(CONFIG._replace(settings=settings))
    assert (
        run_rules(tmp_path, rules, {"memory_pressure_score": constant(12.5)}, "VpsmonMemoryPressure", "warning", 1)
        == ""
    )
    assert (
        run_rules(tmp_path, rules, {"memory_pressure_score": constant(12)}, "VpsmonMemoryPressure", "warning", 0) == ""
    )
    assert run_rules(tmp_path, rules, {"vpsmon_n8n_queue_jobs": constant(6)}, "VpsmonQueue", "warning", 1) == ""
    waha = {'waha_session_status{status="disconnected"}': "0x110 1x10"}
    assert run_rules(tmp_path, rules, waha, "VpsmonWaha", "critical", 1) == ""


@pytest.mark.parametrize("value", [0.0, 1e9, 0.25])
def test_any_threshold_makes_valid_rules(value: float, tmp_path: Path) -> None:
    numbers: dict[str, Any] = {key: value for key, default in DEFAULTS._asdict().items() if isinstance(default, float)}
    (tmp_path / "rules.yml").write_text(render_rules(CONFIG._replace(settings=DEFAULTS._replace(**numbers))))
    assert check("promtool", "check", "rules", str(tmp_path / "rules.yml")) == ""


def test_a_hostile_path_of_the_configuration_stays_a_comment(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(render_rules(CONFIG._replace(path="a\ngroups: 7\n")))
    assert check("promtool", "check", "rules", str(tmp_path / "rules.yml")) == ""


def test_the_alertmanager_configuration_is_valid_and_holds_no_token(tmp_path: Path) -> None:
    settings = DEFAULTS._replace(TELEGRAM_BOT_TOKEN="123456:s3cret", TELEGRAM_CHAT_ID="-1001234567890")
    text = render_alertmanager(CONFIG._replace(settings=settings))
    assert "s3cret" not in text
    assert "message_thread_id" not in text
    (tmp_path / "alertmanager.yml").write_text(with_the_token(text, "123456:s3cret"), encoding="utf-8")
    assert check("amtool", "check-config", str(tmp_path / "alertmanager.yml")) == ""


def test_a_topic_of_a_group_is_named() -> None:
    settings = DEFAULTS._replace(TELEGRAM_CHAT_ID="5", TELEGRAM_THREAD_ID="77")
    assert "message_thread_id: 77\n" in render_alertmanager(CONFIG._replace(settings=settings))


@pytest.mark.parametrize(("chat", "thread"), [("", ""), ("@channel", ""), ("5", "x"), ("5\n6", ""), ("٣", "")])
def test_without_the_number_of_the_chat_there_is_no_configuration(chat: str, thread: str) -> None:
    settings = DEFAULTS._replace(TELEGRAM_CHAT_ID=chat, TELEGRAM_THREAD_ID=thread)
    with pytest.raises(ConfigError, match="Alertmanager needs"):
        render_alertmanager(CONFIG._replace(settings=settings))


def with_the_token(text: str, token: str) -> str:
    """Return the configuration as the comment in it says for an Alertmanager that knows no bot_token_file."""
    return re.sub(r"bot_token_file: \S+", f'bot_token: "{token}"', text)
