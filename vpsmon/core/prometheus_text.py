"""Prometheus' text format: written for what the checks measure, and read back where a counter was lost.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. Our own writer, because prometheus_client costs
70 ms and 23 MB to import, and renames counters.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping

from vpsmon.core.findings import MetricSample
from vpsmon.core.strict_json import is_possible


def format_metrics(helps: Mapping[str, str], samples: Iterable[MetricSample]) -> str:
    """Return the samples as text, those of a name together and in the order of `helps`, each name once explained.

    A series comes once: of two samples with the same labels the first one counts. A name that ends in _total is a
    counter, any other a gauge. Raises KeyError for a name without help.
    """
    series_of_name: dict[str, dict[str, float]] = {name: {} for name in helps}
    for sample in samples:
        if math.isfinite(sample.value):
            series_of_name[sample.name].setdefault(_format_labels(sample.labels), sample.value)
    lines = []
    for name, series in series_of_name.items():
        if series:
            lines.append(f"# HELP {name} {_escape(helps[name])}")
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines += [f"{name}{labels} {_format_value(value)}" for labels, value in series.items()]
    return "".join(f"{line}\n" for line in lines)


def _format_labels(labels: Iterable[tuple[str, str]]) -> str:
    pairs = [f'{name}="{_escape_label(value)}"' for name, value in labels]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_label(value: str) -> str:
    """A carriage return ends the line for Prometheus, and what is no Unicode is no UTF-8; neither can be escaped."""
    valid = value.replace("\r", "?").encode("utf-8", "replace").decode("utf-8")
    return _escape(valid).replace('"', '\\"')


def _format_value(value: float) -> str:
    """A whole number without a fraction, so that counts and sizes stay exact and readable."""
    return str(int(value)) if value == int(value) else repr(round(value, 6))


def parse_samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric in a text of `format_metrics`, by the values of its labels; their order stays.

    For labels whose values hold nothing that is escaped. Lines of another form are passed over.
    """
    samples = {}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        found, _, labels = series.partition("{")
        if found == name:
            with contextlib.suppress(ValueError):
                number = float(value)
                if is_possible(number):
                    samples[tuple(labels.split('"')[1::2])] = number
    return samples
