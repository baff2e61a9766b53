"""A bad network between vpsmon and Telegram: nothing lost, nothing hangs, nothing floods when it is back."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.installation import ONCE, Installation
from tests.kit import telegram as bot_api
from tests.kit.command import Workdir
from tests.kit.host import FakeMachine
from tests.kit.relay import Relay, make_certificate
from tests.kit.stack import free_port, silent_server
from tests.kit.telegram import FakeTelegram
from vpsmon.config.settings import DEFAULTS, Config
from vpsmon.core.findings import ReadError
from vpsmon.net.http_client import request
from vpsmon.passes.context import PassContext
from vpsmon.passes.stack_stage import deliver
from vpsmon.passes.stages import run_kernel_stage
from vpsmon.state.shm_fallback import SparedState

# A request has 10 s; nothing asserts how long a pass takes, but that it comes back at all.
PATIENCE_SECONDS = 100.0
# Reserved for names that never exist (RFC 6761).
NO_SUCH_HOST = "api.telegram.invalid"


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder whose files need not be waited for: thousands of passes write to it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


def expect_it_waits_and_arrives(bench: Installation, words: str, **destination: str) -> None:
    """An alert cannot be sent: it says why in one line, waits, and arrives when the network is back."""
    name = bench.have_a_new_alert(**destination)
    done = bench.workdir.run(*ONCE, timeout_seconds=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(words, done.stderr), done.stderr
    assert "1 message(s) wait in the outbox" in done.stderr
    assert bench.telegram.token.partition(":")[2] not in done.stdout + done.stderr
    bench.telegram.always = None
    bench.have_a_new_alert(DISK_PATHS=str(bench.path / name))
    bench.finish()
    bench.expect_told(name, in_flight=0)


def test_nobody_listens(bench: Installation) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    expect_it_waits_and_arrives(bench, "cannot be reached: Connection refused", TELEGRAM_API_BASE=url)


def test_a_server_that_takes_the_connection_and_says_nothing(bench: Installation) -> None:
    with silent_server() as port:
        expect_it_waits_and_arrives(bench, "no answer in time", TELEGRAM_API_BASE=f"http://127.0.0.1:{port}")


def test_a_name_that_is_not_found(bench: Installation) -> None:
    expect_it_waits_and_arrives(bench, "cannot be reached: ", TELEGRAM_API_BASE=f"https://{NO_SUCH_HOST}")


@pytest.mark.parametrize("status", [200, 502])
def test_an_answer_that_comes_by_the_byte_is_not_waited_for_without_end(telegram: FakeTelegram, status: int) -> None:
    """Each byte comes well within the limit for one read; at this pace the whole would take six days."""
    telegram.always = bot_api.Answer(status, b"x" * 1_000_000, seconds_per_byte=0.5)
    with pytest.raises(ReadError, match="no answer in time"):
        request("GET", telegram.url, None, {}, timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (bot_api.server_error(), "HTTP status 500"),
        (bot_api.bad_gateway(), "HTTP status 502"),
        (bot_api.Answer(200, b"<html>Welcome to our hotel</html>", {"Content-Type": "text/html"}), "HTTP status 200"),
        (bot_api.Answer(404, b"<html>Not here</html>", {"Content-Type": "text/html"}), "HTTP status 404"),
        (bot_api.redirect("https://portal.invalid/login"), "HTTP status 302"),
        (bot_api.redirect("file:///etc/passwd"), "HTTP status 302"),
        (bot_api.Answer(200, b"[" * 100_000), "HTTP status 200"),
        (bot_api.Answer(200, b'{"ok": "yes", "result": 5}'), "HTTP status 200"),
        (bot_api.Answer(200, b"\xff\xfe\x00"), "HTTP status 200"),
        (bot_api.refusal(429, "Too Many Requests"), "asks to wait 30 s"),
        # An endless wait is an hour: kept as it is, it had the waiting alerts set aside.
        (bot_api.Answer(429, b'{"ok":false,"parameters":{"retry_after":1e999}}'), "asks to wait 3600 s"),
        (bot_api.Answer(429, b'{"ok":false,"parameters":{"retry_after":"soon"}}'), "asks to wait 30 s"),
    ],
)
def test_an_answer_that_is_none(bench: Installation, answer: bot_api.Answer, words: str) -> None:
    bench.telegram.always = answer
    name = bench.have_a_new_alert()
    done = bench.workdir.run(*ONCE)
    assert done.returncode == 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    bench.telegram.always = None
    outbox = bench.state / "outbox.json"
    outbox.write_text(re.sub(r'"not_before_seconds": [^,}]+', '"not_before_seconds": 0', outbox.read_text()))
    bench.finish()
    bench.expect_told(name, in_flight=0)


def test_a_certificate_that_nobody_knows_is_refused_and_named(bench: Installation, tmp_path: Path) -> None:
    port = int(bench.telegram.url.rpartition(":")[2])
    with Relay(port, make_certificate(tmp_path, "localhost")) as relay:
        url = f"https://localhost:{relay.port}"
        expect_it_waits_and_arrives(bench, r"certificate", TELEGRAM_API_BASE=url)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_is_used_and_it_looks_up_the_name(bench: Installation, tmp_path: Path, variable: str) -> None:
    """TLS through CONNECT to a name that only the proxy knows, as in a network without DNS for the world outside."""
    certificate = make_certificate(tmp_path, NO_SUCH_HOST)
    port = int(bench.telegram.url.rpartition(":")[2])
    with Relay(port, certificate) as api, Relay(api.port, is_proxy=True) as proxy:
        name = bench.have_a_new_alert(TELEGRAM_API_BASE=f"https://{NO_SUCH_HOST}")
        environment = {variable: f"http://127.0.0.1:{proxy.port}", "SSL_CERT_FILE": str(certificate[0])}
        done = bench.workdir.run(*ONCE, env=environment)
        assert "Traceback" not in done.stderr
        assert len(bench.list_messages(name)) == 1, done.stderr
        assert proxy.asked_for == [f"{NO_SUCH_HOST}:443"]


def test_a_wait_of_an_hour_is_kept_and_everything_arrives_after_it(
    tmp_path: Path, telegram: FakeTelegram, machine: FakeMachine
) -> None:
    """429 for an hour, on a simulated clock: it asks when it may, not at every pass."""
    state = str(tmp_path / ".alerts")
    telegram.always = bot_api.too_many_requests(60)
    for number in range(130):
        disk = tmp_path / f"disk-{number // 13}-"
        disk.mkdir(exist_ok=True)
        if number == 121:
            telegram.always = None
        complain(machine, telegram, state, critical=[disk])
        machine.sleep(30)
    assert 55 <= sum(request.method == "sendMessage" for request in telegram.requests) <= 85
    texts = "\n".join(message.text for message in telegram.messages)
    assert [f"disk-{number}-" in texts for number in range(10)] == [True] * 10


def complain(
    machine: FakeMachine, telegram: FakeTelegram, state_path: str, critical: list[Path], mild: list[Path] | None = None
) -> None:
    """Run a pass in this process, on a simulated machine and clock, in which these disks are too full."""
    host = machine.host()
    for paths, limit in ((critical, 0), (mild or [], 100)):
        settings = DEFAULTS._replace(
            TELEGRAM_BOT_TOKEN=telegram.token,
            TELEGRAM_CHAT_ID=str(telegram.chat_id),
            TELEGRAM_API_BASE=telegram.url,
            DISK_PATHS=tuple(str(path) for path in paths),
            DISK_WARNING_PCT=0,
            DISK_CRITICAL_PCT=limit,
        )
        if paths:
            context = PassContext(host, Config(settings, None, state_path), SparedState(state_path, host.wall_seconds))
            run_kernel_stage(context)
            deliver(context)


def test_a_day_offline_with_ten_thousand_findings_loses_nothing_critical(
    tmp_path: Path, memory_folder: Path, telegram: FakeTelegram, machine: FakeMachine, figures: Counter[str]
) -> None:
    state = memory_folder / ".alerts"
    telegram.stop()
    critical = []
    outbox_bytes = []
    for number in range(72):
        mild = [tmp_path / f"mild-{number:03d}-{each:03d}-" for each in range(138)]
        grave = tmp_path / f"grave-{number:03d}-"
        for path in [*mild, grave]:
            path.mkdir()
        critical.append(grave.name)
        complain(machine, telegram, str(state), [grave], mild)
        outbox_bytes.append((state / "outbox.json").stat().st_size)
        machine.sleep(1200)
    assert max(outbox_bytes) < 300_000
    assert (state / "alert_state.json").stat().st_size < 500_000
    telegram.start()
    for _ in range(40):
        complain(machine, telegram, str(state), [], [tmp_path])
        machine.sleep(30)
    texts = "\n".join(message.text for message in telegram.messages)
    lost = [name for name in critical if not re.search(f"CRITICAL disk_usage .*{name}", texts)]
    figures["critical alerts of a day offline that were lost"] += len(lost)
    assert lost == []
    assert re.search(r"\d+ older alerts were dropped for newer ones \(\d+ warning, \d+ info\)", texts)
    assert len(telegram.messages) < 450
    assert json.loads((state / "outbox.json").read_text())["entries"] == []
    figures["findings of a day offline"] += 72 * 138 + len(critical)
