"""The text for Prometheus, checked by Prometheus' own tool: hostile labels, numbers, and that it reads back."""

from __future__ import annotations

import subprocess

import pytest

from vpsmon.checks import load_checks
from vpsmon.core.findings import MetricSample
from vpsmon.core.prometheus_text import format_metrics, parse_samples
from vpsmon.prometheus.exposition import HELPS


def lint(text: str) -> str:
    """Return what promtool says of it; nothing when all is well."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30, check=False
    )
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize(
    "name",
    ['say "hi"', "back\\slash", "two\nlines", "cr\rlf\r\n", "ünï✓", "a\udcffb", "{}=,", "", 'ends with \\"', "\\n"],
)
def test_any_name_can_be_a_label(name: str) -> None:
    text = format_metrics({"x_bytes": "help"}, [MetricSample("x_bytes", 1, (("container", name),))])
    assert lint(text) == ""
    assert text.count("\n") == 3
    assert "\r" not in text


def test_a_help_text_may_hold_anything() -> None:
    assert lint(format_metrics({"x_bytes": 'a\\b\n"c"'}, [MetricSample("x_bytes", 1)])) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (True, "1"),
        (50.0, "50"),
        (0.1 + 0.2, "0.3"),
        (1795590988.162279, "1795590988.162279"),
        (2**53, "9007199254740992"),
        (3.3e-05, "3.3e-05"),
        (-1.5, "-1.5"),
    ],
)
def test_numbers_stay_exact(value: float, text: str) -> None:
    assert format_metrics({"x": "help"}, [MetricSample("x", value)]).splitlines()[-1] == f"x {text}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_absent(value: float) -> None:
    assert format_metrics({"x": "help"}, [MetricSample("x", value)]) == ""


def test_a_series_comes_once_and_a_name_without_samples_not_at_all() -> None:
    samples = [MetricSample("b_total", 1, (("a", "1"),)), MetricSample("b_total", 2, (("a", "1"),))]
    text = format_metrics({"a": "help", "b_total": "help"}, samples)
    assert text == '# HELP b_total help\n# TYPE b_total counter\nb_total{a="1"} 1\n'


def test_what_was_written_reads_back() -> None:
    samples = [MetricSample("x_total", 7, (("rule", "swap"), ("outcome", "undone"))), MetricSample("x_total", 9)]
    text = format_metrics({"x_total": "help"}, samples) + "x_total{ nonsense\nx_total y\n\n"
    assert parse_samples(text, "x_total") == {("swap", "undone"): 7, (): 9}
    assert parse_samples(text, "x") == {}


def test_every_metric_has_a_lawful_name_and_a_help_text_and_belongs_to_one_check() -> None:
    helps = [getattr(check, "METRICS", {}) for stage in ("kernel", "stack", "export") for check in load_checks(stage)]
    helps.append(HELPS)
    names = [name for each in helps for name in each]
    assert len(set(names)) == len(names)
    text = format_metrics(
        {name: text for each in helps for name, text in each.items()}, [MetricSample(name, 1) for name in names]
    )
    # Two names that Prometheus' style would not choose: that of the original, and hours are what people read.
    assert lint(text).splitlines() == [
        'lead_count non-histogram and non-summary metrics should not have "_count" suffix',
        'vpsmon_memory_forecast_hours use base unit "seconds" instead of "hours"',
    ]
