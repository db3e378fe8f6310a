"""The last readings of what rules name: an hour at the usual cycle, for `show` and its curve."""

import math
from array import array
from collections.abc import Iterable, Mapping

from steadyd.model.metric import MetricId, Reading

TICKS = 240

Curve = tuple[float | None, ...]


class Recent:
    """Readings by service and metric, oldest first; single precision is enough for a curve."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, MetricId], array[float]] = {}

    def add(self, readings: Iterable[tuple[str, Mapping[MetricId, Reading]]]) -> None:
        """Take the readings of one tick; what is not among them is forgotten."""
        kept: dict[tuple[str, MetricId], array[float]] = {}
        for service, some in readings:
            for metric, reading in some.items():
                key = (service, metric)
                values = self._kept.get(key)
                if values is None:
                    values = array("f")
                if len(values) >= TICKS:
                    del values[0]
                values.append(math.nan if reading.value is None else reading.value)
                kept[key] = values
        self._kept = kept

    def of(self, service: str, metric: MetricId) -> Curve | None:
        """Return the readings of a metric, None where one had no value; None: nobody names it."""
        values = self._kept.get((service, metric))
        if values is None:
            return None
        return tuple(None if math.isnan(value) else value for value in values)
