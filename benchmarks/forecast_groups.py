"""The kinds of traces of benchmarks/forecast, by group and by name."""

from __future__ import annotations

from benchmarks.forecast_limits import LIMIT_HEALTHY, LIMIT_LEAKS
from benchmarks.forecast_machines import OTHER_HEALTHY, OTHER_LEAKS
from benchmarks.forecast_measure import Kind
from benchmarks.forecast_traces import HEALTHY, HELD_OUT, LEAKS
from benchmarks.forecast_weeks import WEEKS_HEALTHY, WEEKS_LEAKS

GROUPS: dict[int, tuple[Kind, ...]] = {
    1: (*LEAKS, *HEALTHY, *HELD_OUT),
    2: (*OTHER_LEAKS, *OTHER_HEALTHY),
    3: (*WEEKS_LEAKS, *WEEKS_HEALTHY),
    4: (*LIMIT_LEAKS, *LIMIT_HEALTHY),
}
KINDS = {kind.__name__: kind for kinds in GROUPS.values() for kind in kinds}
