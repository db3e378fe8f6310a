"""What the series that rules name were: aggregates over a window, and where a trend leads. Pure.

A gauge is kept as it is; of a counter each point is what it gained in the seconds before.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from steadyd.model.condition import Forecast, Function, Operator
from steadyd.model.metric import Reading

RETENTION = 86_400.0  # seconds of history that are kept (language.md)
ENOUGH = 0.8  # of its window must have samples (language.md)
PARTS = 12  # of the history, of which the minima make the trend


class Point(NamedTuple):
    """A reading: monotonic seconds, its value, the seconds over which a counter gained it."""

    at: float
    value: float
    elapsed: float


class Series:
    """The points of one metric of one service, oldest first; `keep` is for how many seconds."""

    def __init__(self, keep: float, *, counter: bool) -> None:
        self.keep, self.counter = keep, counter
        self.points: deque[Point] = deque()
        self.began = 0.0  # when the first point of this process was made
        self._saved, self._anew = -math.inf, False

    def add(self, at: float, reading: Reading) -> None:
        """Take the reading of a tick; what has no value leaves a gap."""
        if reading.value is None:
            return
        if not self.points:
            self.began = at
        self.points.append(Point(at, reading.value, reading.elapsed))
        while self.points and at - self.points[0].at > self.keep:
            self.points.popleft()

    def restart(self) -> None:
        """Begin anew: another process says nothing of this one's past."""
        self.points.clear()
        self._anew = True

    def restore(self, points: Iterable[Point], now: float) -> None:
        """Take back, at a monotonic time, what an earlier daemon saved."""
        self.points.extend(p for p in points if now - self.keep <= p.at <= now)
        if self.points:
            self.began, self._saved = self.points[0].at, self.points[-1].at

    def unsaved(self) -> tuple[list[Point], bool]:
        """Return what came since this was asked last, and whether it is of another process."""
        points, anew = self.since(self._saved), self._anew
        self._anew = False
        if points:
            self._saved = points[-1].at
        return points, anew

    def since(self, at: float) -> list[Point]:
        """Return the points after a monotonic time."""
        count = 0
        for point in reversed(self.points):
            if point.at <= at:
                break
            count += 1
        return list(islice(self.points, len(self.points) - count, None))


def aggregate(
    series: Series, function: Function, window: float, now: float, cycle: float
) -> Reading:
    """Return what is made of the last `window` seconds."""
    # half a cycle of slack: ticks do not come to the microsecond
    points = series.since(now - window - cycle / 2)
    covered = len(points) * cycle
    if covered < ENOUGH * window:
        return Reading(None, f"only {min(covered, window):.0f} s of {window:g} s were seen yet")
    return Reading(_made(series, function, points, cycle))


def forecast(asked: Forecast, series: Series, now: float, warmup: float) -> Reading:
    """Return what the trend says of the metric `within` seconds from now.

    Theil–Sen over the minima of 12 equal parts of the history after the warm-up: a saw tooth of
    garbage collection and a single spike move neither.
    """
    points = series.since(series.began + warmup) if series.points else []
    if len(points) < PARTS:
        return Reading(None, "there is not enough history for a trend yet")
    minima = _minima(points)
    if len(minima) < PARTS:
        return Reading(None, "the history has gaps: no trend can be told")
    slope = _median(
        (late.value - early.value) / (late.at - early.at)
        for place, early in enumerate(minima)
        for late in minima[place + 1 :]
    )
    level = _median(point.value - slope * point.at for point in minima)
    return Reading(level + slope * (now + asked.within))


def leads_to(asked: Forecast, series: Series, told: Reading) -> bool | None:
    """Tell whether a trend reaches the amount; `told` is what `forecast` returned."""
    if told.value is None:
        return None
    newest = series.points[-1].value
    limit = asked.amount.value
    operator = Operator.AT_LEAST if newest < limit else Operator.AT_MOST
    return newest == limit or operator.holds(told.value, limit)


def _made(series: Series, function: Function, points: Sequence[Point], cycle: float) -> float:
    values = [point.value for point in points]
    match function:
        case Function.AVG:
            return math.fsum(values) / len(values)
        case Function.MIN:
            return min(values)
        case Function.MAX:
            return max(values)
        case Function.DELTA:
            return _gained(series, points)
        case Function.RATE:
            seconds = sum(point.elapsed or cycle for point in points)
            if not series.counter:
                seconds = points[-1].at - points[0].at or cycle
            return _gained(series, points) / seconds
        case _:
            share = float(function.removeprefix("p")) / 100
            return sorted(values)[max(0, -(-len(values) * share // 1).__int__() - 1)]


def _gained(series: Series, points: Sequence[Point]) -> float:
    if series.counter:
        return sum(point.value for point in points)
    return points[-1].value - points[0].value


def _median(values: Iterable[float]) -> float:
    """Return the middle of some values; the module statistics would cost half a MiB."""
    ordered = sorted(values)
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2


def _minima(points: Sequence[Point]) -> list[Point]:
    """Return the lowest point of each of the equal parts, where there is one."""
    first, last = points[0].at, points[-1].at
    width = (last - first) / PARTS
    found: dict[int, Point] = {}
    for point in points:
        part = min(PARTS - 1, int((point.at - first) / width)) if width else 0
        if part not in found or point.value < found[part].value:
            found[part] = point
    return [found[part] for part in sorted(found)]
