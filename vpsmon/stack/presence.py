"""Whether there is any stack to look at, told from a few files, so that a machine without one pays nothing for it."""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.stack.docker.endpoint import find_endpoint
from vpsmon.system.host import Host
from vpsmon.system.proc import is_listening

# Where a service listens that runs on the machine itself.
POSTGRES_PORT = 5432
REDIS_PORT = 6379
N8N_PORT = 5678
WAHA_PORT = 3000
_PORTS = (POSTGRES_PORT, REDIS_PORT, N8N_PORT, WAHA_PORT)
_ADDRESS_KEYS = ("POSTGRES_DSN", "REDIS_URL", "N8N_URL", "WAHA_URL")


def explain_absence(host: Host, settings: Settings) -> str | None:
    """Return why there is nothing to look at, or None where there is an engine, a server or an address."""
    if any(getattr(settings, key) for key in _ADDRESS_KEYS) or any(is_listening(host, port) for port in _PORTS):
        return None
    try:
        find_endpoint()
    except NotApplicable as error:
        return f"{error}; without Docker, {', '.join(_ADDRESS_KEYS)} say where the services are"
    except ReadError:
        return None  # an engine that is said to be somewhere, and is not
    return None
