"""What the environment and the command line of a container tell about the PostgreSQL in it.

The variables are those of the official image (https://hub.docker.com/_/postgres) and of Bitnami's
(https://github.com/bitnami/containers/tree/main/bitnami/postgresql), which reads the official ones too.
"""

from __future__ import annotations

from vpsmon.core.text import clean
from vpsmon.stack.command_line import read_options, to_port
from vpsmon.stack.docker.containers import Container
from vpsmon.stack.postgres.refusals import Remedies
from vpsmon.stack.presence import POSTGRES_PORT

_USER = ("POSTGRES_USER", "POSTGRESQL_USERNAME")
_PASSWORD = ("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD")
_DATABASE = ("POSTGRES_DB", "POSTGRESQL_DATABASE")


def find_login(container: Container) -> dict[str, str]:
    """Return user, database and, where it is told, password as keywords of libpq."""
    user = _find(container, _USER) or "postgres"
    is_bitnami = any(key.startswith("POSTGRESQL_") for key in container.environment)
    login = {"user": user, "dbname": _find(container, _DATABASE) or ("postgres" if is_bitnami else user)}
    password = _find(container, _PASSWORD)
    return {**login, "password": password} if password else login


def find_remedies(container: Container) -> Remedies:
    """Return what to do where the login that the container tells does not do."""
    name = clean(container.name)
    hidden = [key for key in (*_USER, *_PASSWORD, *_DATABASE) if container.environment.get(f"{key}_FILE")]
    if hidden:
        files = " and ".join(f"{key}_FILE" for key in hidden)
        remedy = f"the container {name} has {files}, a file only it can read: set POSTGRES_DSN"
        return Remedies(remedy, remedy)
    password = _name(container, _PASSWORD)
    database = f"{_name(container, _DATABASE)} of the container {name} counts at its first start only"
    return Remedies(
        f"{password} of the container {name} is only the first password: set POSTGRES_DSN to the one in use",
        f"{database}: CREATE DATABASE, or set POSTGRES_DSN to one that it has",
    )


def _find(container: Container, keys: tuple[str, ...]) -> str:
    return container.environment.get(_name(container, keys), "")


def _name(container: Container, keys: tuple[str, ...]) -> str:
    """Return which of the variables is set, the first where none is."""
    return next((key for key in keys if container.environment.get(key)), keys[0])


def find_port(container: Container) -> int:
    """Return the port: of the command line's last option (-p N, -pN, --port=N, -c port=N), else of the environment."""
    environment = container.environment
    told = environment.get("POSTGRESQL_PORT_NUMBER") or environment.get("PGPORT")
    words = read_options(container)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option = word + following if word in ("-p", "-c") else word
        for start in ("-p", "--port=", "-cport="):
            value = option.removeprefix(start)
            if value != option and value.isdecimal():
                told = value
    return to_port(told, POSTGRES_PORT)
