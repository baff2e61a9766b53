"""POSTGRES_DSN: what it says, and that no part of a password in the wrong place is ever shown."""

from __future__ import annotations

import re
from typing import Any

from vpsmon.core.findings import ReadError

_MALFORMED = (
    "POSTGRES_DSN is malformed: write postgresql://user:password@host:5432/database, special characters of the"
    " password as %XX, or host=… user=… password=… dbname=…"
)
# A password with @, / or ? in it is cut there, and the rest of it becomes host, port or database.
# A name or an address, the folder of a socket, or @ and the name of an abstract socket; several with commas.
_HOST = re.compile(r"[\w.:%-]*|[/@][^?#]*")
_PORT = re.compile(r"[0-9]{0,5}")


def parse_dsn(text: str) -> dict[str, Any]:
    """Return the keywords of libpq. Raises ReadError, without any part of the text, which may be of the password."""
    import psycopg2
    from psycopg2.extensions import parse_dsn as parse

    try:
        target: dict[str, Any] = parse(text)
    except psycopg2.Error:
        target = {}
    hosts, ports = str(target.get("host", "")).split(","), str(target.get("port", "")).split(",")
    if not target or not all(map(_HOST.fullmatch, hosts)) or not all(map(_PORT.fullmatch, ports)):
        raise ReadError(_MALFORMED)
    return target
