"""Numbers that nothing real has, from Docker, Redis, n8n, WAHA and Telegram: said where they come in, kept nowhere.

A state file that held one would be set aside by the next pass, and what was to be undone or told would go with it.
PostgreSQL is not among them: the queries ask for types that end below 2^64.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.faults.conftest import Effort
from tests.faults.installation import ONCE, Installation
from tests.kit.command import Workdir
from tests.kit.engine import FakeEngine, PretendContainer
from tests.kit.local_server import JSON, Answer, Request
from tests.kit.n8n import FakeN8n
from tests.kit.telegram import Answer as TelegramAnswer
from tests.kit.telegram import FakeTelegram
from tests.kit.waha import FakeWaha
from vpsmon.config.settings import DEFAULTS
from vpsmon.stack.n8n.api import list_active_workflows
from vpsmon.system.host import Host

IMPOSSIBLE = [str(2**64), "9" * 400, "9" * 5000, "1e999", "-1e999", "1e300", "NaN", "Infinity", "[" * 100_000]
# The library makes a number of the first five, a table or a list of others, and leaves the rest as it is.
IN_INFO = [str(2**64), "9" * 400, "1.0e999", "-9.9e999", "1.0e300", "a=1,b=2", "1,2", "nan", "1e999"]
KEYS = ["RestartCount", "Pid", "ExitCode", "Memory"]
ODD, SOUND = "0dd" * 21 + "0", "50d" * 21 + "5"


@pytest.fixture
def bench(workdir: Workdir, telegram: FakeTelegram) -> Installation:
    return Installation(workdir, telegram)


class OddEngine(FakeEngine):
    """An engine that says something odd of one container, below one key of the answer to an inspect."""

    key, says = "RestartCount", "0"

    def judge(self, request: Request) -> Answer:
        answer = super().judge(request)
        if ODD not in request.path:
            return answer
        number = re.compile(rb'"%b":-?\d+' % self.key.encode())
        return replace(answer, body=number.sub(f'"{self.key}":{self.says}'.encode(), answer.body))


def read_rows(bench: Installation, words: Sequence[str], check: str, **env: str) -> dict[str | None, dict[str, str]]:
    """Run a pass that is to end well and to find its state as it was left, and return the rows of a check by object."""
    done = bench.workdir.run(*words, "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "unreadable" not in done.stderr
    rows = json.loads(done.stdout)["checks"]
    assert not [row for row in rows if "unexpected" in (row["reason"] or "")], rows
    return {row["object"]: row for row in rows if row["check"] == check}


def expect_quiet_recovery(bench: Installation, **env: str) -> None:
    done = bench.workdir.run("recover", env=env)
    assert "Traceback" not in done.stderr, done.stderr
    assert "unreadable" not in done.stderr, done.stderr


def test_an_impossible_number_of_a_container_is_said_of_it_alone_and_kept_nowhere(
    bench: Installation, effort: Effort
) -> None:
    odd = PretendContainer(ODD, "odd", status="restarting", restart_count=5)
    with OddEngine(odd, PretendContainer(SOUND, "sound", restart_count=2)) as engine:
        docker = {"DOCKER_HOST": engine.host}
        read_rows(bench, ONCE, "container_restarts", **docker)
        others = effort.some([(key, number) for number in IMPOSSIBLE for key in KEYS], 2)
        for key, number in [("RestartCount", IMPOSSIBLE[0]), *others]:
            name = bench.have_a_new_alert(ENABLE_AUTO_RECOVERY=False)
            engine.key, engine.says = key, number
            for _ in range(2):
                rows = read_rows(bench, ONCE, "container_restarts", **docker)
                assert rows["odd"]["status"] == "unknown", (key, number[:30], rows["odd"])
                assert rows["sound"]["status"] != "unknown"
            expect_quiet_recovery(bench, **docker)
            bench.expect_told(name, in_flight=0)
            bench.expect_sound_state()


@dataclass
class OddRedis:
    """A server that speaks RESP, and whose INFO and lengths of lists are what a test wants."""

    info: dict[str, str] = field(
        default_factory=lambda: {
            "used_memory": "1000",
            "maxmemory": "0",
            "evicted_keys": "0",
            "connected_clients": "1",
            "run_id": "a",
        }
    )
    length: str = "0"
    port: int = 0

    def answer(self, words: list[bytes]) -> bytes:
        verb = words[0].upper()
        if verb == b"INFO":
            text = "".join(f"{key}:{value}\r\n" for key, value in self.info.items()).encode()
            return b"$%d\r\n%b\r\n" % (len(text), text)
        if verb == b"LRANGE":
            return b"*0\r\n"
        if verb in (b"LLEN", b"ZCARD"):
            return f":{self.length}\r\n".encode()
        if verb == b"EXISTS":
            return b":1\r\n"
        return b"$1\r\n7\r\n" if verb in (b"LINDEX", b"HGET") else b"+OK\r\n"


@contextmanager
def odd_redis() -> Iterator[OddRedis]:
    redis = OddRedis()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:-2])
                self.wfile.write(redis.answer(words))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        redis.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield redis
        server.shutdown()


NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def test_an_impossible_number_in_the_info_of_redis_is_said_and_kept_nowhere(
    bench: Installation, effort: Effort
) -> None:
    with odd_redis() as redis:
        name = bench.have_a_new_alert(REDIS_URL=f"redis://127.0.0.1:{redis.port}/0")
        assert read_rows(bench, ONCE, "redis_memory", **NO_DOCKER)[None]["status"] == "ok"
        sound = dict(redis.info)
        others = effort.some([(key, number) for number in IN_INFO for key in ("evicted_keys", "maxmemory")], 2)
        for key, number in [("evicted_keys", IN_INFO[0]), *others]:
            redis.info = {**sound, key: number}
            for _ in range(2):
                row = read_rows(bench, ONCE, "redis_memory", **NO_DOCKER)[None]
                assert row["status"] == "unknown", (key, number, row)
        bench.expect_told(name, in_flight=0)
        bench.expect_sound_state()


@pytest.mark.parametrize("number", [str(2**64), "9" * 400])
def test_an_impossible_length_of_the_queue_of_n8n_is_said_and_kept_nowhere(bench: Installation, number: str) -> None:
    with FakeN8n() as n8n, odd_redis() as redis:
        name = bench.have_a_new_alert(
            N8N_URL=n8n.url, REDIS_URL=f"redis://127.0.0.1:{redis.port}/0", ENABLE_AUTO_RECOVERY=False
        )
        redis.length = "500"
        assert read_rows(bench, ONCE, "n8n_queue", **NO_DOCKER)[None]["status"] == "critical"
        redis.length = number
        for _ in range(2):
            row = read_rows(bench, ONCE, "n8n_queue", **NO_DOCKER)[None]
            assert row["status"] == "unknown", row
            expect_quiet_recovery(bench, **NO_DOCKER)
        bench.expect_told(name, in_flight=0)
        bench.expect_sound_state()


def test_an_impossible_time_from_waha_is_a_time_that_is_not_known_and_kept_nowhere(
    bench: Installation, effort: Effort
) -> None:
    with FakeWaha() as waha:
        name = bench.have_a_new_alert(WAHA_URL=waha.url, WAHA_API_KEY="x")
        # The second is no JSON: a session has its row then because the pass before has seen it.
        for number in ["1", *effort.some(IMPOSSIBLE, 4)]:
            text = f'[{{"name": "default", "status": "WORKING", "timestamps": {{"activity": {number}}}}}]'
            waha.always = Answer(200, text.encode(), JSON)
            for _ in range(2):
                rows = read_rows(bench, ONCE, "waha_session", **NO_DOCKER)
                # What Python takes for no JSON is trouble of WAHA; else its session works, only not known since when.
                is_json = number[:1] != "[" and len(number) < 4300
                assert rows["default"]["status"] == ("ok" if is_json else "unknown"), (number[:30], rows)
        bench.expect_told(name, in_flight=0)
        bench.expect_sound_state()


@pytest.mark.parametrize("number", ["5", str(2**64), "1e999", "NaN"])
def test_a_number_for_the_next_page_of_n8n_is_a_page_like_another(number: str) -> None:
    with FakeN8n() as n8n:
        n8n.always = Answer(200, f'{{"data": [], "nextCursor": {number}}}'.encode(), JSON)
        settings = DEFAULTS._replace(N8N_URL=n8n.url, N8N_API_KEY="x")
        assert list_active_workflows(Host(), settings, "low") == []
        assert len(n8n.requests) == 10


@pytest.mark.parametrize("number", IMPOSSIBLE)
def test_a_wait_of_any_length_that_telegram_asks_for_loses_no_alert(bench: Installation, number: str) -> None:
    text = f'{{"ok": false, "error_code": 429, "description": "x", "parameters": {{"retry_after": {number}}}}}'
    name = bench.have_a_new_alert()
    bench.telegram.always = TelegramAnswer(429, text.encode())
    for _ in range(2):
        done = bench.workdir.run(*ONCE, env=NO_DOCKER)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "unreadable" not in done.stderr
    assert len(json.loads((bench.state / "outbox.json").read_text())["entries"]) == 1
    assert not [path for path in bench.state.iterdir() if "corrupt" in path.name], name
