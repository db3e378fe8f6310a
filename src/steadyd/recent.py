"""The last hour: readings of what rules name, and changes of state; for `show` and the page."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence

from steadyd.model.metric import MetricId, Reading
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import TICKS

HOUR = 3600.0  # seconds of states kept
CHANGES = 120  # of the state of a service; one that flaps makes more

Curve = tuple[float | None, ...]


class Recent:
    """Readings by service and metric, oldest first; single precision is enough for a curve."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, MetricId], array[float]] = {}
        self._states: dict[str, list[tuple[float, ServiceState]]] = {}

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

    def of(self, service: str, metric: MetricId, most: int = TICKS) -> Curve | None:
        """Return the last readings, None where one had no value; None in all: nobody names it."""
        values = self._kept.get((service, metric))
        if values is None:
            return None
        values = values[-most:]
        return tuple(None if math.isnan(value) else value for value in values)

    def saw(self, at: float, states: Iterable[tuple[str, ServiceState]]) -> None:
        """Take the states of all services at a wall-clock time; others are forgotten."""
        kept: dict[str, list[tuple[float, ServiceState]]] = {}
        for service, state in states:
            changes = kept[service] = self._states.get(service) or []
            if not changes or changes[-1][1] is not state:
                changes.append((at, state))
                # the last change before that hour tells the state at its beginning
                while len(changes) > CHANGES or (len(changes) > 1 and changes[1][0] < at - HOUR):
                    del changes[0]
        self._states = kept

    def states(self, service: str) -> Sequence[tuple[float, ServiceState]]:
        """Return the changes of state of the last hour, oldest first: when, and to what."""
        return tuple(self._states.get(service, ()))
