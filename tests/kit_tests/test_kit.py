"""Tests of the kit against the real kernel, a real Docker engine and what is known of the Bot API."""

import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import tomli

from tests.kit import kernel
from tests.kit.command import ConfigValue, Workdir, run_vpsmon, started_vpsmon, write_config
from tests.kit.container_exec import run_in
from tests.kit.docker import (
    DockerEngine,
    EngineError,
    container_address,
    docker_engine,
    import_busybox_image,
    run_container,
)
from tests.kit.telegram import (
    CHAT_ID,
    Answer,
    FakeTelegram,
    bad_gateway,
    blocked,
    closed_connection,
    hang,
    lost_answer,
    migrated,
    redirect,
    server_error,
    slow,
    too_many_requests,
)
from tests.kit.telegram_html import MarkupError, strip_markup

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes cgroups, swap and containers: needs root")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Shows the redirect itself."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect())


def call(
    server: FakeTelegram, method: str, parameters: dict[str, Any] | None = None, token: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Call the fake with a JSON body and return status and content."""
    url = f"{server.url}/bot{server.token if token is None else token}/{method}"
    body = None if parameters is None else json.dumps(parameters).encode()
    return fetch(url, body, "application/json")


def fetch(
    url: str, body: bytes | None, content_type: str = "application/x-www-form-urlencoded"
) -> tuple[int, dict[str, Any]]:
    """Send a request and return status and JSON content, whatever the status."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})  # noqa: S310 - the fake's own address
    try:
        with OPENER.open(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}")


def send(server: FakeTelegram, text: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    """Send a message to the known chat."""
    return call(server, "sendMessage", {"chat_id": CHAT_ID, "text": text} | parameters)


def test_a_message_arrives_with_its_text_after_entity_parsing(telegram: FakeTelegram) -> None:
    """The result holds what the reader sees, the record what was sent."""
    status, content = send(telegram, "<b>a &lt; b</b> &amp; <a href='x'>c</a>", parse_mode="HTML")
    assert (status, content["ok"], content["result"]["text"]) == (200, True, "a < b & c")
    assert content["result"]["chat"] == {"id": CHAT_ID, "type": "supergroup", "title": "Operators"}
    [message] = telegram.wait_for_messages(1)
    assert (message.text, message.chat_id) == ("a < b & c", CHAT_ID)
    assert message.request.parameters["text"].startswith("<b>")


def test_without_parse_mode_markup_is_text(telegram: FakeTelegram) -> None:
    """Plain text is shown as it is."""
    assert send(telegram, "<b>a &lt; b")[1]["result"]["text"] == "<b>a &lt; b"


def test_form_bodies_are_read_as_json_ones(telegram: FakeTelegram) -> None:
    """The chat id may be text, umlauts and emoji arrive."""
    url = f"{telegram.url}/bot{telegram.token}/sendMessage"
    status, content = fetch(url, urlencode({"chat_id": CHAT_ID, "text": "ü 🔥"}).encode())
    assert (status, content["result"]["text"]) == (200, "ü 🔥")


def test_get_me_and_get_updates(telegram: FakeTelegram) -> None:
    """Both answer by GET as well; updates before the offset are gone."""
    telegram.updates = [{"update_id": 7}, {"update_id": 8}]
    assert call(telegram, "getMe")[1]["result"]["is_bot"] is True
    assert call(telegram, "getUpdates?offset=8")[1] == {"ok": True, "result": [{"update_id": 8}]}


@pytest.mark.parametrize(
    ("token", "code", "description"),
    [
        ("123456789:wrong", 401, "Unauthorized"),
        ("no-colon", 401, "Unauthorized: invalid token specified"),
        ("0123:x", 401, "Unauthorized: invalid token specified"),
        ("a/b", 404, "Not Found"),
    ],
)
def test_wrong_tokens_are_refused(telegram: FakeTelegram, token: str, code: int, description: str) -> None:
    """In the shape and words of the Bot API."""
    answer = call(telegram, "sendMessage", {"chat_id": CHAT_ID, "text": "x"}, token)
    assert answer == (code, {"ok": False, "error_code": code, "description": description})
    assert telegram.messages == []


@pytest.mark.parametrize(
    ("parameters", "description"),
    [
        ({"text": ""}, "message text is empty"),
        ({"text": " \n "}, "text must be non-empty"),
        ({"text": "<b></b>", "parse_mode": "HTML"}, "text must be non-empty"),
        ({"text": "x" * 4097}, "message is too long"),
        ({"text": "🔥" * 2049}, "message is too long"),
        ({"text": "\udc80"}, "strings must be encoded in UTF-8"),
        ({"text": "x", "chat_id": 5}, "chat not found"),
        ({"text": "x", "chat_id": "@nobody"}, "chat not found"),
        ({"text": "x", "chat_id": ""}, "chat_id is empty"),
        ({"text": "x", "message_thread_id": 9}, "message thread not found"),
        ({"text": "x", "parse_mode": "Markup"}, "unsupported parse_mode"),
        ({"text": "1 < 2", "parse_mode": "HTML"}, 'can\'t parse entities: Unsupported start tag "" at byte offset 2'),
    ],
)
def test_bad_messages_are_refused(telegram: FakeTelegram, parameters: dict[str, Any], description: str) -> None:
    """400 with the reason, and nothing is accepted."""
    status, content = call(telegram, "sendMessage", {"chat_id": CHAT_ID} | parameters)
    assert (status, content) == (400, {"ok": False, "error_code": 400, "description": f"Bad Request: {description}"})
    assert telegram.messages == []


@pytest.mark.parametrize("text", ["x" * 4096, "🔥" * 2048, "<b>" + "&lt;" * 4096 + "</b>"])
def test_the_limit_is_counted_in_utf16_after_parsing(telegram: FakeTelegram, text: str) -> None:
    """4096 units pass, however long the markup is."""
    assert send(telegram, text, parse_mode="HTML")[0] == 200


@pytest.mark.parametrize(
    ("markup", "error"),
    [
        ("ü <x>a</x>", 'Unsupported start tag "x" at byte offset 3'),
        ("<b>a", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b><i>a</b></i>", 'Unmatched end tag at byte offset 7, expected "</i>", found "</b>"'),
        ("a</b>", "Unexpected end tag at byte offset 1"),
        ("a <", "Unclosed start tag at byte offset 2"),
        ("a <b", "Unclosed start tag at byte offset 2"),
        ('<a href="x', "Unclosed start tag at byte offset 0"),
        ("<b>a</b", "Unclosed end tag at byte offset 4"),
        ("<a href=x/y>a</a>", "Unexpected end of name token at byte offset 8"),
        ("<a =x>a</a>", 'Empty attribute name in the tag "a" at byte offset 0'),
        ("<span>a</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ("<br/>", 'Unsupported start tag "br/" at byte offset 0'),
    ],
)
def test_bad_markup_is_refused(markup: str, error: str) -> None:
    """In the words of the Bot API, with offsets in bytes."""
    with pytest.raises(MarkupError) as caught:
        strip_markup(markup)
    assert str(caught.value) == error


def test_half_a_surrogate_pair_is_refused() -> None:
    """The only entity that is an error."""
    with pytest.raises(MarkupError, match="unmatched surrogate code units"):
        strip_markup("&#xd800;")


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a > b & c &nbsp; &ltx &#0;", "a > b & c &nbsp; &ltx &#0;"),
        ("&lt;&gt;&amp;&quot;&#65;&#x42&lt", '<>&"AB<'),
        ("&amp;lt;", "&lt;"),
        ("<B>x</b ><pre><code class='language-sh'>y</code></pre>", "xy"),
        ('<a href="a>b">x</a><span class="tg-spoiler">y</span><b>z</>', "xyz"),
        ("<blockquote expandable>x</blockquote>", "x"),
    ],
)
def test_good_markup_is_stripped(markup: str, text: str) -> None:
    """What starts with & and is no known entity stays, without an error."""
    assert strip_markup(markup) == text


@pytest.mark.parametrize(
    ("answer", "status", "content"),
    [
        (
            too_many_requests(7),
            429,
            {"description": "Too Many Requests: retry after 7", "parameters": {"retry_after": 7}},
        ),
        (server_error(), 500, {"description": "Internal Server Error: restart"}),
        (blocked(), 403, {"description": "Forbidden: bot was blocked by the user"}),
        (
            migrated(-1009),
            400,
            {
                "description": "Bad Request: group chat was upgraded to a supergroup chat",
                "parameters": {"migrate_to_chat_id": -1009},
            },
        ),
    ],
)
def test_scripted_refusals_come_once(
    telegram: FakeTelegram, answer: Answer, status: int, content: dict[str, Any]
) -> None:
    """The message behind one is not accepted, the next one is."""
    telegram.script(answer)
    assert send(telegram, "x") == (status, {"ok": False, "error_code": status} | content)
    assert send(telegram, "y")[0] == 200
    assert [message.text for message in telegram.messages] == ["y"]
    assert len(telegram.requests) == 2


def test_a_bad_gateway_answers_html(telegram: FakeTelegram) -> None:
    """A client that expects JSON in every answer fails here."""
    telegram.script(bad_gateway())
    with pytest.raises(json.JSONDecodeError):
        send(telegram, "x")
    assert telegram.messages == []


def test_a_redirect_is_answered(telegram: FakeTelegram) -> None:
    """With the location that was asked for."""
    telegram.script(redirect("http://127.0.0.1:9/"))
    connection = http.client.HTTPConnection(telegram.url.removeprefix("http://"), timeout=10)
    connection.request("GET", f"/bot{telegram.token}/getMe")
    response = connection.getresponse()
    assert (response.status, response.headers["Location"]) == (302, "http://127.0.0.1:9/")
    connection.close()


@pytest.mark.parametrize(("answer", "accepted"), [(closed_connection(), 0), (hang(0.2), 0), (lost_answer(), 1)])
def test_connections_are_lost(telegram: FakeTelegram, answer: Answer, accepted: int) -> None:
    """Without an answer, before or after the message was accepted."""
    telegram.script(answer)
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, ConnectionError)):
        send(telegram, "x")
    assert len(telegram.messages) == accepted


