"""Redis: where the server is, and one connection a pass that every reader shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.stack.command_line import Unevaluated, find_option, read_options, to_port
from vpsmon.stack.docker.addresses import Address
from vpsmon.stack.docker.containers import Container, read_containers
from vpsmon.stack.identity.used import list_users
from vpsmon.stack.locate import locate
from vpsmon.stack.presence import REDIS_PORT
from vpsmon.stack.redis.protocol import Command, TcpTarget
from vpsmon.stack.redis.session import RedisSession, Server
from vpsmon.stack.redis.url import parse_url
from vpsmon.system.host import Host
from vpsmon.system.proc import is_listening

_SET_URL = "set REDIS_URL to redis://user:password@host:6379/0"
# Of the official images and of Bitnami's (https://github.com/bitnami/containers/tree/main/bitnami/valkey).
_PASSWORD_KEYS = ("REDIS_PASSWORD", "VALKEY_PASSWORD", "REDISCLI_AUTH", "VALKEYCLI_AUTH")
_PORT_KEYS = ("REDIS_PORT_NUMBER", "VALKEY_PORT_NUMBER")
# redis-stack, Bitnami: what is appended to the command line.
_FLAG_KEYS = ("REDIS_ARGS", "REDIS_EXTRA_FLAGS", "VALKEY_EXTRA_FLAGS")


def find_server(host: Host, settings: Settings) -> Server:
    """Return the server: REDIS_URL, else the container, else one on this host. Raises ReadError."""
    return host.once("redis server", lambda: _find_server(host, settings))


def read_redis(
    host: Host,
    settings: Settings,
    commands: Sequence[Command],
    database: int | None = None,
    server: Server | None = None,
) -> list[Any]:
    """Return the answers to read-only commands sent in one go, e.g. [("LLEN", "bull:jobs:wait"), ("TYPE", "key")].

    Text is str (undecodable bytes replaced, INFO the whole of it), counts are int, a missing key None or [] as Redis
    says. `database` is the index, by default that of REDIS_URL, else 0; `server` is another one than the found one.
    Safe from every thread. Takes at most 2 s to
    connect and 2 s to answer. Raises NotApplicable (no Redis on this machine) or ReadError (it cannot be
    reached, or refuses a command: one refused command fails all); a server that stopped answering fails every later
    call of the pass at once.
    """
    found = server or find_server(host, settings)
    session = host.once(f"redis session {found.describe()}", lambda: _open(host, found))
    return session.run(commands, database)


def _open(host: Host, server: Server) -> RedisSession:
    """Return the session; it is closed with the host, that is with the pass."""
    import weakref

    session = RedisSession(server)
    weakref.finalize(host, session.close)
    return session


def _find_server(host: Host, settings: Settings) -> Server:
    if settings.REDIS_URL:
        return _read_url(settings.REDIS_URL)
    place = locate(host, settings, "REDIS_CONTAINER", "REDIS_URL", find_port)
    if place.container is None:
        if place.absence and not is_listening(host, REDIS_PORT):
            raise place.absence
        return Server("on this host", (TcpTarget("127.0.0.1"),), _SET_URL, absence=place.absence)
    return describe_container(place.container, place.addresses, _ask_n8n(host, settings, place.container))


def describe_local(source: str, port: int, login: tuple[str, str]) -> Server:
    """Return a server on this machine."""
    return Server(source, (TcpTarget("127.0.0.1", port, *login),), _SET_URL)


def describe_container(container: Container, addresses: Sequence[Address], login: tuple[str, str]) -> Server:
    """Return the server in a container, at its addresses; `login` is for where it does not tell its password itself."""
    username, password = _find_login(container)
    if not password:
        username, password = login
    targets = tuple(TcpTarget(each.host, each.port, username, password) for each in addresses)
    source, remedy = clean(addresses[0].source, 160), _find_remedy(container, bool(password))
    return Server(source, targets, remedy, container.memory_limit_bytes)


def _read_url(url: str) -> Server:
    try:
        target = parse_url(url)
    except ValueError:
        # The complaint repeats the part that is not understood, which may be the password.
        raise ReadError(
            "REDIS_URL is malformed: write redis://user:password@host:6379/0 (rediss:// with TLS, unix:///path),"
            " special characters of the password as %XX"
        ) from None
    return Server("REDIS_URL", (target,), "check user and password in REDIS_URL")


def _find_words(container: Container) -> list[str]:
    """The command line, and what the image appends to it."""
    flags = " ".join(container.environment.get(key, "") for key in _FLAG_KEYS)
    return [*read_options(container), *flags.split()]


def find_port(container: Container) -> int:
    """Return the port that the server in a container listens on. Raises ReadError for one with TLS alone."""
    words = _find_words(container)
    told, tls_port = find_option(words, "--port"), find_option(words, "--tls-port")
    if told == "0" and tls_port:
        raise ReadError(
            f"the container {clean(container.name)} speaks only TLS, at port {to_port(tls_port, REDIS_PORT)}: set"
            " REDIS_URL to rediss://user:password@host:port/0?ssl_ca_certs=FILE"
        )
    in_environment = next((container.environment[key] for key in _PORT_KEYS if container.environment.get(key)), None)
    return to_port(told or in_environment, REDIS_PORT)


def _find_login(container: Container) -> tuple[str, str]:
    """Return user and password, both empty where no password is known."""
    password = find_option(_find_words(container), "--requirepass")
    if not password or isinstance(password, Unevaluated):
        password = next((container.environment[key] for key in _PASSWORD_KEYS if container.environment.get(key)), None)
    # By name, because a server without a password takes any for `default`, but none without a name.
    return ("default", password) if password else ("", "")


def _ask_n8n(host: Host, settings: Settings, container: Container) -> tuple[str, str]:
    """Return the login that an n8n uses for the Redis in this container; empty where none does."""
    users = list_users(read_containers(host, settings), settings, container, "redis")
    return next((login for each in users if (login := find_login_of_n8n(each))[1]), ("", ""))


def find_login_of_n8n(n8n: Container) -> tuple[str, str]:
    """Return user and password that an n8n has for its Redis, both empty where it has no password."""
    password = n8n.environment.get("QUEUE_BULL_REDIS_PASSWORD")
    return (n8n.environment.get("QUEUE_BULL_REDIS_USERNAME") or "default", password) if password else ("", "")


def _find_remedy(container: Container, has_password: bool) -> str:
    words, name = _find_words(container), clean(container.name)
    if "--aclfile" in words or "--user" in words:
        return f"the container {name} has ACL users: {_SET_URL}, with a user that may run INFO and PING"
    if has_password:
        return f"the password of the container {name} was changed since, or is in its redis.conf: {_SET_URL}"
    hidden = next((f"{key}_FILE" for key in _PASSWORD_KEYS if container.environment.get(f"{key}_FILE")), None)
    if hidden:
        return f"the container {name} has {hidden}, a file only it can read: {_SET_URL}"
    if isinstance(find_option(words, "--requirepass"), Unevaluated):
        return f"the command of the container {name} takes the password from a shell expression: {_SET_URL}"
    return f"neither the command nor the environment of the container {name} tells the password: {_SET_URL}"
