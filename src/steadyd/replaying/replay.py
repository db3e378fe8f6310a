"""PURE: rules on the engine that runs live, fed with a recording in virtual time.

A service is bound and up unless the recording has its `init:up`. A verb that would run is
answered at once as done; the past stays as it was, so its effect is not assumed. Between two
ticks a fresh look finds what the tick before found.

A rule at rest is not evaluated before its condition can move it (`masks.py`). All else happens at
the same instants and in the same order as without skipping, which `skip=False` does.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, tzinfo
from heapq import heappop, heappush
from math import isnan, nan

from steadyd.engine import HOST_BUDGET, Engine, Options
from steadyd.model.condition import UP, EventWord, metrics_of
from steadyd.model.condition import Event as EventLeaf
from steadyd.model.fact import (
    Answered,
    Bound,
    Fact,
    Memory,
    Moment,
    Phase,
    RulesChanged,
    RuleState,
    Sampled,
    Step,
    UnitSeen,
    UnitUnknown,
)
from steadyd.model.incident import LineKind
from steadyd.model.metric import MetricId
from steadyd.model.notification import Occasion
from steadyd.model.rule import HOST, Budget, Exec, Rule, RuleSet
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.replaying.masks import Masks, masks_of
from steadyd.replaying.recording import UPTIME, Recording
from steadyd.replaying.story import Event, Kind, Story, Told

_AT_REST = RuleState(settled=True)
_KINDS = {
    LineKind.OPENED: Kind.OPENED,
    LineKind.OUTCOME: Kind.OUTCOME,
    LineKind.DEFERRED: Kind.DEFERRED,
    LineKind.SUPPRESSED: Kind.SUPPRESSED,
    LineKind.CLOSED: Kind.CLOSED,
}
_UNTOLD = {
    EventWord.CRASHED: "the history does not tell why a service was down",
    EventWord.ALERTED: "the history does not tell what Alertmanager said",
}


def replay(
    rules: RuleSet,
    recording: Recording,
    *,
    per_process: frozenset[MetricId] = frozenset(),
    host_budget: Budget = HOST_BUDGET,
    zone: tzinfo = UTC,
    skip: bool = True,
) -> Story:
    """Return what these rules would have done; programs of `exec` count as allowed."""
    programs = {
        deed.command.split()[0]
        for rule in rules.rules
        for deed in rule.deeds
        if isinstance(deed, Exec) and deed.command.split()
    }
    options = Options(
        "replay",
        recording.step,
        host_budget=host_budget,
        per_process=per_process,
        counters=recording.counters,
        zone=zone,
        exec_allowed=frozenset(programs),
    )
    return _Run(rules, recording, options, skip).story()


class _Run:
    """One replay under way."""

    def __init__(self, rules: RuleSet, recording: Recording, options: Options, skip: bool) -> None:
        self._rules, self._recording, self._skip = rules, recording, skip
        self._engine = Engine(options, Memory(), recording.moment(-1))
        self._events: dict[str, list[Event]] = {rule.key: [] for rule in rules.rules}
        self._rule_of: dict[str, str] = {}  # incident -> rule
        self._spent: set[str] = set()  # incidents of which nothing more will be tried
        self._end = recording.moment(recording.ticks - 1).mono
        self._masks: dict[str, Masks | None] = {}
        self._next: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._changes = _changes(rules, recording)
        self._marked = sorted(self._changes)[::-1]

    def story(self) -> Story:
        """Run from the first tick to the last."""
        recording = self._recording
        self._begin()
        tick = -1
        while (tick := self._go(tick)) < recording.ticks:
            self._tick(tick)
        told = tuple(
            Told(rule, tuple(self._events[rule.key]), dark(rule, recording))
            for rule in self._rules.rules
        )
        end = recording.start + max(0, recording.ticks - 1) * recording.step
        return Story(recording.start, end, recording.step, told)

    def _begin(self) -> None:
        names = [c.service for c in self._rules.checks if c.service != HOST]
        facts: list[Fact] = [RulesChanged(self._rules, _routes(self._rules))]
        facts += [Bound(name, name, name) for name in names]
        self._engine.step(facts, self._recording.moment(-1))
        self._index = {rule.key: rule for rule in self._rules.rules}
        self._order = {name: place for place, name in enumerate(self._engine.subjects)}
        self._read = {  # what the engine has not from the status
            name: self._engine.metrics_of(name) - {UP, UPTIME} for name in self._order
        }
        for key, rule in self._index.items():
            self._masks[key] = masks_of(rule, self._recording) if self._skip else None
            self._plan(key, 0)

    # -- time

    def _go(self, tick: int) -> int:
        """Let the time pass until a tick that matters; return it."""
        recording, engine = self._recording, self._engine
        while True:
            following, at = self._following(tick), engine.wake_at()
            if at is None or at >= recording.moment(following).mono or at > self._end:
                return following
            before = recording.tick_at(at)
            if before > tick and at <= recording.moment(before).mono:
                return before
            self._wake(at, before)
            tick = max(tick, before)

    def _following(self, tick: int) -> int:
        if not self._skip or self._restless():
            return tick + 1
        while self._heap and self._next[self._heap[0][1]] != self._heap[0][0]:
            heappop(self._heap)
        times = [self._heap[0][0] if self._heap else self._recording.ticks]
        while self._marked and self._marked[-1] <= tick:
            self._marked.pop()
        times += self._marked[-1:]
        return max(min(times), tick + 1)

    def _restless(self) -> set[str]:
        """Return the rules of which the ladder may go on at any tick."""
        engine, found = self._engine, set()
        for incident in engine.incidents.values():
            if incident.id in self._spent:
                continue
            rule = engine.rules[incident.rule_key]
            waits = engine.ladder.courses[incident.id].due_at is not None
            if waits or (rule.deeds and not engine.ladder.spent(incident, rule)):
                found.add(rule.key)
            else:
                self._spent.add(incident.id)
        return found

    def _tick(self, tick: int) -> None:
        recording, engine = self._recording, self._engine
        facts: list[Fact] = []
        chosen: set[str] | None = None
        services: Iterable[str] = engine.subjects
        marked = self._changes.get(tick, {})
        for told in marked.values():
            facts += told
        if self._skip:
            chosen = self._chosen(tick, marked) | self._restless()
            names = {self._index[key].service for key in chosen}
            services = sorted(names, key=self._order.__getitem__)
        readings = {name: recording.readings(name, self._read[name], tick) for name in services}
        rules = None if chosen is None else frozenset(chosen)
        facts.append(Sampled(readings, True, rules))
        self._step(facts, recording.moment(tick), tick)
        for key in chosen or ():
            if self._next[key] <= tick:  # nothing of it changed
                self._plan(key, tick + 1)

    def _chosen(self, tick: int, marked: Iterable[str]) -> set[str]:
        """Return the rules that have to be evaluated at a tick."""
        chosen = {rule.key for name in marked for rule in self._engine.rules_of(name)}
        heap = self._heap
        while heap and heap[0][0] <= tick:
            at, key = heappop(heap)
            if self._next[key] == at:
                chosen.add(key)
        return chosen

    def _wake(self, at: float, tick: int) -> None:
        """Do what is due between two ticks, on a fresh look that finds what the last one found."""
        recording, engine = self._recording, self._engine
        fresh = {
            name: recording.readings(name, self._read[name], tick)
            for name in sorted(engine.stale(at), key=self._order.__getitem__)
        }
        wall = recording.moment(tick, at - recording.moment(tick).mono).wall
        self._step([Sampled(fresh)] if fresh else [], Moment(at, wall), tick)

    # -- what came of it

    def _step(self, facts: Sequence[Fact], now: Moment, tick: int) -> None:
        """Go one step, write down what happened, and answer verbs until none is asked."""
        while True:
            step = self._engine.step(facts, now)
            self._write(step)
            for key in step.states:
                self._plan(key, tick + 1)
            if not step.intents:
                return
            facts = [Answered(intent.action.id) for intent in step.intents]

    def _write(self, step: Step) -> None:
        for incident in step.incidents.values():
            self._rule_of.setdefault(incident.id, incident.rule_key)
        reasons = iter(step.suppressed)  # one for each such line, in the same order
        for line in step.lines:
            kind = _KINDS.get(line.kind)
            if kind is None:
                continue
            reason = next(reasons)[1] if kind in (Kind.DEFERRED, Kind.SUPPRESSED) else ""
            event = Event(line.at, kind, line.text, line.value, line.threshold, "", str(reason))
            self._events_of(line.incident).append(event)
        for told in step.notifications:
            if told.occasion is Occasion.ESCALATED and told.incident is not None:
                event = Event(told.at, Kind.ESCALATED, f"alert {told.route}")
                self._events_of(told.incident.id).append(event)
        for action in (intent.action for intent in step.intents):
            text = self._index[self._rule_of[action.incident]].steps[action.step].text
            event = Event(action.asked_at, Kind.ACTED, text, verb=action.verb)
            self._events_of(action.incident).append(event)

    def _events_of(self, incident: str) -> list[Event]:
        return self._events[self._rule_of[incident]]

    def _plan(self, key: str, tick: int) -> None:
        """Note the first tick, not before this one, at which a rule has to be evaluated."""
        at = self._matters(key, tick)
        self._next[key] = at
        if self._skip and at < self._recording.ticks:
            heappush(self._heap, (at, key))

    def _matters(self, key: str, tick: int) -> int:
        masks, state = self._masks[key], self._engine.states.get(key)
        if masks is None or state is None:
            return tick
        if state == _AT_REST:
            found = masks.opens.true.find(1, tick)
        elif state == RuleState(Phase.FIRING, settled=state.settled) and masks.ends is None:
            found = masks.opens.false.find(1, tick)
        elif state == RuleState(Phase.FIRING, settled=True) and masks.ends is not None:
            found = masks.ends.true.find(1, tick)
        else:
            return tick
        return found if found >= 0 else self._recording.ticks


def dark(rule: Rule, recording: Recording) -> tuple[tuple[str, str], ...]:
    """Return what the rule asks for and the history does not tell, with the reason."""
    found = dict[str, str]()
    for leaf in rule.leaves:
        if isinstance(leaf, EventLeaf) and leaf.word in _UNTOLD:
            found[str(leaf)] = _UNTOLD[leaf.word]
        for metric in metrics_of(leaf):
            if why := recording.why_missing(rule.service, metric):
                found[str(metric)] = why
    return tuple(found.items())


def _routes(rules: RuleSet) -> frozenset[str]:
    named = {getattr(step, "route", "") for rule in rules.rules for step in rule.steps}
    owners = {rule.params.owner for rule in rules.rules}
    return frozenset((named | owners) - {""})


def _status(name: str, up: float, since: float = 0.0, run: str = "") -> UnitStatus:
    state = ServiceState.ACTIVE if up >= 1 else ServiceState.INACTIVE
    return UnitStatus(name, name, state, invocation=run, can_reload=True, since=since)


def _changes(rules: RuleSet, recording: Recording) -> dict[int, dict[str, list[Fact]]]:
    """Return by tick and service what the init system would have told."""
    found: dict[int, dict[str, list[Fact]]] = {}
    for check in rules.checks:
        name = check.service
        if name == HOST:
            continue
        for tick, fact in _told(name, recording):
            found.setdefault(tick, {}).setdefault(name, []).append(fact)
            if tick:  # what happens is judged on the readings of the tick before
                found.setdefault(tick - 1, {}).setdefault(name, [])
    return found


def _told(name: str, recording: Recording) -> Iterator[tuple[int, Fact]]:
    """Yield when a unit went up or down, or was started again."""
    known = recording.series.get(name, {})
    ups, uptimes = known.get(UP), known.get(UPTIME)
    if ups is None and uptimes is None:
        yield 0, UnitSeen(_status(name, 1.0))
        return
    run, since, before = 0, 0.0, (nan, 0)
    for tick in range(recording.ticks):
        up = 1.0 if ups is None else _at(ups, tick)
        age, wall = _at(uptimes or (), tick), recording.moment(tick).wall
        if not isnan(age) and abs(wall - age - since) > recording.step:
            run, since = run + 1, wall - age
        now = (-1.0 if isnan(up) else up, run)
        if now == before:
            continue
        before = now
        if isnan(up):
            yield tick, UnitUnknown(name, "", "it was not recorded then")
        else:
            yield tick, UnitSeen(_status(name, up, since, str(run) if run else ""))


def _at(column: Sequence[float], tick: int) -> float:
    return column[tick] if tick < len(column) else nan
