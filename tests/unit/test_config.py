"""monitor.conf: what is accepted, and the one line for each thing that is not."""

from __future__ import annotations

import os
from grp import struct_group
from pathlib import Path

import pytest

from vpsmon.config.load import ConfigError, load_config
from vpsmon.config.settings import CREDENTIAL_KEYS, DEFAULTS, Config


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
        ("XYZZY=5", "monitor.conf:1: XYZZY: unknown key; docs/configuration.md lists the known ones"),
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


@pytest.mark.parametrize("key", DEFAULTS._fields)
def test_nothing_between_the_quotes_is_the_default(tmp_path: Path, key: str) -> None:
    settings = load(tmp_path, f'{key}="" \n').settings
    assert settings == DEFAULTS
    assert load(tmp_path, "", {key: " "}).settings == DEFAULTS


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "+nan"])
@pytest.mark.parametrize("key", ["MEMORY_WARNING_MB", "MONITOR_INTERVAL_SEC", "SWAP_THRASH_KB_S", "DISK_WARNING_PCT"])
def test_what_is_not_finite_is_no_number(tmp_path: Path, key: str, number: str) -> None:
    assert f"{key}: expected a" in complain(tmp_path, f"{key}={number}")[0]
    assert f"{key}: expected a" in complain(tmp_path, "", {key: number})[0]


def test_a_tilde_is_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/op")
    config = load(tmp_path, 'STATE_DIR="~/state"\nDISK_PATHS="/, ~/disk"')
    assert config.state_directory == "/home/op/state"
    assert config.settings.DISK_PATHS == ("/", "/home/op/disk")
    assert load(tmp_path, 'STATE_DIR="~root/state"').state_directory == "/root/state"
    (line,) = complain(tmp_path, 'STATE_DIR="~nobody-has-this-name/state"')
    assert line == "monitor.conf:1: STATE_DIR: there is no such user, so ~ is no home: write the whole path"


@pytest.mark.parametrize(
    "text",
    [
        'STATE_DIR="${HOME}/state"',
        'TELEGRAM_BOT_TOKEN="${TOKEN}"',
        'TELEGRAM_BOT_TOKEN="$TOKEN"',
        'DISK_PATHS="/,${DATA}"',
        'POSTGRES_DSN="postgresql://n8n:${PASSWORD}@localhost/n8n"',
    ],
)
def test_what_a_shell_would_fill_in_is_refused(tmp_path: Path, text: str) -> None:
    (line,) = complain(tmp_path, text)
    assert line.endswith(": variables are not filled in here: write the value itself")


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("POSTGRES_DSN", "postgresql://n8n:Se@cretPw9@127.0.0.1:5999/n8n"),
        ("POSTGRES_DSN", "postgresql://n8n:Se/cretPw9@127.0.0.1:5999/n8n"),
        ("POSTGRES_DSN", "postgresql://n8n:Se?cretPw9@127.0.0.1:5999/n8n"),
        ("POSTGRES_DSN", "postgresql://n8n:Se%cretPw9@127.0.0.1:5999/n8n"),
        ("REDIS_URL", "redis://:12#cretPw9@127.0.0.1:6379/0"),
        ("REDIS_URL", "redis://:cretPw9@:@127.0.0.1:6379/0"),
        ("SMTP_URL", "smtp://op:Se@cretPw9@mail.example.org:587"),
        ("SMTP_URL", "smtp://op:Se#cretPw9@mail.example.org:587"),
        ("N8N_URL", "http://op:cretPw9@127.0.0.1:5678"),
        ("HEARTBEAT_URL", "https://op:Se/cretPw9@hc-ping.com/x"),
        # Behind a key that it does not belong to.
        ("MONITOR_INTERVAL_SEC", "redis://:cretPw9@127.0.0.1:6379/0"),
    ],
)
def test_no_part_of_an_address_with_a_password_is_repeated(tmp_path: Path, key: str, url: str) -> None:
    for lines in (complain(tmp_path, f'{key}="{url}"'), complain(tmp_path, "", {key: url})):
        (line,) = lines
        assert not any(part in line for part in ("cretPw9", "5999", "n8n:", "12", "mail.")), line
        malformed = "malformed: write special characters of the password as %XX"
        assert malformed in line or key not in CREDENTIAL_KEYS


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("POSTGRES_DSN", "postgresql://n8n:Se%40cret@[::1]:5432/n8n?sslmode=require"),
        ("POSTGRES_DSN", "postgresql://n8n@h1:5432,h2:5433/n8n"),
        ("POSTGRES_DSN", "postgresql:///n8n?host=/run/postgresql"),
        ("POSTGRES_DSN", "host=localhost password=a@b/c#d user=n8n"),
        ("REDIS_URL", "redis://localhost"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("REDIS_URL", "rediss://user:p%23w@redis.example.org:6380/1"),
        ("SMTP_URL", "smtps://op%40example.org:pw@mail.example.org:465"),
    ],
)
def test_addresses_that_are_well_formed_are_taken(tmp_path: Path, key: str, url: str) -> None:
    assert getattr(load(tmp_path, f'{key}="{url}"').settings, key) == url


