"""PostgreSQL, Redis, n8n, WhatsApp and the leads."""

from __future__ import annotations

from vpsmon.core.findings import Finding
from vpsmon.core.text import format_bytes
from vpsmon.report.facts import Facts, Unread, choose
from vpsmon.report.model import Row, Section
from vpsmon.report.sections.words import count, explain, explain_finding, join_alike


def make_services(facts: Facts) -> Section:
    """Return the section."""
    rows = [_make_postgres(facts), _make_redis(facts), *_make_workflows(facts), _make_queue(facts)]
    return Section("Services", join_alike([*rows, *_make_sessions(facts), _make_leads(facts)]))


def _make_postgres(facts: Facts) -> Row:
    rows = [*choose(facts.findings, "postgres_connections"), *choose(facts.findings, "postgres_size")]
    reading = facts.readings.get("postgres")
    if reading is None or reading.statistics is None:
        return explain_finding("PostgreSQL", rows[0])
    statistics = reading.statistics
    percent = statistics.lifetime_hit_percent
    cache = "no cache ratio yet" if percent is None else f"cache {percent:.1f} %"
    text = f"{cache}, {statistics.connections} of {statistics.max_connections} connections"
    return Row("PostgreSQL", text, rows[1].message if reading.size else str(reading.size_failure), rows[0].status)


def _make_redis(facts: Facts) -> Row:
    rows = choose(facts.findings, "redis_memory")
    reading = facts.readings.get("redis")
    if reading is None:
        return explain_finding("Redis", rows[0])
    text = f"{format_bytes(reading.used_bytes)}, {count(reading.keys, 'key')}"
    limit = f"maxmemory {format_bytes(reading.limit_bytes)}" if reading.limit_bytes else "no maxmemory limit"
    return Row("Redis", text, f"{count(reading.clients, 'client')}, {limit}", rows[0].status)


def _make_workflows(facts: Facts) -> list[Row]:
    if isinstance(facts.workflows, Unread):
        workflows = explain("workflows", facts.workflows)
    else:
        workflows = Row("workflows", f"{facts.workflows.active:,} active, {facts.workflows.inactive:,} inactive")
    return [workflows, _make_executions(facts)]


def _make_executions(facts: Facts) -> Row:
    executions = facts.executions
    if isinstance(executions, Unread):
        return explain("executions", executions)
    text = f"{executions.completed:,} completed, {executions.failed:,} failed"
    detail = f"the day before {executions.completed_before:,} and {executions.failed_before:,}"
    if executions.failing:
        detail += "; failed most: " + ", ".join(f"{name} ({number:,})" for name, number in executions.failing)
    return Row("executions", text, detail)


def _make_queue(facts: Facts) -> Row:
    row = choose(facts.findings, "n8n_queue")[0]
    return Row("n8n queue", row.message, "", row.status) if row.value is not None else explain_finding("n8n queue", row)


def _make_sessions(facts: Facts) -> list[Row]:
    sessions = choose(facts.findings, "waha_session")
    if all(finding.object is None for finding in sessions):
        return [explain_finding("WhatsApp", sessions[0])]
    return [_describe_session(each) for each in sessions]


def _describe_session(finding: Finding) -> Row:
    text = f"{finding.object}: {finding.message}" if finding.object else finding.message
    return Row("WhatsApp", text, finding.explain(), finding.status)


def _make_leads(facts: Facts) -> Row:
    leads = facts.leads
    if isinstance(leads, Unread):
        return explain("leads", leads)
    return Row("leads", f"about {leads.leads:,}" if leads.is_estimate else f"{leads.leads:,}")
