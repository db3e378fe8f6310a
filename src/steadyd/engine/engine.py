"""Facts to the rooms of the engine; which rules are evaluated, and when."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, tzinfo

from msgspec import Struct

from steadyd.engine.incidents import Incidents
from steadyd.engine.jobs import Jobs
from steadyd.engine.silences import Silences
from steadyd.engine.standing import Standings
from steadyd.engine.subjects import News, Subjects
from steadyd.engine.turn import Turn
from steadyd.evaluation import machine
from steadyd.evaluation.judge import Judge
from steadyd.evaluation.subject import COUNTERS, Circumstances, Subject, UnitKey
from steadyd.healing.guard import HOUR
from steadyd.healing.ladder import Ladder
from steadyd.model.condition import OOM_KILLS, Event, EventWord
from steadyd.model.decision import Opened, Resolved
from steadyd.model.fact import (
    Alerted,
    Answered,
    Bound,
    Fact,
    JobRan,
    Memory,
    Moment,
    Past,
    Phase,
    RulesChanged,
    RuleState,
    Sampled,
    Silenced,
    Step,
    Unbound,
    UnitMemory,
    UnitSeen,
    UnitUnknown,
)
from steadyd.model.incident import CloseReason, Incident
from steadyd.model.job import JobState
from steadyd.model.metric import MetricId, Reading
from steadyd.model.rule import Budget, Job, Rule, Verb
from steadyd.model.silence import Silence

HOST_BUDGET = Budget(10, HOUR)


class Options(Struct, frozen=True):
    """What the configuration decides for the engine. `cycle` is in seconds.

    `per_process` are the metrics of which holds start again with another process, `counters` those
    of which a reading is what was gained. `zone` is the host's; `exec_allowed` are the programs
    that `exec` may run.
    """

    hostname: str
    cycle: float = 15.0
    dry_run: bool = False
    host_budget: Budget = HOST_BUDGET
    per_process: frozenset[MetricId] = frozenset()
    counters: frozenset[MetricId] = frozenset()
    zone: tzinfo = UTC
    exec_allowed: frozenset[str] = frozenset()


class Engine:
    """Rules, where they stand, the services they watch, and the incidents that are open."""

    def __init__(self, options: Options, memory: Memory, now: Moment) -> None:
        self.options = options
        self.rules: dict[str, Rule] = {}
        self.evaluations = self.unknowns = 0
        self._turn = turn = Turn(now, Step())
        self.ladder = Ladder(
            memory, now, options.host_budget, options.dry_run, options.exec_allowed
        )
        self._subjects = Subjects(turn, memory.units)
        self._judge = Judge(
            options.cycle, options.zone, options.counters, self._event, self.reading
        )
        self._judge.restore(memory.past, now)
        self._standings = Standings(turn, memory, options.cycle)
        self._silences = Silences(turn, memory.silences, self._subjects, self._judge)
        self._incidents = Incidents(
            turn,
            memory.incidents,
            options.hostname,
            self._subjects,
            self._standings,
            self._judge,
            self._silences,
            self.ladder,
        )
        self._jobs = Jobs(turn, memory, self._incidents)
        self._rebooted = not memory.same_boot
        self._by_service: dict[str, list[Rule]] = {}
        self._metrics: dict[str, frozenset[MetricId]] = {}
        self._second: dict[str, float] = {}  # when a rule on `init:up` is looked at once more

    def step(self, facts: Sequence[Fact], now: Moment, *, kill_switch: bool = False) -> Step:
        """Apply a batch of facts and whatever is due at `now`."""
        self._turn.begin(now)
        self.ladder.begin(now, self._turn.out, kill_switch)
        for fact in sorted(facts, key=_rank):
            self._apply(fact)
        self._due()
        return self._turn.out

    def wake_at(self) -> float | None:
        """Return the monotonic time at which step() wants to be called again, None: no wish."""
        times = [at for at, _ in self._timed()]
        times += self.ladder.wake_at()
        times += self._second.values()
        for subject in self.subjects.values():
            if subject.acting_since is not None:
                times.append(subject.acting_since + subject.params.settle)
        times += self._incidents.wake_at()
        times += self._jobs.wake_at()
        return min((at for at in times if at > self._turn.now.mono), default=None)

    def stale(self, now: float) -> frozenset[str]:
        """Return the services of which a fresh sample is wanted at the monotonic time `now`."""
        wanted = {rule.service for at, rule in self._timed() if at <= now}
        looks = (i for i in self.incidents.values() if self.ladder.wants_look(i.id, now))
        return frozenset(wanted | {incident.service for incident in looks})

    def unsaved(self, now: Moment) -> list[Past]:
        """Return the history that came since this was asked last."""
        return self._judge.unsaved(now)

    # -- what is known now

    @property
    def subjects(self) -> Mapping[str, Subject]:
        """Return what is watched, by name."""
        return self._subjects.by_name

    @property
    def units(self) -> Mapping[UnitKey, UnitMemory]:
        """Return what is remembered of each unit."""
        return self._subjects.units

    @property
    def revision(self) -> int:
        """Return a number that is another one when something else is watched, or elsewhere."""
        return self._subjects.revision

    @property
    def states(self) -> Mapping[str, RuleState]:
        """Return where each rule stands, by its key."""
        return self._standings.by_rule

    @property
    def incidents(self) -> Mapping[str, Incident]:
        """Return the open incidents, by id."""
        return self._incidents.open

    @property
    def dark(self) -> dict[str, float]:
        """Return since when (wall clock) nothing is known of what an open incident is about."""
        return self._incidents.dark

    @property
    def silences(self) -> tuple[Silence, ...]:
        """Return the silences and deploys of the operator."""
        return self._silences.in_force

    @property
    def jobs(self) -> Mapping[str, Job]:
        """Return the recurring jobs, by key."""
        return self._jobs.by_key

    @property
    def job_states(self) -> Mapping[str, JobState]:
        """Return when each job ran last, by its key."""
        return self._jobs.states

    def reading(self, service: str, metric: MetricId) -> Reading:
        """Return what a rule of `service` on `metric` would be held against now."""
        subject, now = self._subjects.by_name[service], self._turn.now
        if metric.family != "init":
            return subject.reading(metric, now, ours=False)
        ours = self.ladder.running(subject.unit) is not None or self.ladder.stopped(subject.unit)
        return subject.reading(metric, now, ours=ours)

    def truth(self, rule_key: str) -> bool | None:
        """Return whether the condition of a rule is true on what is known now; None: unknown."""
        return self._judge.look(self.rules[rule_key], self._turn.now).true

    def incident_of(self, rule_key: str) -> Incident | None:
        """Return the open incident of a rule."""
        return self._incidents.of_rule(rule_key)

    def rules_of(self, service: str) -> list[Rule]:
        """Return the rules of a service in the order of the files."""
        return self._by_service.get(service, [])

    def metrics_of(self, service: str) -> frozenset[MetricId]:
        """Return the metrics that the rules of a service read."""
        return self._metrics.get(service, frozenset())

    # -- facts

    def _apply(self, fact: Fact) -> None:
        match fact:
            case RulesChanged():
                self._rules_changed(fact)
            case Silenced() | JobRan() | Alerted():
                self._heard(fact)
            case Bound():
                self._subjects.bound(fact)
            case UnitSeen():
                self._seen(fact)
            case Unbound():
                self._subjects.unbound(fact)
            case UnitUnknown():
                self._subjects.unknown(fact)
            case Answered():
                self._answered(fact)
            case Sampled():
                self._sampled(fact)

    def _heard(self, fact: Silenced | JobRan | Alerted) -> None:
        match fact:
            case Silenced():
                self._silences.told(fact)
                self._incidents.silences_changed()
            case JobRan():
                self._jobs.ran(fact)
            case Alerted():
                for subject in self._subjects.alerted(fact):
                    self._events(subject)

    def _rules_changed(self, fact: RulesChanged) -> None:
        self._incidents.telling.routes = fact.routes
        rules = {rule.key: rule for rule in fact.rules.rules}
        self._jobs.changed(fact.rules.jobs)
        known = dict.fromkeys((*self.states, *self.rules, *self._incidents.rule_keys))
        fresh = [rule for key, rule in rules.items() if key not in self.states]
        for key in known:
            if key not in rules and key not in self.jobs:
                self._rule_gone(key, fresh)
        self.rules = self._incidents.rules = rules
        self._subjects.changed(fact.rules.checks)
        self.ladder.reconsider()
        self._by_service = {name: [] for name in self.subjects}
        for rule in rules.values():
            self._by_service[rule.service].append(rule)
        self._judge.rules_changed(rules)
        plans = self._judge.plans
        self._metrics = {
            name: frozenset().union(*(plans[rule.key].metrics for rule in some))
            for name, some in self._by_service.items()
        }

    def _rule_gone(self, key: str, fresh: list[Rule]) -> None:
        """Hand the open incident of a rule that is gone to its changed self, or withdraw it."""
        incident, state = self.incident_of(key), self._standings.drop(key)
        self._second.pop(key, None)
        if incident is None:
            return
        about = (incident.service, incident.topics or (incident.topic,))
        heir = next((rule for rule in fresh if (rule.service, rule.topics) == about), None)
        if heir is None:
            why = "the rule is gone from the rule files"
            self._incidents.close(incident, CloseReason.WITHDRAWN, why)
            return
        fresh.remove(heir)
        self._standings.put(heir.key, state or RuleState(Phase.FIRING, settled=True))
        self._incidents.inherit(incident, heir)

    def _seen(self, fact: UnitSeen) -> None:
        status = fact.status
        key = (status.init, status.unit)
        ours = self.ladder.running(key) in (Verb.RESTART, Verb.START)
        around = Circumstances(ours, self._rebooted, fact.packaging)
        news = self._subjects.told(status, around)
        if action := self.ladder.judge(status, self._incidents.params()):
            self._incidents.answered(action)
        for subject in self._subjects.of_unit(key):
            was_down = subject.up_since is None
            subject.seen(status, self._turn.now)
            if subject.up():
                self.ladder.seen_up(key)
            if news.before is not None and not ours:
                self._happened(subject, news, was_down)
            if news.again:
                self._restarted(subject)
            self._events(subject)

    def _happened(self, subject: Subject, news: News, was_down: bool) -> None:
        """Latch the events that a status tells of."""
        before, status, now = news.before, subject.status, self._turn.now
        if before is None or status is None or self.ladder.stopped(subject.unit):
            return
        up, fallen = subject.up_since is not None, was_down and not before.stopped
        crashes = news.crashes
        subject.changed(2 * crashes - (not up) if crashes else up and fallen, now)
        if crashes:
            subject.happened(EventWord.CRASHED, now)
        if "oom-kill" in (status.result, before.result) and crashes:
            subject.happened(EventWord.OOM, now)

    def _answered(self, fact: Answered) -> None:
        action = self.ladder.answered(fact, self._incidents.params())
        if action is None:
            return
        self._incidents.answered(action)
        for subject in self._subjects.of_unit((action.init, action.unit)):
            self._events(subject)

    def _sampled(self, fact: Sampled) -> None:
        now = self._turn.now
        if fact.tick:
            self._subjects.ticked_at = now.mono
        for name in self.subjects if fact.rules is None else fact.readings:
            subject = self.subjects[name]
            if not fact.tick and name not in fact.readings:
                continue
            subject.readings, subject.sampled_at = fact.readings.get(name, {}), now.mono
            if fact.tick:
                self._counted(subject)
                self._judge.remember(name, now)
            for rule in self._by_service[name]:
                if fact.rules is not None and rule.key not in fact.rules:
                    continue
                if fact.tick or self._moving(rule):
                    self._evaluate(rule, tick=fact.tick)

    def _counted(self, subject: Subject) -> None:
        """Take what counters tell at a tick."""
        if subject.unit and not COUNTERS.isdisjoint(self._metrics[subject.name]):
            subject.count(self.units.get(subject.unit), self.options.cycle)
        kills = subject.readings.get(OOM_KILLS)
        if kills is not None and kills.value:
            subject.happened(EventWord.OOM, self._turn.now)

    # -- evaluation

    def _events(self, subject: Subject) -> None:
        for rule in self._by_service.get(subject.name, ()):
            if self._judge.plans[rule.key].eventful:
                self._evaluate(rule, tick=False)

    def _moving(self, rule: Rule) -> bool:
        state = self.states.get(rule.key)
        moving = state is not None and state.phase is not Phase.OK
        return moving and self._judge.plans[rule.key].sampled

    def _evaluate(self, rule: Rule, *, tick: bool) -> None:
        state = self._standings.of(rule.key)
        self.evaluations += 1
        if state == _CALM and self._judge.rests(rule):
            return
        now, cycle = self._turn.now, self.options.cycle
        look = self._judge.look(rule, now)
        self.unknowns += look.true is None
        self._incidents.seen(rule.key, look.true)
        told, decisions = machine.step(rule, state, look, now.mono, tick=tick, cycle=cycle)
        if told is not state:
            self._standings.put(rule.key, told)
        if told.phase is not Phase.RECOVERING:
            self._second.pop(rule.key, None)
        elif not tick and self._judge.plans[rule.key].up and rule.until is None:
            self._second.setdefault(rule.key, now.mono + min(1.0, cycle))
        for decision in decisions:
            match decision:
                case Opened():
                    self._incidents.open_rule(decision)
                case Resolved():
                    self._resolved(rule)

    def _resolved(self, rule: Rule) -> None:
        if incident := self.incident_of(rule.key):
            _, value = self._judge.shown(rule, self._turn.now, wanted=False)
            self._incidents.close(incident, CloseReason.RECOVERED, value=value)

    def _restarted(self, subject: Subject) -> None:
        """Another process: holds on its process metrics start again."""
        subject.readings = {}
        for rule in self._by_service.get(subject.name, ()):
            if self._judge.plans[rule.key].metrics & self.options.per_process:
                self._standings.restart(rule.key)
        self._judge.restarted(subject.name, self.options.per_process)

    def _due(self) -> None:
        now = self._turn.now.mono
        for key in [key for key, at in self._second.items() if at <= now]:
            del self._second[key]
            if key in self.rules:
                self._evaluate(self.rules[key], tick=True)
        for at, rule in list(self._timed()):
            if at <= now:
                self._evaluate(rule, tick=False)
        for subject in self.subjects.values():
            since = subject.acting_since
            if since is not None and now - since >= subject.params.settle:
                self._events(subject)
        self._incidents.look_after()
        self._jobs.look()

    def _timed(self) -> Iterator[tuple[float, Rule]]:
        return self._standings.timed(self.rules)

    def _event(self, service: str, event: Event) -> Reading:
        return self.subjects[service].event(event, self._turn.now, self.options.cycle)


_CALM = RuleState(settled=True)  # where a false condition changes nothing


def _rank(fact: Fact) -> int:
    """Return the place of a fact in its batch: configuration, events, samples."""
    match fact:
        case RulesChanged():
            return 0
        case Silenced() | JobRan() | Alerted() | Bound() | Unbound():
            return 1
        case UnitSeen() | UnitUnknown():
            return 2
        case Answered():
            return 3
        case Sampled():
            return 4
