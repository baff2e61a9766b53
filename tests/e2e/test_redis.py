"""The Redis check against real servers, on this host and in containers; the numbers are those of redis-cli."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.container_exec import run_in
from tests.kit.docker import DockerEngine, internal_network, run_container
from tests.kit.kernel import wait_until
from tests.kit.stack import (
    STACK_IMAGE,
    RedisServer,
    find_rows,
    free_port,
    import_stack_image,
    redis_server,
    silent_server,
)
from vpsmon.checks.stack import redis
from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, Previous, ReadError, Starting
from vpsmon.stack.redis.protocol import TcpTarget
from vpsmon.stack.redis.server import find_server, read_redis
from vpsmon.system.host import Host

SECRET = "s3cr%t pa'ss"
NO_DOCKER = "unix:///nonexistent/docker.sock"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server without a password for the tests that leave it as it is."""
    with redis_server() as running:
        yield running


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever engine runs on this machine is none of these tests' business."""
    monkeypatch.setenv("DOCKER_HOST", NO_DOCKER)


def see(url: str, previous: Previous | None = None) -> Finding:
    return find_rows(redis, Settings(REDIS_URL=url), previous)["redis_memory"]


def reason_of(url: str) -> str:
    row = see(url)
    assert row.status == "unknown", row
    assert row.reason
    assert SECRET not in str(row)
    return row.reason


def test_memory_keys_and_clients_are_those_of_redis_cli(server: RedisServer) -> None:
    server.cli("DEBUG", "POPULATE", 123_456)
    server.cli("-n", 3, "SET", "another", "one")
    row = see(server.url)
    assert row.status == "ok"
    assert row.value == pytest.approx(int(server.info("used_memory")), rel=0.02)
    assert "in 123457 keys for 1 client, no maxmemory limit" in row.message


def test_other_readers_share_the_connection_and_get_plain_values(server: RedisServer) -> None:
    server.cli("-n", 5, "LPUSH", "list", "b", "a")
    server.cli("-n", 5, "ZADD", "sorted", 1, "x")
    server.cli("-n", 5, "HSET", "hash", "field", "value")
    host, settings = Host(), Settings(REDIS_URL=server.url)
    commands = [
        ("LLEN", "list"),
        ("ZCARD", "sorted"),
        ("LRANGE", "list", 0, -1),
        ("HGET", "hash", "field"),
        ("HGET", "hash", "none"),
        ("EXISTS", "list"),
        ("TYPE", "sorted"),
        ("LLEN", "nothing"),
        ("HGETALL", "hash"),
        ("LRANGE", "nothing", 0, -1),
    ]
    expected = [2, 1, ["a", "b"], "value", None, 1, "zset", 0, ["field", "value"], []]
    assert read_redis(host, settings, commands, database=5) == expected
    assert read_redis(host, settings, [("EXISTS", "hash")]) == [0]
    with pytest.raises(ReadError, match="WRONGTYPE"):
        read_redis(host, settings, [("LLEN", "hash"), ("TYPE", "hash")], database=5)
    assert read_redis(host, settings, [("TYPE", "hash")], database=5) == ["hash"]
    assert int(server.info("connected_clients")) == 3  # redis-cli itself, and one for each database
    del host
    gc.collect()
    wait_until(lambda: server.info("connected_clients") == "1", 5, "the connections are closed")


def test_full_with_noeviction_is_critical_before_writes_fail() -> None:
    with redis_server("--maxmemory", "4mb", "--maxmemory-policy", "noeviction") as full:
        assert see(full.url).status == "ok"
        number = 0
        while (answer := full.cli("SET", f"key{number}", "x" * 50_000)) == "OK":
            number += 1
        assert "OOM command not allowed" in answer
        row = see(full.url)
        assert row.status == "critical"
        assert "noeviction, it refuses writes at 100 %" in row.message
        assert f"{100 * int(full.info('used_memory')) / (4 << 20):.0f} % of maxmemory (4.0 MB)" in row.message


def test_full_with_an_eviction_policy_is_normal_and_evictions_are_told() -> None:
    with redis_server("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru") as full:
        settings = Settings(REDIS_URL=full.url)
        previous = Previous(redis.remember(redis.read(Host(), settings, None), None), 30.0)
        for number in range(100):
            full.cli("SET", f"key{number}", "x" * 50_000)
        row = see(full.url, previous)
        assert row.status == "ok"
        evicted = int(full.info("evicted_keys"))
        assert evicted > 0
        assert row.message.endswith(f"allkeys-lru, {evicted} keys evicted since the previous pass")