def test_a_slow_answer_is_whole(telegram: FakeTelegram) -> None:
    """It only takes its time."""
    telegram.script(slow(0.001))
    assert send(telegram, "x")[0] == 200


def test_a_stop_ends_a_hanging_request(telegram: FakeTelegram) -> None:
    """No test waits for the hour that it scripted."""
    telegram.script(hang(3600))
    request = subprocess.Popen([sys.executable, "-c", f"import urllib.request as u; u.urlopen('{telegram.url}/')"])
    kernel.wait_until(lambda: bool(telegram.requests), 10, "the request")
    telegram.stop()
    assert request.wait(10) != 0


def test_the_network_goes_down_and_comes_back_on_the_same_port(telegram: FakeTelegram) -> None:
    """Down means refused, also for a connection that was kept open."""
    address = telegram.url.removeprefix("http://")
    kept_open = http.client.HTTPConnection(address, timeout=10)
    kept_open.request("GET", f"/bot{telegram.token}/getMe")
    kept_open.getresponse().read()
    telegram.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        send(telegram, "x")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        kept_open.request("GET", "/")
        kept_open.getresponse()
    kept_open.close()
    telegram.start()
    assert telegram.url == f"http://{address}"
    assert send(telegram, "y")[0] == 200


def test_a_migrated_chat_is_refused_for_good_and_its_successor_accepted(telegram: FakeTelegram) -> None:
    """As after a group was turned into a supergroup."""
    telegram.migrate(CHAT_ID, -1005)
    assert send(telegram, "x")[1]["parameters"] == {"migrate_to_chat_id": -1005}
    assert send(telegram, "x", chat_id=-1005)[0] == 200


