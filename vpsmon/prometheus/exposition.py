"""What an export writes: the samples of the checks, how the checks fared, and what vpsmon counts of itself."""

from __future__ import annotations

from collections.abc import Iterator

from vpsmon import __version__
from vpsmon.alerts.outbox import FILE as OUTBOX_FILE
from vpsmon.alerts.outbox import explain_silence, list_entries
from vpsmon.alerts.totals import HELPS as TOTALS_HELPS
from vpsmon.alerts.totals import load_totals
from vpsmon.core.findings import MetricSample, NotApplicable, Status
from vpsmon.core.prometheus_text import format_metrics
from vpsmon.passes.check_memory import FILE as PASS_FILE
from vpsmon.passes.check_memory import Memories
from vpsmon.passes.context import PassContext
from vpsmon.passes.look import Look
from vpsmon.passes.run_check import measure_attempt
from vpsmon.recovery.rules import list_rule_names

_SEVERITIES: dict[Status, int] = {"ok": 0, "warning": 1, "critical": 2}
HELPS = {
    **TOTALS_HELPS,
    "vpsmon_check_severity": "What a check says of an object: 0 ok, 1 warning, 2 critical.",
    "vpsmon_check_success": "1 where a check could look, 0 where it failed; absent where it makes no sense here.",
    "vpsmon_check_duration_seconds": "How long it took to read what a check needs; checks that read together share it.",
    "vpsmon_last_pass_timestamp_seconds": "When the numbers of this file were read.",
    "vpsmon_monitor_last_pass_timestamp_seconds": "When vpsmon monitor last looked.",
    "vpsmon_telegram_enabled": "1 where vpsmon itself sends its alerts to Telegram.",
    "vpsmon_outbox_messages": "Messages that wait to be sent to Telegram.",
    "vpsmon_telegram_success": "0 where Telegram refuses the alerts, or has not taken any for 15 minutes; else 1.",
    "vpsmon_build_info": "Always 1; the label is the version of vpsmon.",
}


def compose(context: PassContext, look: Look, with_own: bool) -> str:
    """Return the text of the metrics; `with_own` adds what vpsmon has counted. The caller holds the lock.

    Raises StateError.
    """
    helps: dict[str, str] = {}
    samples: list[MetricSample] = []
    failed: set[str] = set()
    for each in look.attempts:
        helps.update(getattr(each.check, "METRICS", {}))
        measured = measure_attempt(each, context.config.settings)
        if measured is None:
            failed.update(each.check.ROWS)
        samples += measured or []
    samples += [*_describe_checks(look, failed), *_describe_self(context, look, with_own)]
    return format_metrics({**helps, **HELPS}, samples)


def _describe_checks(look: Look, failed: set[str]) -> Iterator[MetricSample]:
    failed = failed | {finding.check for finding in look.findings if finding.status == "unknown"}
    for each in look.attempts:
        if isinstance(each.error, NotApplicable):
            continue
        for row in each.check.ROWS:
            labels = (("check", row),)
            yield MetricSample("vpsmon_check_success", row not in failed, labels)
            yield MetricSample("vpsmon_check_duration_seconds", each.duration_seconds, labels)
    for finding in look.findings:
        if finding.status in _SEVERITIES:
            name = (("object", finding.object),) if finding.object else ()
            labels = (("check", finding.check), *name)
            yield MetricSample("vpsmon_check_severity", _SEVERITIES[finding.status], labels)


def _describe_self(context: PassContext, look: Look, with_own: bool) -> Iterator[MetricSample]:
    yield MetricSample("vpsmon_last_pass_timestamp_seconds", look.wall_seconds)
    yield MetricSample("vpsmon_build_info", 1, (("version", __version__),))
    if not with_own:
        return
    state, settings = context.state, context.config.settings
    yield from load_totals(state).measure(list_rule_names())
    monitor_seconds = Memories(context.host, state.load(PASS_FILE), with_alerts=True).recall_last_look("kernel")
    if monitor_seconds is not None:
        yield MetricSample("vpsmon_monitor_last_pass_timestamp_seconds", monitor_seconds)
    yield MetricSample("vpsmon_telegram_enabled", settings.has_telegram)
    if settings.has_telegram:
        outbox = state.load(OUTBOX_FILE)
        yield MetricSample("vpsmon_outbox_messages", len(list_entries(outbox)))
        is_delivered = explain_silence(outbox, context.host.wall_seconds()) is None
        yield MetricSample("vpsmon_telegram_success", is_delivered)
