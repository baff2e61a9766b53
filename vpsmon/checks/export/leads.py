"""lead_count: how many leads the database of the stack holds (LEAD_COUNT_QUERY, else the tables named like %lead%)."""

from __future__ import annotations

from vpsmon.config.settings import Settings
from vpsmon.core.findings import Finding, MetricSample, Previous, ok
from vpsmon.stack.postgres.leads import LeadCount, read_lead_count
from vpsmon.system.host import Host

ROWS = {"lead_count": "leads"}
METRICS = {"lead_count": "Leads in the database; an estimate where a table is too large to be counted."}

Reading = LeadCount


def read(host: Host, settings: Settings, previous: Previous | None) -> Reading:
    """Return the number of leads. Raises NotApplicable, ReadError."""
    return read_lead_count(host, settings)


def judge(reading: Reading, settings: Settings, previous: Previous | None) -> list[Finding]:
    """Return the number; no number of leads is wrong."""
    about = "about " if reading.is_estimate else ""
    return [ok("lead_count", f"{about}{reading.leads} leads", value=reading.leads)]


def measure(reading: Reading, settings: Settings, previous: Previous | None) -> list[MetricSample]:
    """Return the number of leads."""
    return [MetricSample("lead_count", reading.leads)]