def test_waiting_for_messages_that_do_not_come_fails(telegram: FakeTelegram) -> None:
    """The wait can fail."""
    with pytest.raises(TimeoutError, match="0 of 1"):
        telegram.wait_for_messages(1, timeout_seconds=0.1)


def kernel_records() -> list[str]:
    """All records of the kernel log that are left."""
    records: list[str] = []
    with open(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as log:
        while True:
            try:
                record = os.read(log.fileno(), 8192)
            except BlockingIOError:
                return records
            except BrokenPipeError:
                continue  # records were lost while reading
            records.append(record.decode())


@needs_root
@pytest.mark.parametrize("name", ["hog", "a,pid=1,uid=9"])
def test_an_oom_kill_appears_in_the_kernel_log(name: str) -> None:
    """With the victim's name and process id, and in the counter."""
    counted = kernel.read_vmstat("oom_kill")
    pid = kernel.kill_by_out_of_memory(name)
    assert kernel.read_vmstat("oom_kill") > counted
    assert any(f"Killed process {pid} ({name})" in record for record in kernel_records())
    assert left_cgroups() == []


def left_cgroups() -> list[Path]:
    """The cgroups of this process that are still there."""
    name, root = f"{kernel.PREFIX}-{os.getpid()}-*", Path("/sys/fs/cgroup")
    return [*root.glob(name), *root.glob(f"memory/{name}")]


@needs_root
def test_a_process_that_is_not_oom_killed_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hog that ends by itself fails the call, and its cgroup goes."""
    monkeypatch.setattr(kernel, "HOG_SCRIPT", "raise SystemExit(0)")
    with pytest.raises(RuntimeError, match="ended with 0"):
        kernel.kill_by_out_of_memory()
    assert left_cgroups() == []


@needs_root
def test_a_memory_cgroup_is_removed_with_what_runs_in_it() -> None:
    """Also when the test in it fails."""
    sleeper = subprocess.Popen(["sleep", "60"])
    with pytest.raises(ZeroDivisionError), kernel.memory_cgroup(kernel.HOG_LIMIT_BYTES) as folder:
        (folder / "cgroup.procs").write_text(str(sleeper.pid))
        raise ZeroDivisionError
    assert sleeper.wait(10) == -signal.SIGKILL
    assert not folder.exists()


@needs_root
def test_a_swap_file_is_in_use_only_while_it_is_open() -> None:
    """Also when the test in it fails."""
    with pytest.raises(ZeroDivisionError), kernel.swap_file(16 * kernel.MIB_BYTES) as path:
        assert str(path) in Path("/proc/swaps").read_text()
        raise ZeroDivisionError
    assert str(path) not in Path("/proc/swaps").read_text()
    assert not path.exists()


@needs_root
def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    """A swap file in use and a cgroup, made by a process that was killed in the middle."""
    script = (
        "import os; from tests.kit import kernel as k\n"
        "with k.swap_file(16 << 20) as swap, k.memory_cgroup(1 << 25) as cgroup:\n"
        "    print(swap, cgroup, flush=True); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    left = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, timeout=60)
    paths = [Path(word) for word in left.stdout.split()]
    assert [path.exists() for path in paths] == [True, True]
    with kernel.swap_file(16 * kernel.MIB_BYTES), kernel.memory_cgroup(kernel.HOG_LIMIT_BYTES):
        kernel.wait_until(lambda: not any(path.exists() for path in paths), 20, f"{paths} are gone")
        assert str(paths[0]) not in Path("/proc/swaps").read_text()


@needs_root
def test_swap_traffic_moves_the_counters() -> None:
    """Both ways, by at least what was asked for."""
    pages_in, pages_out = kernel.read_vmstat("pswpin"), kernel.read_vmstat("pswpout")
    traffic = kernel.swap_traffic(least_pages=3000)
    assert min(traffic.pages_in, traffic.pages_out) >= 3000
    assert kernel.read_vmstat("pswpin") - pages_in >= 3000
    assert kernel.read_vmstat("pswpout") - pages_out >= 3000
    assert f"{kernel.PREFIX}-{os.getpid()}-" not in Path("/proc/swaps").read_text()


@needs_root
def test_memory_pressure_stalls_the_host() -> None:
    """Some and full rise, and everything is gone afterwards."""
    with kernel.memory_pressure(least_full_percent=3.0):
        assert kernel.read_pressure_percent("full") >= 3.0
        assert kernel.read_pressure_percent("some") >= 3.0
    assert left_cgroups() == []
    assert f"{kernel.PREFIX}-{os.getpid()}-" not in Path("/proc/swaps").read_text()


@needs_root
def test_a_container_is_really_oom_killed(engine: DockerEngine) -> None:
    """Docker itself says so, and the kernel names the container."""
    # tail keeps the last line, and /dev/zero has no end of line. Without the sleep dockerd 20.10 on a busy machine
    # missed the kill of a container that had just started in 12 of 258 tries: OOMKilled stayed false; with it 0 of 80.
    command = ["sh", "-c", "sleep 2; exec tail /dev/zero"]
    limits = {"mem_limit": "16m", "memswap_limit": "16m"}
    with run_container(engine, "kit-oom", command, **limits) as container:
        assert container.wait(timeout=60)["StatusCode"] == 137
        container.reload()
        assert container.attrs["State"]["OOMKilled"] is True
        assert any(f"/docker/{container.id}" in r and "oom-kill:" in r for r in kernel_records())


def http_status(address: str) -> int:
    """What the web server there answers, asked until it listens."""
    statuses: list[int] = []

    def answers() -> bool:
        with suppress(ConnectionError):
            connection = http.client.HTTPConnection(address, 80, timeout=10)
            connection.request("GET", "/")
            statuses.append(connection.getresponse().status)
            connection.close()
        return bool(statuses)

    kernel.wait_until(answers, 20, f"an answer from {address}")
    return statuses[0]


@needs_root
def test_a_container_answers_on_its_address(engine: DockerEngine) -> None:
    """Without a published port, on the default bridge and on an internal network."""
    network = engine.client.networks.create("kit-internal", internal=True)
    server = ["httpd", "-f", "-p", "80"]
    with (
        run_container(engine, "kit-web", server) as web,
        run_container(engine, "kit-internal-web", server, network="kit-internal") as internal,
    ):
        assert [http_status(container_address(container)) for container in (web, internal)] == [404, 404]
    network.remove()


@needs_root
def test_a_second_engine_has_nothing_in_common_with_the_first(engine: DockerEngine) -> None:
    """Neither containers nor images, and after its end the first still works."""
    with run_container(engine, "kit-first", ["sleep", "60"]) as first:
        with docker_engine() as second:
            assert second.client.containers.list(all=True) == []
            assert second.client.images.list() == []
        first.reload()
        assert first.status == "running"
        assert first.exec_run(["true"]).exit_code == 0


@needs_root
def test_a_command_in_a_container_is_told_with_all_that_it_printed(engine: DockerEngine) -> None:
    script = "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; echo wrong >&2; exit 3"
    with run_container(engine, "kit-first", ["sleep", "60"]) as container:
        done = run_in(container, ["sh", "-c", script])
    assert done == (3, "".join(f"{number}\n" for number in range(30_000)), "wrong\n")


@needs_root
def test_a_killed_engine_leaves_nothing() -> None:
    """No container, no mount, no folder, no bridge, although dockerd could not clean up."""
    bridges_before = bridges()
    with docker_engine() as engine:
        import_busybox_image(engine)
        with run_container(engine, "kit-left", ["sleep", "3600"]) as container:
            container.reload()
            pid = container.attrs["State"]["Pid"]
            engine.process.kill()
            engine.process.wait(10)
    kernel.wait_until(lambda: is_gone(pid), 10, "the container's process is gone")
    assert not engine.folder.exists()
    assert str(engine.folder) not in Path("/proc/self/mounts").read_text()
    assert bridges() == bridges_before


def bridges() -> list[str]:
    """The bridges that this process has made."""
    return sorted(path.name for path in Path("/sys/class/net").glob(f"vpm{os.getpid()}-*"))


def is_gone(pid: int) -> bool:
    """Whether the process has ended; as a zombie it waits for an init that may not reap."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@needs_root
def test_an_engine_of_a_killed_run_ends_and_the_next_removes_what_is_left() -> None:
    """Its containers too."""
    script = (
        "import os; from tests.kit.docker import *\n"
        "with docker_engine() as e:\n"
        "    import_busybox_image(e)\n"
        "    with run_container(e, 'left', ['sleep', '3600']) as c:\n"
        "        c.reload(); print(e.folder, c.attrs['State']['Pid'], flush=True); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    left = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, timeout=60)
    folder, pid = left.stdout.split()
    with docker_engine():
        kernel.wait_until(lambda: is_gone(int(pid)), 30, "the container's process is gone")
        kernel.wait_until(lambda: not Path(folder).exists(), 30, f"{folder} is gone")


@needs_root
def test_an_engine_that_does_not_come_up_shows_its_log() -> None:
    """And leaves no bridge."""
    bridges_before = bridges()
    with pytest.raises(EngineError, match="no-such"), docker_engine("--storage-driver=no-such"):
        pass
    assert bridges() == bridges_before


@pytest.fixture
def fake_vpsmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of the console script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))

    def write(script: str) -> None:
        (folder / "vpsmon").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "vpsmon").chmod(0o755)

    return write


