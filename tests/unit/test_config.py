"""monitor.conf: what is accepted, and the one line for each thing that is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vpsmon.config.load import ConfigError, load_config
from vpsmon.config.settings import DEFAULTS, Config


def load(tmp_path: Path, text: str | bytes, environment: dict[str, str] | None = None) -> Config:
    path = tmp_path / "monitor.conf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return load_config(str(path), environment or {})


def complain(tmp_path: Path, text: str | bytes, environment: dict[str, str] | None = None) -> list[str]:
    """Return the complaints without the path of the temporary folder."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environment)
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.lines]


def test_the_file_of_the_original_stays_valid(tmp_path: Path) -> None:
    text = """
    # comment
    TELEGRAM_BOT_TOKEN="123:abc"   # and one behind
    MEMORY_PRESSURE_THRESHOLD=75
    ENABLE_AUTO_RECOVERY=false
    ESSENTIAL_CONTAINERS="postgres, redis,"
    TELEGRAM_CHAT_ID=-100123
    FORECAST_CRITICAL_HOURS=1.5
    """
    settings = load(tmp_path, text).settings
    assert settings.TELEGRAM_BOT_TOKEN == "123:abc"
    assert settings.MEMORY_PRESSURE_THRESHOLD == 75
    assert settings.ENABLE_AUTO_RECOVERY is False
    assert settings.ESSENTIAL_CONTAINERS == ("postgres", "redis")
    assert settings.TELEGRAM_CHAT_ID == "-100123"
    assert settings.FORECAST_CRITICAL_HOURS == 1.5
    assert settings.DISK_WARNING_PCT == DEFAULTS.DISK_WARNING_PCT


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    settings = load(tmp_path, b"\xef\xbb\xbfDISK_WARNING_PCT=70\r\nDISK_CRITICAL_PCT=75\r\n").settings
    assert (settings.DISK_WARNING_PCT, settings.DISK_CRITICAL_PCT) == (70, 75)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\nMEMORY_WARNIN_MB=5", "monitor.conf:2: MEMORY_WARNIN_MB: unknown key; did you mean MEMORY_WARNING_MB?"),
        ("disk_warning_pct=5", "monitor.conf:1: disk_warning_pct: unknown key; did you mean DISK_WARNING_PCT?"),
        ("XYZZY=5", "monitor.conf:1: XYZZY: unknown key; docs/MONITORING.md lists the known ones"),
        (
            'DISK_WARNING_PCT="80"',
            'monitor.conf:1: DISK_WARNING_PCT: expected a number from 0 to 100, found text "80"',
        ),
        ("DISK_WARNING_PCT=150", "monitor.conf:1: DISK_WARNING_PCT: expected a number from 0 to 100, found 150"),
        ("DISK_WARNING_PCT=nan", "monitor.conf:1: DISK_WARNING_PCT: expected a number from 0 to 100, found nan"),
        (
            "MONITOR_INTERVAL_SEC=0.5",
            "monitor.conf:1: MONITOR_INTERVAL_SEC: expected a whole number from 1 to 86400, found 0.5",
        ),
        (
            "MONITOR_INTERVAL_SEC=true",
            "monitor.conf:1: MONITOR_INTERVAL_SEC: expected a whole number from 1 to 86400, found true or false",
        ),
        (
            'ENABLE_AUTO_RECOVERY="yes"',
            'monitor.conf:1: ENABLE_AUTO_RECOVERY: expected true or false, found text "yes"',
        ),
        (
            "TELEGRAM_BOT_TOKEN=123456",
            'monitor.conf:1: TELEGRAM_BOT_TOKEN: expected text in quotes, like KEY="value", found a number',
        ),
        (
            "WAHA_CONTAINER=waha",
            'monitor.conf:1: WAHA_CONTAINER: the value is not quoted properly; write WAHA_CONTAINER="value"',
        ),
        ("ENABLE_AUTO_RECOVERY=yes", "monitor.conf:1: ENABLE_AUTO_RECOVERY: expected true or false"),
        ("DISK_WARNING_PCT=80%", "monitor.conf:1: DISK_WARNING_PCT: expected a number"),
        ("export A=1", 'monitor.conf:1: expected KEY="value"; put # before a comment'),
        (
            "[telegram]\nTOKEN=1",
            "monitor.conf:1: [telegram]: monitor.conf has no sections; write each key on a line of its own",
        ),
        (
            "DISK_PATHS=5",
            'monitor.conf:1: DISK_PATHS: expected a comma-separated list in quotes, like "a,b", found 5',
        ),
        (
            'TELEGRAM_API_BASE="file:///etc"',
            "monitor.conf:1: TELEGRAM_API_BASE: expected a URL that begins with http:// or https://",
        ),
        (
            "DISK_WARNING_PCT=80\nDISK_WARNING_PCT=81",
            "monitor.conf:2: DISK_WARNING_PCT: stands already on line 1; keep one",
        ),
        (
            "DISK_WARNING_PCT=80\n\n[telegram]\nTOKEN=1",
            "monitor.conf:3: [telegram]: monitor.conf has no sections; write each key on a line of its own",
        ),
        (
            "TELEGRAM_BOT_TOKN=123:abc",
            "monitor.conf:1: TELEGRAM_BOT_TOKN: unknown key; did you mean TELEGRAM_BOT_TOKEN?",
        ),
        *(
            (
                f'{key}="{url}"',
                f"monitor.conf:1: {key}: expected a URL with a host, and without user and password: none is sent",
            )
            for key, url in [
                ("WAHA_URL", "http://user:secret@waha:3000"),
                ("N8N_URL", "http://user:secret/part@n8n:5678"),
                ("HEARTBEAT_URL", "https://user@host/x"),
                ("TELEGRAM_API_BASE", "https://"),
                ("WAHA_URL", "http://waha:port"),
                ("WAHA_URL", "http://[::1"),
            ]
        ),
        (b"A='\xff'", "monitor.conf:1: not UTF-8 text; save the file as UTF-8"),
        (b"\x00" * 1_000_001, "monitor.conf: is larger than 1 MB, so it is no monitor.conf; name the right file"),
    ],
)
def test_each_fault_is_one_line_with_file_line_key_and_remedy(tmp_path: Path, text: str | bytes, line: str) -> None:
    assert complain(tmp_path, text) == [line]


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    lines = complain(tmp_path, "DISK_WARNIN_PCT=1\nWAHA_CONTAINER=waha\nDISK_CRITICAL_PCT=101\nnonsense")
    assert [line.split(":")[1] for line in sorted(lines)] == ["1", "2", "3", "4"]


