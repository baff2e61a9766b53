"""Facts -> Report. Pure."""

from __future__ import annotations

from vpsmon.core.findings import Status, worst_status
from vpsmon.report.facts import Facts
from vpsmon.report.model import Report
from vpsmon.report.sections.attention import make_attention
from vpsmon.report.sections.containers import make_containers
from vpsmon.report.sections.events import make_events, make_marks
from vpsmon.report.sections.outlook import make_outlook
from vpsmon.report.sections.services import make_services
from vpsmon.report.sections.trends import make_trends
from vpsmon.report.timeline import count_watched_seconds


def compose(facts: Facts) -> Report:
    """Return what the report says."""
    trends = make_trends(facts)
    watched_seconds = max(count_watched_seconds(trend.today) for trend in trends)
    sections = [make_outlook(facts), make_events(facts, watched_seconds), make_containers(facts), make_services(facts)]
    return Report(
        facts.host_name,
        facts.wall_seconds,
        facts.boot_age_seconds,
        watched_seconds,
        _find_status(facts, watched_seconds),
        make_attention(facts),
        trends,
        [section for section in sections if section.rows],
        make_marks(facts),
    )


def _find_status(facts: Facts, watched_seconds: float) -> Status:
    """Of a day on which nothing was watched, nobody can say that it was well."""
    status = worst_status(facts.findings)
    return "unknown" if not watched_seconds and status in ("ok", "skipped") else status
