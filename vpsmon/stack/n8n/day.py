"""What n8n did in the last day: its workflows, how executions ended today and yesterday, and which failed most.

Columns are those of n8n 1.123 and 2.40. By default n8n keeps executions for 14 days.
"""

from __future__ import annotations

from typing import NamedTuple

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.core.text import clean
from vpsmon.stack.n8n.server import N8n, find_n8n, query_database
from vpsmon.system.host import Host

_WORKFLOWS = """
select count(*) filter (where active), count(*) filter (where not active) from {0} where not "isArchived"
"""
_EXECUTIONS = """
select status in ('error', 'crashed'), "stoppedAt" > now() - interval '24 hours', count(*)
from {0} where "deletedAt" is null and "stoppedAt" > now() - interval '48 hours'
and status in ('success', 'error', 'crashed') group by 1, 2
"""
_FAILING = """
select coalesce(w.name, 'a deleted workflow'), count(*) from {0} e left join {1} w on w.id = e."workflowId"
where e."deletedAt" is null and e."stoppedAt" > now() - interval '24 hours' and e.status in ('error', 'crashed')
group by 1 order by 2 desc, 1 limit 3
"""


class Workflows(NamedTuple):
    """Numbers of workflows; archived ones do not count."""

    active: int
    inactive: int


class Executions(NamedTuple):
    """Executions that ended in the last 24 h, in the 24 h before, and the workflows that failed most."""

    completed: int
    failed: int
    completed_before: int
    failed_before: int
    failing: tuple[tuple[str, int], ...]


def read_workflows(host: Host, settings: Settings) -> Workflows:
    """Return the workflows by status. Raises NotApplicable (no n8n, or not in PostgreSQL) or ReadError."""
    return Workflows(*query_database(host, settings, find_n8n(host, settings), _WORKFLOWS, "workflow_entity")[0])


def read_executions_of_day(host: Host, settings: Settings) -> Executions:
    """Return how executions ended. Raises NotApplicable (no n8n, or not in PostgreSQL) or ReadError."""
    n8n = find_n8n(host, settings)
    rows = query_database(host, settings, n8n, _EXECUTIONS, "execution_entity")
    counts = {(is_failed, is_today): int(count) for is_failed, is_today, count in rows}
    today, before = (counts.get((False, day), 0) for day in (True, False))
    failed, failed_before = (counts.get((True, day), 0) for day in (True, False))
    return Executions(today, failed, before, failed_before, _name_failing(host, settings, n8n) if failed else ())


def _name_failing(host: Host, settings: Settings, n8n: N8n) -> tuple[tuple[str, int], ...]:
    try:
        rows = query_database(host, settings, n8n, _FAILING, "execution_entity", "workflow_entity")
    except ReadError:
        return ()  # the numbers are known, and they are what counts
    return tuple((clean(str(name)), int(count)) for name, count in rows)
