"""What the resident monitor is told of its configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vpsmon
from vpsmon.config.settings import DEFAULTS, Config, Settings
from vpsmon.resident.reexec import Orders, pack_orders

TELEGRAM = DEFAULTS._replace(TELEGRAM_BOT_TOKEN="1:a", TELEGRAM_CHAT_ID="1")


def pack(settings: Settings, interval_option_seconds: float | None = None) -> Orders:
    return Orders(pack_orders(Config(settings, "/a/b.conf", "/a/.alerts", ("odd",)), "b.conf", interval_option_seconds))


def test_the_configuration_comes_out_as_it_went_in() -> None:
    settings = TELEGRAM._replace(ESSENTIAL_CONTAINERS=("one", "zwei ä"), MONITOR_INTERVAL_SEC=45)
    orders = pack(settings)
    assert orders.unpack_config() == Config(settings, "/a/b.conf", "/a/.alerts", ("odd",))
    assert orders.config_option == "b.conf"
    assert Orders(orders.packed).unpack_config() == orders.unpack_config()


def test_the_interval_of_the_command_line_wins() -> None:
    settings = DEFAULTS._replace(MONITOR_INTERVAL_SEC=45)
    assert [pack(settings).interval_seconds, pack(settings, 7.5).interval_seconds] == [45, 7.5]
    assert pack(settings, 7.5).interval_option_seconds == 7.5


@pytest.mark.parametrize(
    ("settings", "sends_by_tls"),
    [
        (TELEGRAM, True),
        (TELEGRAM._replace(TELEGRAM_API_BASE="http://127.0.0.1:8081"), False),
        (DEFAULTS, False),
    ],
)
def test_tls_is_needed_where_messages_go_by_https(settings: Settings, sends_by_tls: bool) -> None:
    assert pack(settings).sends_by_tls == sends_by_tls


def test_recovery_is_started_where_both_settings_allow_it() -> None:
    allowed = [
        pack(DEFAULTS._replace(ENABLE_AUTO_RECOVERY=general, RECOVER_ON_CRITICAL=at_once)).may_start_recovery
        for general, at_once in ((True, True), (True, False), (False, True))
    ]
    assert allowed == [True, False, False]


def test_what_stays_in_memory_imports_none_of_the_large_modules() -> None:
    """As start.py does it; in this process they all are there already."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vpsmon.resident.watcher import Watcher\n"
        "loaded = sorted(sys.modules)\n"
        "import json; print(json.dumps(loaded))"
    )
    root = str(Path(vpsmon.__file__).parents[1])
    argv = [sys.executable, "-I", "-S", "-c", program, root]
    loaded = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)
    assert "vpsmon.resident.watcher" in loaded
    heavy = {"typing", "json", "socket", "urllib.parse", "vpsmon.config.settings", "vpsmon.system.host"}
    assert not heavy & set(loaded)
