"""Finding a service in its container or on this host, and reading the container's command line."""

from __future__ import annotations

import pytest

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, Previous, ReadError
from vpsmon.stack import locate as services
from vpsmon.stack.command_line import Unevaluated, find_option, read_options, to_port
from vpsmon.stack.docker.containers import Container, parse_container
from vpsmon.stack.locate import locate, miss
from vpsmon.system.host import Host


def make_container(name: str, command: list[str] | None = None, **changes: object) -> Container:
    inspected = {
        "Name": f"/{name}",
        "Path": (command or ["server"])[0],
        "Args": (command or ["server"])[1:],
        "State": {"Status": "running"},
        "Config": {"Image": "docker.io/library/postgres:16", "Env": ["SECRET=se cret", "EMPTY=", "QUOTED=a'b\"c;"]},
        "NetworkSettings": {"Networks": {"net": {"IPAddress": "10.9.8.7"}}},
    }
    return parse_container(inspected)._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["redis-server", "--requirepass", "with space $SECRET"], ["--requirepass", "with space $SECRET"]),
        (["sh", "-c", 'redis-server --requirepass "$SECRET"'], ["--requirepass", "se cret"]),
        (["docker-entrypoint.sh", "/bin/sh", "-ec", "x --port ${PORT:-1}"], ["--port", "1"]),
        (["sh", "-c", "redis-server --requirepass 'unclosed"], ["--requirepass", "'unclosed"]),
        (["sh", "-c", 'x --requirepass "${SECRET:?unset}"'], ["--requirepass", "se cret"]),
        (["sh", "-c", "x --requirepass '$SECRET'"], ["--requirepass", "$SECRET"]),
        (["sh", "-c", "x --requirepass $SECRET; echo"], ["se", "cret", ";", "echo"]),
        (["sh", "-c", 'x --requirepass "$QUOTED" -p'], ["--requirepass", "a'b\"c;", "-p"]),
        (["bash", "-c", "$ $$ ${} $1"], ["${}", "$1"]),
    ],
)
def test_only_the_script_of_a_shell_is_split_and_filled_in(command: list[str], words: list[str]) -> None:
    assert read_options(make_container("x", command))[-len(words) :] == words


@pytest.mark.parametrize("script", ["x --a $(cat /secret)", "x --a ${NOWHERE:?unset}", "x --a $NOWHERE", "x --a=`id`"])
def test_an_expression_that_cannot_be_evaluated_is_marked_as_one(script: str) -> None:
    assert isinstance(find_option(read_options(make_container("x", ["sh", "-c", script])), "--a"), Unevaluated)
    assert not isinstance(find_option(read_options(make_container("x", ["x", "--a", "$x"])), "--a"), Unevaluated)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], None),
        (["--port"], None),
        (["--port", "1", "--port", "2"], "2"),
        (["--port=3"], "3"),
        (["-p", "4"], "4"),
        (["--portly", "5"], None),
    ],
)
def test_the_last_option_counts(words: list[str], value: str | None) -> None:
    assert find_option(words, "-p", "--port") == value


@pytest.mark.parametrize("text", [None, "", "0", "65536", "-1", "12a", "٣", "9" * 30])
def test_what_is_no_port_is_the_default(text: str | None) -> None:
    assert to_port(text, 5432) == 5432
    assert to_port("6543", 5432) == 6543


def look(monkeypatch: pytest.MonkeyPatch, containers: list[Container] | Exception) -> services.Place:
    def read(host: Host, settings: Settings) -> list[Container]:
        if isinstance(containers, Exception):
            raise containers
        return containers

    monkeypatch.setattr(services, "read_containers", read)
    settings = Settings(POSTGRES_CONTAINER="postgres")
    return locate(Host(), settings, "POSTGRES_CONTAINER", "POSTGRES_DSN", lambda container: 5432)


def test_a_container_is_found_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    place = look(monkeypatch, [make_container("other"), make_container("crm-db-1", service="postgres")])
    assert place.container
    assert place.container.name == "crm-db-1"
    assert [(each.host, each.port) for each in place.addresses] == [("10.9.8.7", 5432)]


def test_a_container_that_is_not_running_or_has_no_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReadError, match="its container postgres is exited: docker logs postgres says why"):
        look(monkeypatch, [make_container("postgres", status="exited")])
    with pytest.raises(ReadError, match="no address that this machine can reach: set POSTGRES_DSN"):
        look(monkeypatch, [make_container("postgres", addresses=())])


def test_without_a_container_the_reason_waits_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    place = look(monkeypatch, [make_container("db\n\x1b[2J")])
    assert place.container is None
    assert isinstance(place.absence, NotApplicable)
    assert str(place.absence) == (
        "no container or compose service is called postgres, or has its image: set POSTGRES_CONTAINER or POSTGRES_DSN"
    )


def test_without_docker_the_reason_keeps_its_gravity(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (NotApplicable("no Docker here"), ReadError("Docker hangs")):
        absence = look(monkeypatch, error).absence
        assert type(absence) is type(error)
        assert str(absence) == f"{error}; or set POSTGRES_DSN"


def test_a_service_that_answered_is_missed_for_a_day() -> None:
    absence = NotApplicable("nothing there")
    assert miss(absence, None) is absence
    assert miss(absence, Previous({}, 60)) is absence
    assert miss(absence, Previous({"x": 1}, 90_000)) is absence
    missed = miss(absence, Previous({"x": 1}, 300))
    assert isinstance(missed, ReadError)
    assert str(missed) == "it answered 5 min ago and is gone: nothing there"