def test_vpsmon_runs_without_the_settings_of_the_caller(
    fake_vpsmon: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, workdir: Workdir
) -> None:
    """But with what is given, in the folder that is given."""
    for name in ("TELEGRAM_BOT_TOKEN", "VPSMON_CONFIG", "http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "of the caller")
    fake_vpsmon('env; pwd; echo "$1" >&2; exit 3')
    result = workdir.run("--version", env={"TELEGRAM_CHAT_ID": "1"})
    assert (result.returncode, result.stderr) == (3, "--version\n")
    assert "of the caller" not in result.stdout
    assert "TELEGRAM_CHAT_ID=1\n" in result.stdout
    assert str(workdir.path) in result.stdout.splitlines()


def test_a_timeout_kills_the_children_too(fake_vpsmon: Callable[[str], None], tmp_path: Path) -> None:
    """A child that holds the output open does not hold up the test."""
    fake_vpsmon(f"sleep 3600 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(subprocess.TimeoutExpired):
        run_vpsmon([], timeout_seconds=1)
    child = int((tmp_path / "pid").read_text())
    kernel.wait_until(lambda: is_gone(child), 10, "the child is gone")


def test_a_started_vpsmon_takes_signals(fake_vpsmon: Callable[[str], None]) -> None:
    """And is gone when the block ends."""
    fake_vpsmon("trap 'echo stopped; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    with started_vpsmon([]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "stopped\n"
    assert process.returncode is not None


def test_the_config_is_valid_toml_of_mode_0600(tmp_path: Path) -> None:
    """Whatever the values hold, and also when it is written again."""
    keys: dict[str, ConfigValue] = {
        "TELEGRAM_BOT_TOKEN": 'a"b\\c\n\x7fü🔥',
        "SWAP_WARNING_MB": 5,
        "ENABLE_AUTO_RECOVERY": False,
        "X": 1.5,
    }
    write_config(tmp_path, OLD=1).chmod(0o644)
    path = write_config(tmp_path, **keys)
    assert tomli.loads(path.read_text(encoding="utf-8")) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
