"""PURE: what was recorded, one column of numbers for each metric of each service."""

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct, field

from steadyd.model.condition import UP
from steadyd.model.fact import Moment
from steadyd.model.metric import MetricId, Reading, Readings
from steadyd.model.service import matches

Column: TypeAlias = "array[float]"
LONGEST = 400_000  # ticks of a replay: ten weeks at the usual cycle
UPTIME = MetricId("init", "uptime")
_BEGAN = 3600.0  # the monotonic clock at the first tick


class Recording(Struct, frozen=True):
    """Readings at `ticks` instants, `step` seconds apart, the first at the wall-clock `start`.

    A value that is not known is NaN in its column; a column may end early. `missing` says of a
    service's metric why there is no column, `counters` are those of which a value is a gain.
    """

    start: float
    step: float
    ticks: int
    series: Mapping[str, Mapping[MetricId, Column]]
    missing: Mapping[tuple[str, MetricId], str] = field(default_factory=dict)
    counters: frozenset[MetricId] = frozenset()

    def moment(self, tick: int, after: float = 0.0) -> Moment:
        """Return both clocks some seconds after a tick."""
        since = tick * self.step + after
        return Moment(_BEGAN + since, self.start + since)

    def tick_at(self, mono: float) -> int:
        """Return the last tick at or before a monotonic time."""
        tick = int((mono - _BEGAN) // self.step) + 1
        while self.moment(tick).mono > mono:
            tick -= 1
        return tick

    def value(self, service: str, metric: MetricId, tick: int) -> float | None:
        """Return what was recorded at a tick."""
        column = self.series.get(service, {}).get(metric)
        if column is None or not 0 <= tick < len(column) or math.isnan(column[tick]):
            return None
        return column[tick]

    def readings(self, service: str, metrics: Iterable[MetricId], tick: int) -> Readings:
        """Return the readings of a tick."""
        return {metric: self._reading(service, metric, tick) for metric in metrics}

    def why_missing(self, service: str, metric: MetricId) -> str:
        """Return why nothing is known of a metric, "" if something is."""
        if metric in self.series.get(service, {}) or (service and metric == UP):
            return ""
        return self.missing.get((service, metric), "it is not in the history")

    def members(self, glob: str) -> list[str]:
        """Return the recorded services that a glob stands for."""
        return [name for name in self.series if matches(glob, name)]

    def _reading(self, service: str, metric: MetricId, tick: int) -> Reading:
        value = self.value(service, metric, tick)
        if value is None:
            return Reading(None, self.why_missing(service, metric) or "it was not recorded then")
        return Reading(value, elapsed=self.step if metric in self.counters else 0.0)


def column(values: Iterable[float | None]) -> Column:
    """Return a column; what is no finite number is not known."""
    return array("d", (math.nan if v is None or not math.isfinite(v) else v for v in values))