def test_a_missing_password_and_a_wrong_one_each_say_what_to_do() -> None:
    with redis_server("--requirepass", SECRET) as locked:
        assert reason_of(locked.url) == "Redis (REDIS_URL) wants a password; check user and password in REDIS_URL"
        wrong = f"redis://:wrong@127.0.0.1:{locked.port}"
        assert reason_of(wrong) == "Redis (REDIS_URL) refuses the password; check user and password in REDIS_URL"
        assert see(f"redis://:s3cr%25t%20pa'ss@127.0.0.1:{locked.port}/0").status == "ok"


def test_an_acl_user_needs_no_more_than_info(server: RedisServer) -> None:
    server.cli("ACL", "SETUSER", "watcher", "on", ">w", "+info")
    server.cli("ACL", "SETUSER", "nobody", "on", ">n", "+ping")
    server.cli("ACL", "SETUSER", "open", "on", "nopass", "+info")
    server.cli("ACL", "SETUSER", "default", "-info")
    try:
        assert see(f"redis://watcher:w@127.0.0.1:{server.port}").status == "ok"
        assert see(f"redis://open@127.0.0.1:{server.port}").status == "ok"
        assert "ACL SETUSER" in reason_of(server.url)
    finally:
        server.cli("ACL", "SETUSER", "default", "+info")
    reason = reason_of(f"redis://nobody:n@127.0.0.1:{server.port}")
    assert "ACL SETUSER" in reason
    assert "'info'" in reason


def test_a_server_that_loads_its_data_says_how_far_it_is(tmp_path: Path) -> None:
    with redis_server(folder=tmp_path) as first:
        first.cli("DEBUG", "POPULATE", 50_000)
        first.cli("SAVE")
    delays = ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"]
    with redis_server(*delays, folder=tmp_path) as slow:
        assert "LOADING" in slow.cli("PING")
        assert "loading its data from disk, " in reason_of(slow.url)
        assert "% done, about" in reason_of(slow.url)
        with pytest.raises(Starting, match="loading its data from disk; wait"):
            read_redis(Host(), Settings(REDIS_URL=slow.url), [("LLEN", "list")])


def test_a_frozen_server_costs_one_deadline_whoever_asks(server: RedisServer) -> None:
    server.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        host, settings = Host(), Settings(REDIS_URL=server.url)
        for database in (None, 1, 2):
            with pytest.raises(ReadError, match="does not answer within 2 s"):
                read_redis(host, settings, [("PING",)], database)
        assert time.monotonic() - started < 3
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_server_that_freezes_during_the_pass_costs_one_deadline(server: RedisServer) -> None:
    host, settings = Host(), Settings(REDIS_URL=server.url)
    read_redis(host, settings, [("PING",)])
    server.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(ReadError, match="does not answer within 2 s"):
            read_redis(host, settings, [("PING",)])
        assert time.monotonic() - started < 3
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_server_that_takes_the_connection_and_is_silent_costs_one_deadline() -> None:
    started = time.monotonic()
    with silent_server() as port:
        assert "does not answer within 2 s" in reason_of(f"redis://127.0.0.1:{port}")
    assert time.monotonic() - started < 3


def test_nothing_that_listens_is_said_at_once() -> None:
    started = time.monotonic()
    assert "is not listening" in reason_of(f"redis://127.0.0.1:{free_port()}")
    assert time.monotonic() - started < 1.5