def test_a_fault_in_a_secret_does_not_repeat_it(tmp_path: Path) -> None:
    secret = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
    for text in (f"TELEGRAM_BOT_TOKEN={secret}", f'TELEGRAM_BOT_TOKEN=["{secret}"]', f'TELEGRAM_BOT_TOKEN="{secret}'):
        assert secret not in "\n".join(complain(tmp_path, text))


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environment = {"DISK_WARNING_PCT": "71", "ENABLE_AUTO_RECOVERY": "False", "DISK_PATHS": "/a,/b", "WAHA_URL": ""}
    settings = load(tmp_path, "DISK_WARNING_PCT=70", environment).settings
    assert settings.DISK_WARNING_PCT == 71
    assert settings.ENABLE_AUTO_RECOVERY is False
    assert settings.DISK_PATHS == ("/a", "/b")


def test_a_fault_in_the_environment_says_where_it_is(tmp_path: Path) -> None:
    lines = complain(tmp_path, "", {"DISK_WARNING_PCT": "lots", "ENABLE_AUTO_RECOVERY": "maybe"})
    assert all(line.startswith("environment: ") for line in lines)
    assert len(lines) == 2


def test_a_directory_and_a_missing_file_are_named(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "is a directory"), (tmp_path / "none", "no such file")):
        with pytest.raises(ConfigError, match=words):
            load_config(str(path), {})


def test_the_file_is_found_by_option_then_environment_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, percent in (("option.conf", 1), ("environment.conf", 2), ("monitor.conf", 3)):
        (tmp_path / name).write_text(f"DISK_WARNING_PCT={percent}")
    monkeypatch.chdir(tmp_path)
    environment = {"VPSMON_CONFIG": str(tmp_path / "environment.conf")}
    assert load_config("option.conf", environment).settings.DISK_WARNING_PCT == 1
    assert load_config(None, environment).settings.DISK_WARNING_PCT == 2
    assert load_config(None, {}).settings.DISK_WARNING_PCT == 3


def test_state_lies_beside_the_file_unless_told_otherwise(tmp_path: Path) -> None:
    assert load(tmp_path, "").state_directory == str(tmp_path / ".alerts")
    assert load(tmp_path, 'STATE_DIR="/var/lib/vpsmon"').state_directory == "/var/lib/vpsmon"


def test_a_secret_that_others_can_read_is_a_warning_with_the_command(tmp_path: Path) -> None:
    assert load(tmp_path, 'WAHA_API_KEY="k"').warnings == ()
    path = tmp_path / "monitor.conf"
    os.chmod(path, 0o644)
    assert f"chmod 600 {path}" in load_config(str(path), {}).warnings[0]
    path.write_text("DISK_WARNING_PCT=70")
    assert load_config(str(path), {}).warnings == ()
