"""The PostgreSQL and the Redis of an n8n, as vpsmon reaches them.

A key of monitor.conf (POSTGRES_DSN, REDIS_URL) goes before what n8n's environment names, but only for the n8n that is
meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.stack.command_line import to_port
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.identity.used import find_used, get_host_name
from vpsmon.stack.locate import reach
from vpsmon.stack.presence import POSTGRES_PORT, REDIS_PORT
from vpsmon.system.host import Host

if TYPE_CHECKING:
    from vpsmon.stack.postgres.server import Server as PostgresServer
    from vpsmon.stack.redis.session import Server as RedisServer

_LOGIN = {"user": "USER", "password": "PASSWORD", "dbname": "DATABASE"}
_ON_THIS_HOST = "this machine, as n8n's own settings say"


def describe_bindings(host: Host, settings: Settings, n8n: Container) -> str:
    """Return what an n8n uses, in words that follow it; "" where its environment names nothing."""
    texts = []
    for program in ("postgres", "redis"):
        name = get_host_name(n8n, program)
        if name:
            try:
                found = find_used(read_containers(host, settings), settings, n8n, program)
                texts.append(f"{clean(name)} is {clean(found.name)}" if found else f"{clean(name)} is this machine")
            except ReadError as error:
                texts.append(str(error))
    return "".join(f", {each}" for each in texts)


def find_database(host: Host, settings: Settings, n8n: Container, takes_keys: bool) -> PostgresServer | None:
    """Return the PostgreSQL of an n8n; None for the one that is found without. Raises NotApplicable, ReadError."""
    if not get_host_name(n8n, "postgres") or (takes_keys and settings.POSTGRES_DSN):
        return None
    from vpsmon.stack.postgres import server as postgres
    from vpsmon.stack.postgres.container import find_port

    container = find_used(read_containers(host, settings), settings, n8n, "postgres")
    if container is not None:
        addresses = reach(host, settings, container, find_port(container), "POSTGRES_DSN")
        return postgres.describe_container(container, addresses)
    login = {key: n8n.environment.get(f"DB_POSTGRESDB_{variable}") for key, variable in _LOGIN.items()}
    port = to_port(n8n.environment.get("DB_POSTGRESDB_PORT"), POSTGRES_PORT)
    target = {"host": "127.0.0.1", "port": port, **{key: value for key, value in login.items() if value}}
    return postgres.describe_local(_ON_THIS_HOST, (target,))


def find_redis(host: Host, settings: Settings, n8n: Container, takes_keys: bool) -> RedisServer | None:
    """Return the Redis of an n8n's queue; None for the one that is found without. Raises NotApplicable, ReadError."""
    if not get_host_name(n8n, "redis") or (takes_keys and settings.REDIS_URL):
        return None
    from vpsmon.stack.redis import server as redis

    container = find_used(read_containers(host, settings), settings, n8n, "redis")
    if container is not None:
        addresses = reach(host, settings, container, redis.find_port(container), "REDIS_URL")
        return redis.describe_container(container, addresses, redis.find_login_of_n8n(n8n))
    port = to_port(n8n.environment.get("QUEUE_BULL_REDIS_PORT"), REDIS_PORT)
    return redis.describe_local(_ON_THIS_HOST, port, redis.find_login_of_n8n(n8n))