def test_a_full_client_list_is_said() -> None:
    with redis_server("--maxclients", "1") as full:
        first = subprocess.Popen(["redis-cli", "-p", str(full.port), "SUBSCRIBE", "x"], stdout=subprocess.PIPE)
        with first:
            try:
                assert first.stdout
                first.stdout.readline()
                assert "max number of clients" in reason_of(full.url)
            finally:
                first.kill()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[RedisServer, str, str]]:
    """A server with a password, and URLs of its Unix socket and of its TLS port, with places for user and password."""
    certificate, key, socket_path, tls_port = tmp_path / "cert", tmp_path / "key", tmp_path / "socket", free_port()
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*argv, *subject], check=True, capture_output=True)
    tls = ["--tls-port", str(tls_port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    trust = ["--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"]
    with redis_server("--unixsocket", str(socket_path), "--requirepass", SECRET, *tls, *trust) as running:
        unix_url = f"unix://{{login}}{socket_path}"
        yield running, unix_url, f"rediss://{{login}}127.0.0.1:{tls_port}?ssl_ca_certs={certificate}"


def test_tls_and_a_unix_socket_give_the_same_answers_and_refusals(secured: tuple[RedisServer, str, str]) -> None:
    running, *urls = secured
    login = ["-a", SECRET, "--no-auth-warning"]
    running.cli(*login, "-n", 5, "LPUSH", "list", "b", "a")
    running.cli(*login, "ACL", "SETUSER", "nobody", "on", ">n", "+ping")
    for url in urls:
        assert see(url.format(login=":s3cr%25t%20pa'ss@")).status == "ok"
        host, settings = Host(), Settings(REDIS_URL=url.format(login=":s3cr%25t%20pa'ss@"))
        commands = [("LRANGE", "list", 0, -1), ("LLEN", "list"), ("HGET", "none", "x"), ("TYPE", "list")]
        assert read_redis(host, settings, commands, database=5) == [["a", "b"], 2, None, "list"]
        with pytest.raises(ReadError, match="WRONGTYPE"):
            read_redis(host, settings, [("HGET", "list", "x")], database=5)
        assert "wants a password; check user and password in REDIS_URL" in reason_of(url.format(login=""))
        assert "refuses the password; check" in reason_of(url.format(login=":wrong@"))
        assert "ACL SETUSER" in reason_of(url.format(login="nobody:n@"))


def test_a_certificate_that_is_not_trusted_and_a_port_that_wants_tls_say_what_to_set(
    secured: tuple[RedisServer, str, str],
) -> None:
    url = secured[2].format(login="").partition("?")[0]
    assert "does not trust (self-signed certificate): REDIS_URL=rediss://…?ssl_ca_certs=FILE" in reason_of(url)
    assert "does it want rediss://?" in reason_of(url.replace("rediss://", "redis://"))


def test_tls_and_a_unix_socket_say_what_is_silent_and_what_is_gone(secured: tuple[RedisServer, str, str]) -> None:
    running, *urls = secured
    running.process.send_signal(signal.SIGSTOP)
    assert ["does not answer within 2 s" in reason_of(url.format(login="")) for url in urls] == [True, True]
    running.process.kill()
    running.process.wait()
    assert ["is not listening" in reason_of(url.format(login="")) for url in urls] == [True, True]


@pytest.mark.parametrize(
    "url", ["redis://host/one", "redis://:se/SEC@host:6379", "localhost:6379", "redis://host:SEC", "redis://[SEC"]
)
def test_a_malformed_url_does_not_repeat_the_password(url: str) -> None:
    reason = reason_of(url)
    assert "REDIS_URL is malformed" in reason
    assert "SEC" not in reason


def test_without_docker_a_server_on_this_host_is_found_on_loopback() -> None:
    """In a network namespace of its own, where port 6379 is free."""
    script = (
        "from tests.kit.stack import find_rows\n"
        "from vpsmon.checks.stack import redis\n"
        "from vpsmon.core.findings import Previous\n"
        "from vpsmon.config.settings import Settings\n"
        "print(find_rows(redis, Settings(), None)['redis_memory'])\n"
        "print(find_rows(redis, Settings(), Previous({'run_id': 'x'}, 60.0))['redis_memory'])\n"
    )
    shell = """
        ip link set lo up
        "$2" -c "$1" | sed 's/^/before: /'
        setpriv --pdeathsig KILL redis-server --save '' --dir /tmp > /dev/null &
        until redis-cli ping > /dev/null 2>&1; do sleep 0.1; done
        "$2" -c "$1"
        kill $! ; wait
    """
    argv = ["unshare", "--net", "sh", "-c", shell, "sh", script, sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    before_never, before_gone, found, _ = done.stdout.splitlines()
    assert "status='skipped'" in before_never, done.stderr
    assert "no Docker engine" in before_never
    assert "status='unknown'" in before_gone
    assert "it answered 1 min ago and is gone" in before_gone
    assert "status='ok'" in found


@pytest.fixture
def stack(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    """The engine with the image of the stack, as the one that vpsmon finds."""
    import_stack_image(engine)
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    return engine


LABELS = {"com.docker.compose.service": "redis", "com.docker.compose.project": "crm"}
START = "exec redis-server --save '' --protected-mode no"


@pytest.mark.parametrize(
    ("command", "environment", "port"),
    [
        (["redis-server", "--protected-mode", "no", "--requirepass", SECRET], {}, 6379),
        (["sh", "-c", f'{START} --requirepass "$REDIS_PASSWORD"'], {"REDIS_PASSWORD": SECRET}, 6379),
        (["sh", "-c", f"{START} --port 6390 --requirepass ${{SECRET}}"], {"SECRET": "word"}, 6390),
        (["sh", "-c", f"{START} $REDIS_ARGS"], {"REDIS_ARGS": "--requirepass argument"}, 6379),
        (["redis-server", "--protected-mode", "no"], {"REDIS_PASSWORD": "not in use"}, 6379),
    ],
)
def test_a_container_on_an_internal_network_is_found_with_its_password(
    stack: DockerEngine, command: list[str], environment: dict[str, str], port: int
) -> None:
    options = {"labels": LABELS, "network": "crm_cache", "environment": environment, "mem_limit": "64m"}
    with (
        internal_network(stack, "crm_cache"),
        run_container(stack, "crm-redis-1", command, image=STACK_IMAGE, **options) as container,
    ):
        password = find_server_password()

        def cli(*words: str) -> str:
            login = ["-a", password] if password else []
            argv = ["/usr/bin/redis-cli", "--no-auth-warning", "-p", str(port), *login, *words]
            return run_in(container, argv).output.strip()

        wait_until(lambda: cli("PING") == "PONG", 20, "Redis in the container answers")
        row = find_rows(redis, Settings())["redis_memory"]
        fields = dict(line.split(":", 1) for line in cli("INFO").splitlines() if ":" in line)
        assert row.status == "ok", row
        assert row.value == pytest.approx(int(fields["used_memory"]), rel=0.05)
        assert "of the container's limit (64 MB)" in row.message
        assert "crm-redis-1" in find_server(Host(), Settings()).describe()
        assert SECRET not in repr(find_server(Host(), Settings()))


def find_server_password() -> str:
    target = find_server(Host(), Settings()).targets[0]
    assert isinstance(target, TcpTarget)
    return "" if target.password == "not in use" else target.password


def test_a_container_that_does_not_tell_its_password_says_where_to_put_it(stack: DockerEngine) -> None:
    secrets = {"REDIS_PASSWORD_FILE": "/run/secrets/redis"}
    script = "echo requirepass hidden > /tmp/redis.conf; exec redis-server /tmp/redis.conf"
    file_command = ["sh", "-c", script]
    users = ["--user", "default", "off", "--user", "app", "on", ">app", "~*", "+@all"]
    acl = ["redis-server", "--protected-mode", "no", *users]
    for command, environment, said in (
        (file_command, secrets, "has REDIS_PASSWORD_FILE, a file only it can read: set REDIS_URL"),
        (file_command, {"REDIS_PASSWORD": "old"}, "was changed since, or is in its redis.conf: set REDIS_URL"),
        (file_command, {}, "neither the command nor the environment of the container redis tells the password"),
        (acl, {}, "has ACL users: set REDIS_URL"),
    ):
        with run_container(stack, "redis", command, image=STACK_IMAGE, environment=environment) as container:
            wait_until(lambda c=container: b"Ready to accept" in c.logs(), 20, "Redis in the container")  # type: ignore[misc]
            row = find_rows(redis, Settings())["redis_memory"]
        assert row.status == "unknown"
        assert said in (row.reason or ""), row.reason


def test_a_stopped_container_is_said_to_be_stopped(stack: DockerEngine) -> None:
    with run_container(stack, "redis", ["redis-server"], image=STACK_IMAGE) as container:
        with suppress(Exception):
            container.kill()
        container.wait(timeout=10)
        row = find_rows(redis, Settings())["redis_memory"]
    assert row.status == "unknown"
    assert "its container redis is exited: docker logs redis says why" in (row.reason or "")
