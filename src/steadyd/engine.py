"""The whole daemon without the world: facts go in, effects come out. Pure.

Synchronous, holds all state, asks for nothing; app.py pumps facts in, commits the Step, and
then carries its effects out. `now` is always an argument.

    RulesChanged Bound UnitSeen Answered Sampled … ──▶ step() ──▶ Step(states, incidents, actions,
                                                                   lines, notifications, intents)
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo

from msgspec import Struct
from msgspec.structs import replace

from steadyd.evaluation import machine
from steadyd.evaluation.judge import Judge
from steadyd.evaluation.subject import COUNTERS, Circumstances, Subject, UnitKey, remember
from steadyd.healing.guard import HOUR
from steadyd.healing.ladder import Ladder, Standing, make_id
from steadyd.model.condition import (
    OOM_KILLS,
    UP,
    Comparison,
    Event,
    EventWord,
    Forecast,
)
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
    Spell,
    Step,
    Unbound,
    UnitMemory,
    UnitSeen,
    UnitUnknown,
)
from steadyd.model.incident import Action, CloseReason, Incident, Line, LineKind, Suppression
from steadyd.model.job import JobState
from steadyd.model.metric import MetricId, Reading
from steadyd.model.notification import DEFAULT_ROUTE, Notification, Occasion
from steadyd.model.rule import Alert, Budget, CheckParams, Job, Rule, RuleSet, Severity, Verb
from steadyd.model.service import UnitStatus
from steadyd.model.silence import Silence, muting

SECOND_LOOK = 0.25  # seconds; a fork doubles a process sum for milliseconds (language.md)
ABSENT = 300.0  # seconds after which the incident of an absent subject is withdrawn
SUMS = ("memory", "process")  # families that sum over processes
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
        self.subjects: dict[str, Subject] = {}
        self.incidents = dict(memory.incidents)
        self.ladder = Ladder(
            memory, now, options.host_budget, options.dry_run, options.exec_allowed
        )
        self.states = {k: self._resumed(s, memory, now) for k, s in memory.states.items()}
        self.units: dict[UnitKey, UnitMemory] = {
            (init, unit): value
            for key, value in memory.units.items()
            for init, _, unit in [key.partition(" ")]
        }
        self._routes: frozenset[str] = frozenset()
        self._by_service: dict[str, list[Rule]] = {}
        self._judge = Judge(
            options.cycle, options.zone, options.counters, self._event, self.reading
        )
        self._judge.restore(memory.past, now)
        self.silences = memory.silences
        self.jobs: dict[str, Job] = {}
        self.job_states = dict(memory.jobs)
        self._down_for = max(0.0, now.wall - memory.alive) if memory.alive else 0.0
        self._metrics: dict[str, frozenset[MetricId]] = {}
        self._by_unit: dict[UnitKey, list[Subject]] = {}
        self._groups: dict[str, frozenset[UnitKey]] = {}
        self._statuses: dict[UnitKey, UnitStatus] = {}
        self._open = {i.rule_key: i.id for i in self.incidents.values()}
        self._held: set[str] = set()
        self._dark: dict[str, float] = {}
        self._second: dict[str, float] = {}
        self._now, self._out, self._rebooted = now, Step(), not memory.same_boot
        self.evaluations = self.unknowns = 0
        self.revision = 0  # of what is watched where; not of what is read

    def step(self, facts: Sequence[Fact], now: Moment, *, kill_switch: bool = False) -> Step:
        """Apply a batch of facts and whatever is due at `now`."""
        self._now, self._out = now, Step()
        self.ladder.begin(now, self._out, kill_switch)
        for fact in sorted(facts, key=_rank):
            self._apply(fact)
        self._due()
        return self._out

    def wake_at(self) -> float | None:
        """Return the monotonic time at which step() wants to be called again, None: no wish."""
        times = [at for at, _ in self._timed()] + self.ladder.wake_at()
        times += self._second.values()
        for subject in self.subjects.values():
            if subject.acting_since is not None:
                times.append(subject.acting_since + subject.params.settle)
        for incident in self.incidents.values():
            absent = self._absent_since(incident)
            if absent is not None:
                times.append(absent + ABSENT)
            if (told_at := self._told_at(incident)) is not None:
                times.append(told_at)
        times += [self._mono(self.job_states[key].due(job)) for key, job in self._late_jobs()]
        return min((at for at in times if at > self._now.mono), default=None)

    def stale(self, now: float) -> frozenset[str]:
        """Return the services of which a fresh sample is wanted at the monotonic time `now`."""
        wanted = {rule.service for at, rule in self._timed() if at <= now}
        looks = (i for i in self.incidents.values() if self.ladder.wants_look(i.id, now))
        return frozenset(wanted | {incident.service for incident in looks})

    def unsaved(self, now: Moment) -> list[Past]:
        """Return the history that came since this was asked last."""
        return self._judge.unsaved(now)

    def reading(self, service: str, metric: MetricId) -> Reading:
        """Return what a rule of `service` on `metric` would be held against now."""
        subject = self.subjects[service]
        if metric.family != "init":
            return subject.reading(metric, self._now, ours=False)
        ours = self.ladder.running(subject.unit) is not None or self.ladder.stopped(subject.unit)
        return subject.reading(metric, self._now, ours=ours)

    def incident_of(self, rule_key: str) -> Incident | None:
        """Return the open incident of a rule."""
        return self.incidents.get(self._open.get(rule_key, ""))

    @property
    def dark(self) -> dict[str, float]:
        """Return since when (wall clock) nothing is known of what an open incident is about."""
        return {self._open[key]: at for key, at in self._dark.items() if key in self._open}

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
                self._bound(fact)
            case UnitSeen():
                self._seen(fact.status, fact.packaging)
            case Unbound() | UnitUnknown():
                self._missed(fact)
            case Answered():
                self._answered(fact)
            case Sampled():
                self._sampled(fact)

    def _heard(self, fact: Silenced | JobRan | Alerted) -> None:
        match fact:
            case Silenced():
                self._silenced(fact)
            case JobRan():
                self._ran(fact.name)
            case Alerted():
                self._alerted(fact)

    def _rules_changed(self, fact: RulesChanged) -> None:
        self._routes = fact.routes
        rules = {rule.key: rule for rule in fact.rules.rules}
        self._jobs_changed(fact.rules)
        known = {**self.states, **self.rules, **self._open}
        gone = [key for key in known if key not in rules and key not in self.jobs]
        fresh = [rule for key, rule in rules.items() if key not in self.states]
        for key in gone:
            self._rule_gone(key, fresh)
        self.rules = rules
        self._regroup(fact.rules)

    def _rule_gone(self, key: str, fresh: list[Rule]) -> None:
        """Hand the open incident of a rule that is gone to its changed self, or withdraw it."""
        incident, state = self.incident_of(key), self.states.get(key)
        self._drop_state(key)
        if incident is None:
            return
        about = (incident.service, incident.topics or (incident.topic,))
        heir = next((rule for rule in fresh if (rule.service, rule.topics) == about), None)
        if heir is None:
            self._close(incident, CloseReason.WITHDRAWN, "the rule is gone from the rule files")
            return
        fresh.remove(heir)
        del self._open[key]
        self._dark.pop(key, None)
        self._put_state(heir.key, state or RuleState(Phase.FIRING, settled=True))
        self._put(replace(incident, rule_key=heir.key, rule=str(heir), source=str(heir.source)))

    def _regroup(self, rules: RuleSet) -> None:
        params: dict[str, CheckParams] = {}
        for check in rules.checks:
            params.setdefault(check.service, check.params)
        subjects = {name: self.subjects.get(name, Subject(name, p)) for name, p in params.items()}
        self.subjects = subjects
        for name, value in params.items():
            subjects[name].params = value
        self._by_service = {name: [] for name in params}
        for rule in self.rules.values():
            self._by_service[rule.service].append(rule)
        self._judge.rules_changed(self.rules)
        plans = self._judge.plans
        self._metrics = {
            name: frozenset().union(*(plans[rule.key].metrics for rule in some))
            for name, some in self._by_service.items()
        }
        self._index_units()

    def _index_units(self) -> None:
        self.revision += 1
        self._by_unit = {}
        for subject in self.subjects.values():
            if subject.unit is not None:
                self._by_unit.setdefault(subject.unit, []).append(subject)
        self._statuses = {k: s for k, s in self._statuses.items() if k in self._by_unit}
        groups: dict[str, set[UnitKey]] = {}
        for key, some in self._by_unit.items():
            for name in {subject.params.group for subject in some} - {""}:
                groups.setdefault(name, set()).add(key)
        self._groups = {name: frozenset(keys) for name, keys in groups.items()}

    def _bound(self, fact: Bound) -> None:
        subject, key = self.subjects.get(fact.service), (fact.init, fact.unit)
        if subject is None or subject.unit == key:
            return
        subject.bind(key)
        self._index_units()
        if status := self._statuses.get(key):
            subject.seen(status, self._now)

    def _missed(self, fact: Unbound | UnitUnknown) -> None:
        if isinstance(fact, UnitUnknown):
            self._unseen(fact)
        elif subject := self.subjects.get(fact.service):
            subject.bind(None)
            subject.lost(fact.reason, self._now, absent=True)
            self._index_units()

    def _seen(self, status: UnitStatus, packaging: bool) -> None:
        key = (status.init, status.unit)
        before, memory = self._statuses.get(key), self.units.get(key, UnitMemory())
        ours = self.ladder.running(key) in (Verb.RESTART, Verb.START)
        around = Circumstances(ours, self._rebooted, packaging)
        told = remember(memory, before, status, around)
        if told != memory:
            self.units[key] = self._out.units[" ".join(key)] = told
        self._statuses[key] = status
        again = bool(memory.invocation) and told.invocation != memory.invocation
        self._ended(self.ladder.judge(status, self._params()))
        for subject in self._by_unit.get(key, ()):
            fallen = before is not None and subject.up_since is None and not before.stopped
            subject.seen(status, self._now)
            self.revision += 1
            if subject.up():
                self.ladder.seen_up(key)
            if before is not None and not ours:
                self._happened(subject, before, told.crashes - memory.crashes, fallen)
            if again:
                self._restarted(subject)
            self._events(subject)

    def _happened(self, subject: Subject, before: UnitStatus, crashes: int, fallen: bool) -> None:
        """Latch the events that a status tells of; `fallen`: it was down when it was seen last."""
        status = subject.status
        if status is None or self.ladder.stopped(subject.unit):
            return
        up = subject.up_since is not None
        subject.changed(2 * crashes - (not up) if crashes else up and fallen, self._now)
        if crashes:
            subject.happened(EventWord.CRASHED, self._now)
        if "oom-kill" in (status.result, before.result) and crashes:
            subject.happened(EventWord.OOM, self._now)

    def _unseen(self, fact: UnitUnknown) -> None:
        for subject in self.subjects.values():
            if subject.unit is None or subject.unit[0] != fact.init:
                continue
            if fact.unit in ("", subject.unit[1]):
                subject.lost(fact.reason, self._now, absent=bool(fact.unit))
                self.revision += 1

    def _answered(self, fact: Answered) -> None:
        action = self.ladder.answered(fact, self._params())
        if action is None:
            return
        self._ended(action)
        for subject in self._by_unit.get((action.init, action.unit), ()):
            self._events(subject)

    def _ended(self, action: Action | None) -> None:
        """Say so if an action ended without healing, and it was the last one of its ladder."""
        incident = self.incidents.get(action.incident) if action and action.outcome else None
        rule = self.rules.get(incident.rule_key) if incident else None
        if incident and rule and self.ladder.spent(incident, rule):
            self._give_up(incident, ())

    def _sampled(self, fact: Sampled) -> None:
        for name in self.subjects if fact.rules is None else fact.readings:
            subject = self.subjects[name]
            if not fact.tick and name not in fact.readings:
                continue
            subject.readings = fact.readings.get(name, {})
            if fact.tick and subject.unit and not COUNTERS.isdisjoint(self._metrics[name]):
                subject.count(self.units.get(subject.unit), self.options.cycle)
            kills = subject.readings.get(OOM_KILLS)
            if fact.tick and kills is not None and kills.value:
                subject.happened(EventWord.OOM, self._now)
            if fact.tick:
                self._judge.remember(name, self._now)
            for rule in self._by_service[name]:
                if fact.rules is not None and rule.key not in fact.rules:
                    continue
                if fact.tick or self._moving(rule):
                    self._evaluate(rule, tick=fact.tick)

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
        state = self.states.get(rule.key, _FRESH)
        if state == _CALM and self._judge.rests(rule):
            self.evaluations += 1
            return
        look = self._judge.look(rule, self._now)
        self.evaluations += 1
        self.unknowns += look.true is None
        self._note_dark(rule.key, look.true)
        cycle = self.options.cycle
        told, decisions = machine.step(rule, state, look, self._now.mono, tick=tick, cycle=cycle)
        if told is not state:
            self._put_state(rule.key, told)
        if told.phase is not Phase.RECOVERING:
            self._second.pop(rule.key, None)
        elif not tick and self._judge.plans[rule.key].up and rule.until is None:
            self._second.setdefault(rule.key, self._now.mono + min(1.0, cycle))
        for decision in decisions:
            match decision:
                case Opened():
                    self._opened(decision)
                case Resolved():
                    if incident := self.incident_of(rule.key):
                        _, value = self._judge.shown(rule, self._now, wanted=False)
                        self._close(incident, CloseReason.RECOVERED, "", value)

    def _note_dark(self, key: str, true: bool | None) -> None:
        if true is None and key in self._open:
            self._dark.setdefault(key, self._now.wall)
        elif self._dark:
            self._dark.pop(key, None)

    def _restarted(self, subject: Subject) -> None:
        """Another process: holds on its process metrics start again."""
        subject.readings = {}
        for rule in self._by_service.get(subject.name, ()):
            state = self.states.get(rule.key)
            if state is not None and self._judge.plans[rule.key].metrics & self.options.per_process:
                told = machine.restarted(state)
                if told is not state:
                    self._put_state(rule.key, told)
        self._judge.restarted(subject.name, self.options.per_process)

    def _due(self) -> None:
        now = self._now.mono
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
        for incident in list(self.incidents.values()):
            self._look_after(incident)
        for _, job in list(self._late_jobs()):
            self._overdue(job)

    def _timed(self) -> Iterator[tuple[float, Rule]]:
        for key in self._held:
            rule, state = self.rules.get(key), self.states.get(key)
            at = machine.due(rule, state) if rule and state else None
            if rule and at is not None:
                yield at, rule

    def _event(self, service: str, event: Event) -> Reading:
        return self.subjects[service].event(event, self._now, self.options.cycle)

    def _alerted(self, fact: Alerted) -> None:
        """Take what Alertmanager says of services that rules name with `alerted`."""
        for subject in self.subjects.values():
            label = dict(subject.params.given).get("alert_label", "name")
            about = [each for each in fact.alerts if each.labels.get(label) == subject.name]
            for each in about:
                subject.alerts[each.name] = each.firing
            if about:
                self._events(subject)

    # -- silences

    def _silenced(self, fact: Silenced) -> None:
        now = self._now.wall
        self.silences = tuple(each for each in fact.silences if each.until > now)
        self._out.silences = self.silences
        for incident in list(self.incidents.values()):
            if incident.muted_until is not None:
                silence = self.muted(incident.service, incident.rule_key)
                until = min(incident.muted_until, now) if silence is None else silence.until
                self._put(replace(incident, muted_until=until))

    def muted(self, service: str, rule_key: str = "") -> Silence | None:
        """Return the silence or deploy that mutes a service now.

        A rule that names no event is silenced by the `quiet` of its service too.
        """
        subject, plan = self.subjects.get(service), self._judge.plans.get(rule_key)
        own = subject.quiet(self._now) if subject and plan and not plan.eventful else None
        silences = self.silences if own is None else (*self.silences, own)
        return muting(silences, service, self._now.wall) if silences else None

    def _told_at(self, incident: Incident) -> float | None:
        """Return the monotonic time at which a muted incident is told if it is still true."""
        if incident.muted_until is None:
            return None
        params = self.subjects[incident.service].params if self._watches(incident) else None
        return self._mono(incident.muted_until) + (params.settle if params else 0.0)

    def _unmute(self, incident: Incident) -> None:
        """Tell what opened inside a silence and is still true after it, and start its ladder."""
        at = self._told_at(incident)
        if at is None or at > self._now.mono:
            return
        if (silence := self.muted(incident.service, incident.rule_key)) is not None:
            self._put(replace(incident, muted_until=silence.until))
            return
        rule = self.rules.get(incident.rule_key)
        phase = self.states.get(incident.rule_key, _FRESH).phase
        if rule is not None and phase is not Phase.FIRING:
            return  # it is about to close
        told = replace(incident, muted_until=None)
        self._put(told)
        if rule is not None:
            self.ladder.begin_again(told, rule)
        self._tell(Occasion.OPENED, told, ("it began while messages were muted",))

    def _watches(self, incident: Incident) -> bool:
        return incident.service in self.subjects

    def _mono(self, wall: float) -> float:
        return wall - self._now.wall + self._now.mono

    # -- recurring jobs

    def _jobs_changed(self, rules: RuleSet) -> None:
        self.jobs = {job.key: job for job in rules.jobs}
        for key in self.job_states.keys() - self.jobs.keys():
            del self.job_states[key]
            self._out.jobs[key] = None
        for key in self.jobs.keys() - self.job_states.keys():
            self._put_job(key, JobState(self._now.wall))
        if self._rebooted and self._down_for:
            for key, state in list(self.job_states.items()):
                self._put_job(key, replace(state, paused=state.paused + self._down_for))
            self._down_for = 0.0

    def _late_jobs(self) -> Iterator[tuple[str, Job]]:
        """Yield the jobs of which it was not yet told that they are overdue."""
        return ((key, job) for key, job in self.jobs.items() if key not in self._open)

    def _overdue(self, job: Job) -> None:
        if self.job_states[job.key].due(job) > self._now.wall:
            return
        silence = self.muted(job.name)
        route = job.owner if job.owner in self._routes else DEFAULT_ROUTE
        incident = Incident(
            make_id(self.options.hostname, job.key, f"{self._now.wall:.3f}"),
            job.name,
            job.key,
            str(job),
            str(job.source),
            "overdue",
            Severity.WARNING,
            self._now.wall,
            None,
            None,
            (route,),
            muted_until=silence.until if silence else None,
        )
        self._put(incident)
        self._line(incident, LineKind.OPENED, str(job))
        self.ladder.open_without_steps(incident)
        if silence is None:
            self._tell(Occasion.OPENED, incident, ())

    def _ran(self, name: str) -> None:
        job = self.jobs.get(f"job {name}")
        if job is None:
            return
        self._put_job(job.key, JobState(self._now.wall, ran=True))
        if incident := self.incident_of(job.key):
            self._close(incident, CloseReason.RECOVERED, "")

    def _put_job(self, key: str, state: JobState) -> None:
        self.job_states[key] = self._out.jobs[key] = state

    # -- incidents

    def _opened(self, decision: Opened) -> None:
        rule, now = decision.rule, self._now
        leaf, value = self._judge.shown(rule, now, wanted=True)
        amount = None if isinstance(leaf, Event) else leaf.amount.value
        operator = str(leaf.operator) if isinstance(leaf, Comparison) else ""
        routes, remarks = self._routes_of(rule)
        silence = self.muted(rule.service, rule.key)
        incident = Incident(
            make_id(self.options.hostname, rule.key, f"{now.wall:.3f}"),
            rule.service,
            rule.key,
            str(rule),
            str(rule.source),
            leaf.topic,
            rule.severity,
            now.wall,
            value,
            amount,
            routes,
            operator=operator or ("will reach" if isinstance(leaf, Forecast) else ""),
            what=leaf.subject if isinstance(leaf, Comparison) else "",
            topics=rule.topics,
            muted_until=silence.until if silence else None,
        )
        self._put(incident)
        self._line(incident, LineKind.OPENED, str(rule), incident.value)
        deeds = [deed for deed in rule.deeds if not deed.after]
        sums = any(metric.family in SUMS for metric in self._judge.plans[rule.key].metrics)
        looks = bool(deeds) and rule.hold.instant and sums and not decision.new
        confirm_at = now.mono + SECOND_LOOK if looks else None
        self.ladder.open(incident, rule, new=decision.new, confirm_at=confirm_at)
        if looks:
            remarks += (f"{deeds[0].text} follows if a second look confirms the value",)
        remarks += self._advance(incident, rule)
        if silence is None:
            self._tell(Occasion.OPENED, incident, remarks)
        else:
            self._line(incident, LineKind.NOTIFICATION, f"muted by {silence}: not told")

    def _look_after(self, incident: Incident) -> None:
        absent = self._absent_since(incident)
        if absent is not None and self._now.mono - absent >= ABSENT:
            subject = self.subjects[incident.service]
            stopped = subject.status is not None and subject.status.stopped
            why = "the service is stopped" if stopped else subject.reason
            self._close(incident, CloseReason.WITHDRAWN, why, quiet=stopped)
            return
        self._unmute(incident)
        incident = self.incidents[incident.id]
        rule = self.rules.get(incident.rule_key)
        if rule is None:
            return
        remarks = self._advance(incident, rule)
        if remarks and self.ladder.spent(incident, rule):
            self._give_up(incident, remarks)

    def _advance(self, incident: Incident, rule: Rule) -> tuple[str, ...]:
        subject, above = self.subjects[rule.service], self.subjects.get(rule.params.depends)
        silence, until = self.muted(rule.service, rule.key), self._told_at(incident)
        muted = Suppression(silence.kind) if silence else None
        if muted is None and until is not None:
            muted = Suppression.SILENCE  # it ended; what settles is not yet told
        standing = Standing(
            rule,
            self.states.get(rule.key, _FRESH).phase,
            subject.unit,
            subject.status,
            above.unit if above else None,
            self._groups.get(rule.params.group, _ALONE) - {subject.unit},
            self._judge.window_open(rule, self._now),
            muted,
            until if silence is None else self._mono(silence.until),
        )
        for alert in self.ladder.alerts_due(incident, standing):
            self._escalate(incident, alert)
        return self.ladder.advance(incident, standing)

    def _escalate(self, incident: Incident, alert: Alert) -> None:
        """Tell one route more, as a later step wants."""
        rule = self.rules[incident.rule_key]
        route, remark = self._route_of(rule, alert)
        known = self.incidents[incident.id]
        routes = tuple(dict.fromkeys((*known.routes, route)))
        self._put(replace(known, routes=routes))
        told = Notification(
            Occasion.ESCALATED,
            route,
            self._now.wall,
            known,
            rule,
            self.ladder.of(known),
            (f"it goes on since {_span(self._now.wall - known.opened_at)}", *remark),
        )
        self._out.notifications.append(told)
        self._line(known, LineKind.NOTIFICATION, f"escalated: to {route}")

    def _give_up(self, incident: Incident, remarks: tuple[str, ...]) -> None:
        if self.ladder.give_up(incident):
            remarks += ("nothing more is tried by itself",)
            self._tell(Occasion.GAVE_UP, incident, remarks)

    def _close(
        self,
        incident: Incident,
        reason: CloseReason,
        why: str,
        value: float | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        closed = replace(incident, closed_at=self._now.wall, close_reason=reason, close_text=why)
        recovered = reason is CloseReason.RECOVERED
        rule = self.rules.get(incident.rule_key)
        actions = self.ladder.close(incident, rule, recovered=recovered)
        self._out.incidents[incident.id] = closed
        del self.incidents[incident.id], self._open[incident.rule_key]
        self._dark.pop(incident.rule_key, None)
        state = self.states.get(incident.rule_key)
        if state is not None and not recovered and incident.topic not in _ABOUT_UP:
            self._put_state(incident.rule_key, RuleState(settled=state.settled))
        muted = incident.muted_until is not None
        inside = " (nobody was told: it opened and closed inside a silence)" if muted else ""
        self._line(closed, LineKind.CLOSED, (why or "recovered") + inside, value)
        if not quiet and not muted:
            self._send(
                Occasion.CLOSED,
                closed,
                Notification(Occasion.CLOSED, "", self._now.wall, closed, rule, actions),
            )

    def _routes_of(self, rule: Rule) -> tuple[tuple[str, ...], tuple[str, ...]]:
        routes: dict[str, None] = {}
        remarks: list[str] = []
        for step in rule.steps:
            if isinstance(step, Alert) and not step.after:
                name, remark = self._route_of(rule, step)
                routes[name] = None
                remarks += remark
        return tuple(routes), tuple(remarks)

    def _route_of(self, rule: Rule, alert: Alert) -> tuple[str, tuple[str, ...]]:
        name = alert.route or rule.params.owner or DEFAULT_ROUTE
        if name in self._routes or name == DEFAULT_ROUTE:
            return name, ()
        return DEFAULT_ROUTE, (f"route {name} is not defined: told to the default route",)

    def _tell(self, what: Occasion, incident: Incident, remarks: tuple[str, ...]) -> None:
        if self._is_stopped(incident.service):
            remarks = ("somebody stopped it; that is not undone", *remarks)
        rule, actions = self.rules.get(incident.rule_key), self.ladder.of(incident)
        self._send(
            what, incident, Notification(what, "", self._now.wall, incident, rule, actions, remarks)
        )

    def _send(self, what: Occasion, incident: Incident, notification: Notification) -> None:
        silence = self.muted(incident.service, incident.rule_key)
        if silence is not None and what is not Occasion.CLOSED:
            self._line(incident, LineKind.NOTIFICATION, f"{what}: muted by {silence}")
            return
        for route in incident.routes:
            self._out.notifications.append(replace(notification, route=route))
            self._line(incident, LineKind.NOTIFICATION, f"{what.replace('_', ' ')}: to {route}")

    # -- small things

    def _put(self, incident: Incident) -> None:
        self.incidents[incident.id] = self._out.incidents[incident.id] = incident
        self._open[incident.rule_key] = incident.id

    def _put_state(self, key: str, state: RuleState) -> None:
        self.states[key] = self._out.states[key] = state
        waits = state.opening if state.phase is Phase.PENDING else state.closing
        if waits.last is not None:
            self._held.add(key)
        else:
            self._held.discard(key)

    def _drop_state(self, key: str) -> None:
        if self.states.pop(key, None) is not None:
            self._out.states[key] = None
        self._second.pop(key, None)
        self._held.discard(key)

    def _line(
        self, incident: Incident, kind: LineKind, text: str, value: float | None = None
    ) -> None:
        line = Line(incident.id, self._now.wall, kind, text, value, incident.threshold)
        self._out.lines.append(line)

    def _params(self) -> dict[str, CheckParams]:
        return {
            i.id: self.rules[i.rule_key].params
            for i in self.incidents.values()
            if i.rule_key in self.rules
        }

    def _absent_since(self, incident: Incident) -> float | None:
        subject = self.subjects.get(incident.service)
        return subject.absent_since if subject else None

    def _is_stopped(self, service: str) -> bool:
        subject = self.subjects.get(service)
        return subject is not None and subject.status is not None and subject.status.stopped

    def _resumed(self, state: RuleState, memory: Memory, now: Moment) -> RuleState:
        if state.phase is not Phase.PENDING:
            return replace(state, closing=Spell())
        last = state.opening.last
        gap = now.mono - last if last is not None else 0.0
        if memory.same_boot and gap <= machine.GAP * self.options.cycle:
            return state
        return machine.restarted(state)


_FRESH = RuleState()
_ALONE: frozenset[UnitKey] = frozenset()
_CALM = RuleState(settled=True)  # where a false condition changes nothing
_ABOUT_UP = ("down", str(UP))  # told once: it stays firing until the service is up again


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


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
