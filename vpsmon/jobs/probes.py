"""Every path that vpsmon uses, tried once: what is there and from where it is known, without a secret.

`vpsmon selftest` walks all of them. A probe returns words for the owner, and raises NotApplicable or ReadError with
the reason and the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from vpsmon.config.settings import Config
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.secrets import redact
from vpsmon.core.text import clean, format_bytes
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.system.host import Host

Probe = Callable[[Host, Config], str]


class Result(NamedTuple):
    """How a probe went: OK, SKIP or FAIL, and the words for it."""

    name: str
    verdict: str
    text: str


def run_probe(name: str, probe: Probe, host: Host, config: Config) -> Result:
    """Try one path; whatever goes wrong is its result."""
    try:
        return Result(name, "OK", redact(probe(host, config)))
    except NotApplicable as error:
        return Result(name, "SKIP", redact(str(error)))
    except (ReadError, StateError, OSError) as error:
        return Result(name, "FAIL", redact(str(error)))


def probe_configuration(host: Host, config: Config) -> str:
    """Return which monitor.conf is in force."""
    return os.path.abspath(config.path) if config.path else "no monitor.conf: everything has its default"


def probe_state_directory(host: Host, config: Config) -> str:
    """Return where state is kept, after taking its lock."""
    with StateDirectory(config.state_directory).lock():
        return config.state_directory


def probe_proc(host: Host, config: Config) -> str:
    """Return the memory of the machine, read where every pass reads it."""
    from vpsmon.system.proc import pick, read_counters

    read_counters(host, "vmstat")
    total_bytes = pick(read_counters(host, "meminfo"), "MemTotal", "/proc/meminfo")
    return f"/proc/meminfo and /proc/vmstat, {format_bytes(total_bytes)} memory"


def probe_pressure(host: Host, config: Config) -> str:
    """Return where memory pressure is read."""
    from vpsmon.system.proc import read_memory_pressure

    read_memory_pressure(host)
    return "/proc/pressure/memory"


def probe_kernel_log(host: Host, config: Config) -> str:
    """Return how much the kernel log holds."""
    from vpsmon.system.kernel_log import read_records

    return f"{len(read_records(host))} records"


def probe_containers(host: Host, config: Config) -> str:
    """Return where the container engine listens and how many containers it has."""
    from vpsmon.stack.docker.containers import read_containers
    from vpsmon.stack.docker.endpoint import find_endpoint

    endpoint = find_endpoint()
    count = len(read_containers(host, config.settings))
    return f"{endpoint.url} ({endpoint.source}), {count} container{'' if count == 1 else 's'}"


def probe_postgres(host: Host, config: Config) -> str:
    """Return which PostgreSQL is read, after a query."""
    from vpsmon.stack.postgres.server import find_server, read_rows

    read_rows(host, config.settings, "select 1")
    return find_server(host, config.settings).describe()


def probe_redis(host: Host, config: Config) -> str:
    """Return which Redis is read, after a command."""
    from vpsmon.stack.redis.server import find_server, read_redis

    read_redis(host, config.settings, [("PING",)])
    return find_server(host, config.settings).describe()


def probe_n8n(host: Host, config: Config) -> str:
    """Return which n8n is asked, and whether it is ready."""
    from vpsmon.stack.n8n.server import describe_n8n, find_n8n, is_ready

    n8n = find_n8n(host, config.settings)
    if not is_ready(host, n8n):
        raise ReadError(f"{describe_n8n(n8n)}: it says that its database does not answer")
    return describe_n8n(n8n)


def probe_waha(host: Host, config: Config) -> str:
    """Return which WAHA is asked, and how many sessions it has."""
    from vpsmon.stack.waha import describe_waha, find_waha, read_sessions

    waha = find_waha(host, config.settings)
    count = len(read_sessions(host, waha))
    return f"{describe_waha(waha)}, {count} session{'' if count == 1 else 's'}"


def probe_telegram(host: Host, config: Config) -> str:
    """Return the bot's name, as Telegram's getMe tells it."""
    from vpsmon.alerts.telegram import fetch_bot_name, make_destination

    if not config.settings.has_telegram:
        raise NotApplicable("not set up: put TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID into monitor.conf")
    return f"@{fetch_bot_name(host, make_destination(config.settings))}, chat {config.settings.TELEGRAM_CHAT_ID}"


def probe_email(host: Host, config: Config) -> str:
    """Return which mail server takes the report, after logging in there."""
    from vpsmon.net.smtp import check_login, parse_smtp_url

    if not config.settings.has_email:
        raise NotApplicable("not set up: put EMAIL_TO and SMTP_URL into monitor.conf to get the report by e-mail")
    server = parse_smtp_url(config.settings.SMTP_URL)
    check_login(server)
    return f"{server.describe()}, to {clean(', '.join(config.settings.EMAIL_TO), 200)}"


def probe_systemd_units(host: Host, config: Config) -> str:
    """Return that what `vpsmon install` has installed runs."""
    from vpsmon.installation.unit_status import probe_units

    return probe_units(host)


# The stack's, in the order in which `selftest` and `status` show them.
SERVICES: dict[str, Probe] = {
    "Docker": probe_containers,
    "PostgreSQL": probe_postgres,
    "Redis": probe_redis,
    "n8n": probe_n8n,
    "WAHA": probe_waha,
}
ALL: dict[str, Probe] = {
    "configuration": probe_configuration,
    "state directory": probe_state_directory,
    "/proc": probe_proc,
    "memory pressure": probe_pressure,
    "kernel log": probe_kernel_log,
    **SERVICES,
    "Telegram": probe_telegram,
    "e-mail": probe_email,
    "units": probe_systemd_units,
}
