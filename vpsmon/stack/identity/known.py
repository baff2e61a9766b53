"""What was found out about identities in passes before this one: which containers were chosen, what images say.

It is part of pass_state.json; whoever reads that hands it to the host, and takes it back when that is written.
"""

from __future__ import annotations

from typing import Any

from vpsmon.system.host import Host


def prepare_known(host: Host, record: Any) -> None:
    """Have this record, of `list_known`, taken for what is known; the first one counts."""
    if not host.identities:
        tables = record.items() if isinstance(record, dict) else ()
        host.identities.update({str(name): dict(table) for name, table in tables if isinstance(table, dict)})


def recall_known(host: Host, table: str) -> dict[str, Any]:
    """Return what is known in a table, `images` or `chosen`; what is put into it is known from then on."""
    return host.identities.setdefault(table, {})


def list_known(host: Host) -> dict[str, Any]:
    """Return all tables as they are to be remembered."""
    return {name: dict(table) for name, table in host.identities.items() if table}
