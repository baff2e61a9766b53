"""The stack that vpsmon is for, in real containers: as `docker compose -p crm up` leaves it, without published ports.

PostgreSQL and Redis are real; n8n and WAHA are relays to the stand-ins of this kit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from docker.models.containers import Container

from tests.kit.container_exec import run_in
from tests.kit.docker import DockerEngine, internal_network, run_container
from tests.kit.kernel import wait_until
from tests.kit.n8n import FakeN8n
from tests.kit.stack import POSTGRES_USER_ID, STACK_IMAGE, import_stack_image, postgres_folder
from tests.kit.waha import FakeWaha

PROJECT = "crm"
POSTGRES_PASSWORD = "pg s3cret'%"
REDIS_PASSWORD = "redis-s3cret"
WAHA_KEY = "waha-s3cret"
# Columns are those of n8n 1.123.
_EXECUTION_TABLE = """create table execution_entity (id serial, status varchar not null, "startedAt" timestamptz,
  "stoppedAt" timestamptz, "workflowId" varchar(36), "deletedAt" timestamptz,
  "createdAt" timestamptz not null default now());"""


@dataclass(frozen=True)
class ComposeStack:
    """The running stack, its containers by service."""

    engine: DockerEngine
    containers: dict[str, Container]
    n8n: FakeN8n
    waha: FakeWaha

    def psql(self, query: str) -> str:
        """Return what psql prints for a query on the database of the stack."""
        program = str(postgres_folder() / "bin/psql")
        words = [program, "-h", "/tmp", "-U", "owner", "-XAtqc", query, "n8n"]
        return self._run("postgres", words)

    def redis(self, *words: str) -> str:
        """Return what redis-cli prints."""
        return self._run("redis", ["redis-cli", "--no-auth-warning", "-a", REDIS_PASSWORD, *words])

    def _run(self, service: str, words: list[str]) -> str:
        return run_in(self.containers[service], words).output.strip()


@contextmanager
def compose_stack(engine: DockerEngine) -> Iterator[ComposeStack]:
    """Start the six services on an internal network, with the database as n8n makes it when it starts, without rows."""
    import_stack_image(engine)
    with ExitStack() as cleanup:
        network = cleanup.enter_context(internal_network(engine, f"{PROJECT}_backend"))
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        n8n = cleanup.enter_context(FakeN8n(address="0.0.0.0"))  # noqa: S104 - containers have to reach it
        waha = cleanup.enter_context(FakeWaha(key=WAHA_KEY, address="0.0.0.0"))  # noqa: S104
        containers = {}
        for service, options in _services(gateway, n8n.port, waha.port).items():
            labels = {"com.docker.compose.service": service, "com.docker.compose.project": PROJECT}
            command = options.pop("command")
            # As compose does: its services find each other by the name of the service.
            aliases = {network.name: engine.client.api.create_endpoint_config(aliases=[service])}
            options |= {"labels": labels, "network": network.name, "networking_config": aliases}
            container = run_container(engine, f"{PROJECT}-{service}-1", command, **options)
            containers[service] = cleanup.enter_context(container)
        stack = ComposeStack(engine, containers, n8n, waha)
        wait_until(lambda: stack.psql("select 1") == "1", 60, "PostgreSQL answers")
        wait_until(lambda: stack.redis("PING") == "PONG", 60, "Redis answers")
        stack.psql(_EXECUTION_TABLE)
        yield stack


def _services(gateway: str, n8n_port: int, waha_port: int) -> dict[str, dict[str, Any]]:
    postgres = {"POSTGRES_USER": "owner", "POSTGRES_PASSWORD": POSTGRES_PASSWORD, "POSTGRES_DB": "n8n"}
    database = {
        "DB_TYPE": "postgresdb",
        "DB_POSTGRESDB_HOST": "postgres",
        "DB_POSTGRESDB_DATABASE": "n8n",
        "DB_POSTGRESDB_USER": "owner",
        "DB_POSTGRESDB_PASSWORD": POSTGRES_PASSWORD,
    }
    queue = {"EXECUTIONS_MODE": "queue", "QUEUE_BULL_REDIS_HOST": "redis", "QUEUE_BULL_REDIS_PASSWORD": REDIS_PASSWORD}
    return {
        "postgres": {
            "command": ["/postgres-entrypoint"],
            "image": STACK_IMAGE,
            "user": str(POSTGRES_USER_ID),
            "environment": postgres,
        },
        "redis": {
            "command": ["redis-server", "--requirepass", REDIS_PASSWORD, "--save", ""],
            "image": STACK_IMAGE,
        },
        "n8n": {"command": _relay(5678, gateway, n8n_port), "environment": {**database, **queue}},
        "waha": {"command": _relay(3000, gateway, waha_port), "environment": {"WAHA_API_KEY": WAHA_KEY}},
        "traefik": {"command": ["sleep", "3600"]},
        "blog": {"command": ["sleep", "3600"], "mem_limit": "64m"},
    }


def _relay(port: int, gateway: str, target: int) -> list[str]:
    return ["nc", "-ll", "-p", str(port), "-e", "nc", gateway, str(target)]
