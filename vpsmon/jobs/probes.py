"""Every connection and permission that vpsmon uses, tested once: what is there and from where it is known, no secret.

`vpsmon selftest` tests all of them. A probe returns words for the owner, and raises NotApplicable or ReadError with
the reason and the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from vpsmon.config.settings import Config
from vpsmon.core.findings import NotApplicable, ReadError
from vpsmon.core.secrets import redact
from vpsmon.core.text import clean, format_bytes
from vpsmon.passes.check_memory import FILE as PASS_FILE
from vpsmon.passes.check_memory import IDENTITIES
from vpsmon.stack.identity.known import prepare_known
from vpsmon.state.directory import StateDirectory, StateError
from vpsmon.system.host import Host

if TYPE_CHECKING:
    from vpsmon.stack.identity.essential import Because

Probe = Callable[[Host, Config], str]


class Result(NamedTuple):
    """How a probe went: OK, SKIP or FAIL, and the words for it; why, and what helps this one, where it did not."""

    name: str
    verdict: Literal["OK", "SKIP", "FAIL"]
    text: str
    reason: str = ""
    remedy: str = ""


def run_probe(name: str, probe: Probe, host: Host, config: Config) -> Result:
    """Test one connection; whatever goes wrong is its result, without a secret."""
    result = _try_probe(name, probe, host, config)
    return Result(result.name, result.verdict, *map(redact, result[2:]))


def _try_probe(name: str, probe: Probe, host: Host, config: Config) -> Result:
    try:
        return Result(name, "OK", probe(host, config))
    except NotApplicable as error:
        return Result(name, "SKIP", str(error), error.reason, error.remedy)
    except ReadError as error:
        return Result(name, "FAIL", str(error), error.reason, error.remedy)
    except (StateError, OSError) as error:
        return Result(name, "FAIL", str(error), str(error))


def say_once(results: Sequence[Result]) -> list[Result]:
    """Return the results; what has been said of one already, the others only refer to: it would hide what differs."""
    said: set[str] = set()
    shown = []
    for each in results:
        if each.reason in said and each.remedy:
            found = "not found" if each.verdict == "SKIP" else "not known either"
            each = each._replace(text=f"{found}; {each.remedy}")
        said.add(each.reason)
        shown.append(each)
    return shown


def probe_configuration(host: Host, config: Config) -> str:
    """Return which monitor.conf is in force."""
    return os.path.abspath(config.path) if config.path else "no monitor.conf: everything has its default"


def probe_state_directory(host: Host, config: Config) -> str:
    """Return where state is kept, after taking its lock; one that is missing is not made by a test."""
    if not os.path.lexists(config.state_directory):
        return _check_parent(config.state_directory)
    with StateDirectory(config.state_directory).lock():
        return config.state_directory


def _check_parent(path: str) -> str:
    parent = os.path.dirname(os.path.abspath(path))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ReadError(f"{path} does not exist and cannot be made: {parent} is not writable for this user")
    return f"{path}, made by the first pass"


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
    """Return which n8n are asked and what they are bound to. Raises ReadError where one is not ready."""
    from vpsmon.stack.n8n.bound import describe_bindings
    from vpsmon.stack.n8n.health import is_ready
    from vpsmon.stack.n8n.server import describe_n8n, list_n8n

    _recall_identities(host, config)
    texts = []
    for each in list_n8n(host, config.settings):
        if not is_ready(host, each):
            raise ReadError(f"{describe_n8n(each)}: its database does not answer")
        bindings = describe_bindings(host, config.settings, each.container) if each.container else ""
        texts.append(f"{describe_n8n(each)}{bindings}")
    return "; ".join(texts)


def probe_waha(host: Host, config: Config) -> str:
    """Return which WAHA is asked, and how many sessions it has."""
    from vpsmon.stack.waha import describe_waha, find_waha, read_sessions

    _recall_identities(host, config)
    waha = find_waha(host, config.settings)
    count = len(read_sessions(host, waha))
    return f"{describe_waha(waha)}, {count} session{'' if count == 1 else 's'}"


def _recall_identities(host: Host, config: Config) -> None:
    """Know what passes have found out: a key goes only to whom they send it."""
    prepare_known(host, (StateDirectory(config.state_directory).peek(PASS_FILE) or {}).get(IDENTITIES))


def read_essential(host: Host, config: Config) -> list[Because]:
    """Return the containers that are never stopped, each with the reason. Raises NotApplicable, ReadError."""
    from vpsmon.stack.docker.containers import read_containers
    from vpsmon.stack.identity.essential import list_essential

    return list_essential(read_containers(host, config.settings), config.settings)


def probe_essential(host: Host, config: Config) -> str:
    """Return which containers are never stopped, each with the reason."""
    try:
        found = read_essential(host, config)
    except (NotApplicable, ReadError):
        raise NotApplicable("not known while the containers are not") from None
    if not found:
        raise NotApplicable("no container is: name those that must run in ESSENTIAL_CONTAINERS")
    return "; ".join(f"{each.name}: {each.reason}" for each in found)


def probe_telegram(host: Host, config: Config) -> str:
    """Return the bot's name, as Telegram's getMe tells it."""
    from vpsmon.alerts.telegram import fetch_bot_name, make_destination
    from vpsmon.net.http_client import describe_proxy

    if not config.settings.has_telegram:
        raise NotApplicable("not set up: put TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID into monitor.conf")
    destination = make_destination(config.settings)
    proxy = describe_proxy(destination.api_base)
    through = f", through the proxy {proxy}" if proxy else ""
    return f"@{fetch_bot_name(destination)}, chat {config.settings.TELEGRAM_CHAT_ID}{through}"


def probe_email(host: Host, config: Config) -> str:
    """Return which mail server takes the report, after logging in there."""
    from vpsmon.net.smtp import check_login, parse_smtp_url

    if not config.settings.has_email:
        raise NotApplicable("not set up: put EMAIL_TO and SMTP_URL into monitor.conf to get the report by e-mail")
    server = parse_smtp_url(config.settings.SMTP_URL)
    check_login(server)
    return f"{server.describe()}, to {clean(', '.join(config.settings.EMAIL_TO), 200)}"


def probe_heartbeat(host: Host, config: Config) -> str:
    """Return where the heartbeat goes, after one that healthchecks.io only notes; another service takes it as good."""
    from vpsmon.passes.heartbeat import name_log_url, ping

    url = config.settings.HEARTBEAT_URL
    if not url:
        raise NotApplicable("not set up: set HEARTBEAT_URL to hear of it when the whole machine is gone")
    log_url = name_log_url(url)
    ping("POST" if log_url else "GET", log_url or url, b"vpsmon selftest" if log_url else b"")
    return f"{url.split('/')[2]} takes it"


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
    "essential": probe_essential,
    "Telegram": probe_telegram,
    "e-mail": probe_email,
    "heartbeat": probe_heartbeat,
    "units": probe_systemd_units,
}
