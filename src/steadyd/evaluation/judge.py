"""Conditions held against what is known: which are true, and what tells best why. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import tzinfo

from msgspec import Struct

from steadyd.evaluation import history, machine, truth, windows
from steadyd.evaluation.history import Point, Series
from steadyd.model.condition import (
    UP,
    Comparison,
    Condition,
    Event,
    EventWord,
    Forecast,
    Leaf,
    Over,
    leaves,
)
from steadyd.model.fact import Moment, Past
from steadyd.model.metric import MetricId, Reading
from steadyd.model.rule import Rule


class Plan(Struct, frozen=True):
    """What is asked of a rule again and again: what it reads, and which events concern it."""

    metrics: frozenset[MetricId]
    leaves: tuple[Leaf, ...]
    eventful: bool  # it names an event, or `init:up`
    up: bool  # it reads `init:up`
    sampled: bool  # it reads what samples tell
    simple: Leaf | None  # all that it asks: one comparison of the present, or `down`; else None


class Judge:
    """Evaluates rules, and keeps the history that they look back on.

    `event` tells of an event of a service, `reading` of a metric, both now.
    """

    def __init__(
        self,
        cycle: float,
        zone: tzinfo,
        counters: Collection[MetricId],
        event: Callable[[str, Event], Reading],
        reading: Callable[[str, MetricId], Reading],
    ) -> None:
        self.plans: dict[str, Plan] = {}
        self._cycle, self._zone, self._counters = cycle, zone, counters
        self._event, self._reading = event, reading
        self._series: dict[str, dict[MetricId, Series]] = {}
        self._past: dict[tuple[str, str], list[Point]] = {}
        self._restored_at = 0.0

    def rules_changed(self, rules: Mapping[str, Rule]) -> None:
        """Judge these rules from now on.

        A history is kept of what they look back on, as long as they do, and of nothing else.
        """
        self.plans = {key: _plan(rule) for key, rule in rules.items()}
        keep: dict[str, dict[MetricId, float]] = {}
        for key, rule in rules.items():
            for leaf in self.plans[key].leaves:
                match leaf:
                    case Forecast():
                        seconds = history.RETENTION
                    case Comparison(over=Over() as over):
                        seconds = over.seconds + 2 * self._cycle
                    case _:
                        continue
                some = keep.setdefault(rule.service, {})
                some[leaf.metric] = max(some.get(leaf.metric, 0.0), seconds)
        self._series = {
            service: {
                metric: self._kept(service, metric, seconds) for metric, seconds in some.items()
            }
            for service, some in keep.items()
        }

    def restore(self, past: Iterable[Past], now: Moment) -> None:
        """Take what an earlier daemon saved, before any rule is known."""
        self._restored_at = now.mono
        for piece in past:
            points = self._past.setdefault((piece.service, piece.metric), [])
            if piece.anew:
                points.clear()
            points += [
                Point(at - now.wall + now.mono, value, seconds)
                for at, value, seconds in piece.points
            ]

    def unsaved(self, now: Moment) -> list[Past]:
        """Return the history that came since this was asked last.

        What was restored and no rule has asked for until now is not needed.
        """
        self._past.clear()
        found = []
        for service, some in self._series.items():
            for metric, series in some.items():
                points, anew = series.unsaved()
                if points or anew:
                    made = tuple((p.at - now.mono + now.wall, p.value, p.elapsed) for p in points)
                    until = now.wall + series.keep
                    found.append(Past(service, str(metric), until, made, anew))
        return found

    def _kept(self, service: str, metric: MetricId, seconds: float) -> Series:
        known = self._series.get(service, {}).get(metric)
        found = known or Series(seconds, counter=metric in self._counters)
        found.keep = seconds
        if known is None and (past := self._past.pop((service, str(metric)), None)):
            found.restore(past, self._restored_at)
        return found

    def remember(self, service: str, now: Moment) -> None:
        """Take the readings of a tick into the history."""
        for metric, series in self._series.get(service, {}).items():
            series.add(now.mono, self._reading(service, metric))

    def restarted(self, service: str, metrics: Collection[MetricId]) -> None:
        """Begin the history of some metrics anew: they are of another process now."""
        for metric, series in self._series.get(service, {}).items():
            if metric in metrics:
                series.restart()

    def rests(self, rule: Rule) -> bool:
        """Tell that a rule is false, cheaply; False also for what takes a closer look."""
        leaf = self.plans[rule.key].simple
        if leaf is None or isinstance(leaf, Forecast):
            return False
        metric = UP if isinstance(leaf, Event) else leaf.metric
        reading = self._reading(rule.service, metric)
        return truth.leaf_truth(leaf, reading, self._cycle) is False

    def look(self, rule: Rule, now: Moment) -> machine.Look:
        """Evaluate the conditions of a rule on what is known now."""
        true = self._truth(rule, rule.condition, now)
        ends = self._truth(rule, rule.until.condition, now) if rule.until is not None else None
        return machine.Look(true, ends, self.window_open(rule, now))

    def window_open(self, rule: Rule, now: Moment) -> bool:
        """Tell whether a rule may open and act at this hour."""
        window = rule.window
        return window is None or windows.is_open(window, now.wall, self._zone)

    def _truth(self, rule: Rule, condition: Condition, now: Moment) -> bool | None:
        return truth.truth(condition, lambda leaf: self._read(rule, leaf, now), self._cycle)

    def _read(self, rule: Rule, leaf: Leaf, now: Moment) -> Reading:
        service = rule.service
        match leaf:
            case Event(word=EventWord.DOWN):
                return self._reading(service, UP)
            case Event():
                return self._event(service, leaf)
            case Forecast():
                series = self._series[service][leaf.metric]
                told = history.forecast(leaf, series, now.mono, rule.params.warmup)
                reached = history.leads_to(leaf, series, told)
                return Reading(None, told.why_missing) if reached is None else Reading(reached)
            case Comparison(over=Over() as over):
                series = self._series[service][leaf.metric]
                return history.aggregate(series, over.function, over.seconds, now.mono, self._cycle)
            case Comparison():
                return self._reading(service, leaf.metric)

    def shown(self, rule: Rule, now: Moment, *, wanted: bool) -> tuple[Leaf, float | None]:
        """Return the leaf that tells best why a condition is true (or false), and its value."""
        best: tuple[Leaf, float | None] | None = None
        for leaf in leaves(rule.condition):
            reading = self._read(rule, leaf, now)
            value = reading.value
            if isinstance(leaf, Comparison) and value is not None:
                value = truth.scaled(leaf, reading, self._cycle)
            elif isinstance(leaf, Forecast):
                value = self._reading(rule.service, leaf.metric).value
            found = (leaf, None if isinstance(leaf, Event) else value)
            if truth.leaf_truth(leaf, reading, self._cycle) is wanted:
                return found
            best = best or found
        return best or (next(leaves(rule.condition)), None)


def _plan(rule: Rule) -> Plan:
    metrics, found = rule.metrics, rule.leaves
    up = UP in metrics
    eventful = up or any(isinstance(leaf, Event) for leaf in found)
    sampled = any(metric.family != "init" for metric in metrics)
    return Plan(metrics, found, eventful, up, sampled, _simple(rule))


def _simple(rule: Rule) -> Leaf | None:
    leaf = rule.condition
    if rule.until is not None or rule.window is not None:
        return None
    if isinstance(leaf, Comparison):
        return leaf if leaf.over is None else None
    return leaf if isinstance(leaf, Event) and leaf.word is EventWord.DOWN else None
