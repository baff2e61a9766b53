"""Containers as Docker tells them: parsing, finding one by name, the addresses of its ports. And finding Docker."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.stack.docker.addresses import Address, find_addresses
from vpsmon.stack.docker.client import connect
from vpsmon.stack.docker.containers import (
    Container,
    find_container,
    parse_container,
    parse_list_entry,
)
from vpsmon.stack.docker.endpoint import Endpoint, find_endpoint
from vpsmon.stack.docker.socket_path import find_socket


def make(name: str = "crm-n8n-1", service: str | None = None, **changes: Any) -> Container:
    labels = {"com.docker.compose.service": service} if service else {}
    inspected = {"Id": name * 4, "Name": f"/{name}", "Config": {"Labels": labels}, "State": {"Status": "running"}}
    return parse_container(inspected)._replace(**changes)


def test_an_inspect_of_nothing_is_a_container_without_anything() -> None:
    container = parse_container({})
    assert (container.name, container.status, container.pid, container.addresses) == ("", "unknown", 0, ())
    assert (container.service, container.health, container.memory_limit_bytes) == (None, None, None)


@pytest.mark.parametrize("value", [None, [], "text", 5, {}])
@pytest.mark.parametrize("key", ["State", "Config", "HostConfig", "NetworkSettings"])
def test_a_part_of_another_type_is_as_good_as_missing(key: str, value: object) -> None:
    assert parse_container({"Id": "a", "Name": "/x", key: value}).name == "x"


@pytest.mark.parametrize("name", ["it's", 'a"b', "two\nlines", "🐘", "x" * 4096, "\x1b[31mred"])
def test_hostile_names_and_labels_are_kept_as_they_are_for_comparing(name: str) -> None:
    container = parse_container({"Id": "a", "Name": f"/{name}", "Config": {"Labels": {"l": name, name: None}}})
    assert container.name == name
    assert container.labels["l"] == name


def test_environment_entries_without_a_value_are_left_out() -> None:
    environment = parse_container({"Config": {"Env": ["A=1", "B", "C=", "D=x=y", ""]}}).environment
    assert environment == {"A": "1", "C": "", "D": "x=y"}


def test_the_command_is_what_runs() -> None:
    assert parse_container({"Path": "redis-server", "Args": ["--requirepass", "x y"]}).command[-1] == "x y"
    assert parse_container({"Config": {"Entrypoint": "/e", "Cmd": ["a", "b"]}}).command == ("/e", "a", "b")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23T08:00:00Z", 1795420800.0),
        ("2026-11-23T08:00:00.5Z", 1795420800.5),
        ("2026-11-23T10:00:00.123456789+02:00", 1795420800.123456789),
        ("0001-01-01T00:00:00Z", None),
        ("2026-13-40T99:00:00Z", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_times_of_the_engine_are_read(text: object, seconds: float | None) -> None:
    found = parse_container({"Created": text}).created_wall_seconds
    assert found == (pytest.approx(seconds) if seconds else None)


def test_a_memory_limit_of_zero_is_none() -> None:
    assert parse_container({"HostConfig": {"Memory": 0}}).memory_limit_bytes is None
    assert parse_container({"HostConfig": {"Memory": 67108864}}).memory_limit_bytes == 67108864


@pytest.mark.parametrize("key", ["Health", "Healthcheck"])
def test_health_is_known_by_both_of_its_names_and_none_is_no_check(key: str) -> None:
    assert parse_container({"State": {key: {"Status": "unhealthy"}}}).health == "unhealthy"
    assert parse_container({"State": {key: {"Status": "none"}}}).health is None
    assert parse_container({"State": {key: {"Status": ""}}}).health is None


def test_the_list_alone_gives_name_status_and_labels() -> None:
    entry = {"Id": "a", "Names": ["/crm-n8n-1"], "State": "exited", "Labels": {"com.docker.compose.service": "n8n"}}
    container = parse_list_entry(entry)
    assert (container.name, container.service, container.status) == ("crm-n8n-1", "n8n", "exited")
    assert parse_list_entry({"Id": "a", "Names": None, "Labels": None}).name == "a"


def test_the_main_n8n_is_found_by_its_service_and_the_worker_is_not_taken_for_it() -> None:
    containers = [make("crm-n8n-worker-1", "n8n-worker"), make("crm-n8n-1", "n8n")]
    found = find_container(containers, "n8n")
    assert found is not None and found.name == "crm-n8n-1"


def test_an_exact_name_comes_before_a_service_and_a_running_one_before_a_stopped_one() -> None:
    stopped, running = make("a", "n8n", status="exited"), make("b", "n8n")
    assert find_container([stopped, running], "n8n") == running
    named = make("n8n", "other", status="exited")
    assert find_container([stopped, running, named], "n8n") == named
    assert find_container([stopped], "n8n") == stopped


@pytest.mark.parametrize("name", ["", "N8N", "n8", "crm"])
def test_a_part_of_a_name_finds_nothing(name: str) -> None:
    assert find_container([make("crm-n8n-1", "n8n")], name) is None


def test_a_port_is_reached_at_the_containers_addresses_and_then_where_it_is_published() -> None:
    container = make("db", addresses=("172.18.0.2", "10.0.0.9"), published_ports={5432: ("127.0.0.1", 15432)})
    found = [(address.host, address.port) for address in find_addresses([container], container, 5432)]
    assert found == [("172.18.0.2", 5432), ("10.0.0.9", 5432), ("127.0.0.1", 15432)]
    assert len(find_addresses([container], container, 80)) == 2


def test_a_container_on_the_network_of_the_machine_is_reached_on_loopback() -> None:
    container = make("db", network_mode="host")
    assert find_addresses([container], container, 80) == [
        Address("127.0.0.1", 80, "container db, on the network of this machine")
    ]


@pytest.mark.parametrize("target", ["id", "name"])
def test_a_container_on_the_network_of_another_is_reached_at_that_ones_address(target: str) -> None:
    owner = make("vpn", addresses=("172.18.0.7",))
    guest = make("app", network_mode=f"container:{getattr(owner, target)}")
    assert [address.host for address in find_addresses([owner, guest], guest, 80)] == ["172.18.0.7"]
    assert find_addresses([owner._replace(status="exited"), guest], guest, 80) == []
    assert find_addresses([guest], guest, 80) == []


def test_containers_that_share_each_others_network_do_not_hang_us() -> None:
    a, b = make("a", network_mode="container:b"), make("b", network_mode="container:a")
    assert find_addresses([a, b], a, 80) == []


@pytest.mark.parametrize("status", ["exited", "restarting", "created", "paused", "dead"])
def test_a_container_that_does_not_run_has_no_address(status: str) -> None:
    container = make("db", addresses=("172.18.0.2",), status=status)
    assert find_addresses([container], container, 80) == []


def test_networks_and_published_ports_are_parsed() -> None:
    ports = {
        "5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "15432"}, {"HostIp": "::", "HostPort": "15432"}],  # noqa: S104
        "80/tcp": [{"HostIp": "10.1.2.3", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
        "81/tcp": None,
        "82/tcp": [],
        "odd": [{"HostPort": "x"}],
    }
    networks = {"a": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fd00::2"}, "b": {"IPAddress": ""}, "c": None}
    container = parse_container({"NetworkSettings": {"Ports": ports, "Networks": networks, "IPAddress": "172.18.0.2"}})
    assert container.published_ports == {5432: ("127.0.0.1", 15432), 80: ("10.1.2.3", 8080)}
    assert container.addresses == ("172.18.0.2", "fd00::2")


def test_docker_host_comes_first_then_the_usual_sockets_then_podman() -> None:
    def find(environment: dict[str, str], *existing: str) -> str:
        return find_endpoint({"HOME": "/nowhere", **environment}, existing.__contains__).url

    both = ("/var/run/docker.sock", "/run/podman/podman.sock")
    assert find({"DOCKER_HOST": "unix:///x.sock"}, "/x.sock", *both) == "unix:///x.sock"
    assert find({"DOCKER_HOST": "tcp://10.0.0.1:2375"}) == "tcp://10.0.0.1:2375"
    assert find({}, *both) == "unix:///var/run/docker.sock"
    assert find({}, both[1]) == "unix:///run/podman/podman.sock"
    rootless = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    assert find(rootless, "/run/user/1000/docker.sock", both[1]) == "unix:///run/user/1000/docker.sock"
    assert find(rootless, "/run/user/1000/podman/podman.sock") == "unix:///run/user/1000/podman/podman.sock"


@pytest.mark.parametrize("address", ["unix:///x.sock", "unix://x.sock", "http+unix:///x.sock"])
def test_the_monitor_listens_to_the_socket_that_the_passes_ask(tmp_path: Path, address: str) -> None:
    assert find_socket({"DOCKER_HOST": address}) == Endpoint(address, "DOCKER_HOST").socket_path == "/x.sock"
    assert find_socket({"DOCKER_HOST": "tcp://10.0.0.1:2375"}) is None
    with socket.socket(socket.AF_UNIX) as usual:
        usual.bind(str(tmp_path / "docker.sock"))
        environment = {"DOCKER_CONFIG": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        assert find_socket(environment) in (f"{tmp_path}/docker.sock", "/var/run/docker.sock")
        assert find_socket({**environment, "DOCKER_CONTEXT": "other"}) is None


@pytest.mark.parametrize("environment", [{}, {"DOCKER_HOST": "unix:///gone.sock"}])
def test_without_a_socket_docker_is_not_applicable_and_the_remedy_is_named(environment: dict[str, str]) -> None:
    with pytest.raises(NotApplicable, match=r"no Docker engine .*: start Docker .*DOCKER_HOST"):
        find_endpoint({"HOME": "/nowhere", **environment}, lambda path: False)


@pytest.mark.parametrize("url", ["nonsense://x", "tcp://", "tcp://127.0.0.1:99999", "ssh://root@x"])
def test_a_docker_host_that_is_no_address_is_an_error_that_names_the_key(url: str) -> None:
    with pytest.raises(ReadError, match=r"DOCKER_HOST cannot be used: "):
        connect(Endpoint(url, "DOCKER_HOST"), 1.0)


def test_the_docker_context_in_use_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The docker library looks for contexts in the environment of the process.
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "other"}))
    meta = tmp_path / "contexts/meta/d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa/meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "other", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///o.sock"}}}))
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert find_socket(environment) is None, "another engine than that of the passes would be listened to"
    assert find_endpoint(environment, {"/o.sock"}.__contains__).url == "unix:///o.sock"
    with pytest.raises(ReadError, match="docker context missing does not exist"):
        find_endpoint({**environment, "DOCKER_CONTEXT": "missing"}, lambda path: True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"currentContext": 5}', '{"currentContext": "default"}'])
def test_a_docker_config_without_a_context_changes_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    usual = "/var/run/docker.sock"
    assert find_endpoint({"DOCKER_CONFIG": str(tmp_path)}, {usual}.__contains__).url == f"unix://{usual}"


def test_the_error_of_a_start_is_told_without_the_id_that_hides_its_end() -> None:
    error = f"external connectivity on endpoint web ({'ab' * 32}): bind: address already in use"
    told = parse_container({"State": {"Error": error}}).start_error
    assert told == "external connectivity on endpoint web: bind: address already in use"