def make_folder(path: Path, mode: int, owner: int = 0) -> Path:
    path.mkdir()
    write_here(path)
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def write_here(folder: Path, mode: int = 0o600, owner: int = 0) -> None:
    file = folder / "monitor.conf"
    file.write_text('WAHA_URL="http://203.0.113.9"')
    file.chmod(mode)
    os.chown(file, owner, owner)


def distrust(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError) as caught:
        load_config(None, {})
    (line,) = caught.value.lines
    assert line.startswith("./monitor.conf: ")
    assert line.endswith("; name it with --config to use it all the same")
    return line


def test_a_file_here_counts_only_where_nobody_else_could_have_written_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = make_folder(tmp_path / "ours", 0o755)
    monkeypatch.chdir(ours)
    assert load_config(None, {}).settings.WAHA_URL == "http://203.0.113.9"
    write_here(ours, owner=65534)
    assert f"{ours}/monitor.conf belongs to user id 65534" in distrust(ours, monkeypatch)
    write_here(ours, mode=0o606)
    assert f"others can write {ours}/monitor.conf (mode 0606)" in distrust(ours, monkeypatch)
    write_here(ours, mode=0o660)
    os.chown(ours / "monitor.conf", 0, 65534)
    assert f"others can write {ours}/monitor.conf (mode 0660)" in distrust(ours, monkeypatch)
    assert load_config("monitor.conf", {}).settings.WAHA_URL == "http://203.0.113.9"
    theirs = make_folder(tmp_path / "theirs", 0o755, owner=65534)
    assert f"{theirs} belongs to user id 65534" in distrust(theirs, monkeypatch)
    shared = make_folder(tmp_path / "shared", 0o1777)
    assert f"others can write {shared} (mode 1777)" in distrust(shared, monkeypatch)


def test_a_link_here_counts_only_where_nobody_else_could_have_made_it_or_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, shared = make_folder(tmp_path / "ours", 0o755), make_folder(tmp_path / "shared", 0o1777)
    (ours / "monitor.conf").unlink()
    (ours / "monitor.conf").symlink_to(shared / "monitor.conf")
    assert f"others can write {shared} (mode 1777)" in distrust(ours, monkeypatch)
    shared.chmod(0o755)
    assert load_config(None, {}).settings.WAHA_URL == "http://203.0.113.9"
    os.chown(ours / "monitor.conf", 65534, 65534, follow_symlinks=False)
    assert "belongs to user id 65534" in distrust(ours, monkeypatch)


def test_root_s_file_that_the_services_may_read_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "monitor.conf"
    path.write_text('TELEGRAM_BOT_TOKEN="1:a"')
    monkeypatch.setattr("grp.getgrgid", lambda group: struct_group(("vpsmon" if group == 64 else "users", "x", 0, [])))
    for mode, owner, group, is_warned in (
        (0o640, 0, 64, False),
        (0o640, 0, 65, True),
        (0o660, 0, 64, True),
        (0o644, 0, 64, True),
        (0o640, 65534, 64, True),
    ):
        path.chmod(mode)
        os.chown(path, owner, group)
        assert bool(load_config(str(path), {}).warnings) == is_warned, (mode, owner, group)
