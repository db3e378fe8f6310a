"""The snapshot: everything that may be shown, read off the engine and its surroundings."""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

import steadyd
from steadyd.engine import Engine
from steadyd.evaluation.subject import CAUSES, Subject
from steadyd.model.condition import UP
from steadyd.model.fact import Phase
from steadyd.model.incident import Action, Outcome, Suppression
from steadyd.model.metric import MetricId, Reading, Sample
from steadyd.model.rule import HOST, Rule
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import (
    AlertView,
    Counters,
    FileView,
    Histogram,
    InitView,
    JobView,
    OutboxView,
    ServiceView,
    Snapshot,
    Watched,
)
from steadyd.ports import Denied

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)
ACTION_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0)
_NO_RESTARTS = dict.fromkeys(CAUSES, 0)
RECENT = 50  # actions that the snapshot carries


class Distribution(Struct):
    """A histogram that is still filled."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)
        index = next((i for i, b in enumerate(self.bounds) if seconds <= b), len(self.bounds))
        self.counts[index] += 1
        self.sum += seconds

    def view(self) -> Histogram:
        """Return it cumulated."""
        total, buckets = 0, []
        counts = self.counts or [0] * (len(self.bounds) + 1)
        for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
            total += count
            buckets.append((bound, total))
        return Histogram(tuple(buckets), self.sum)


class Tally(Struct):
    """The counters of this daemon since it started."""

    evaluation_seconds: Distribution = field(default_factory=lambda: Distribution(BUCKETS))
    last_evaluation_at: float = 0.0
    actions: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: dict[tuple[str, str], int] = field(default_factory=dict)
    suppressed: dict[tuple[str, str], int] = field(default_factory=dict)
    outcomes: dict[tuple[str, str, str], int] = field(default_factory=dict)
    action_seconds: dict[str, Distribution] = field(default_factory=dict)
    overflows: int = 0

    def acted(self, action: Action) -> None:
        """Count a verb that was asked of an init system."""
        key = (action.service, str(action.verb))
        self.actions[key] = self.actions.get(key, 0) + 1

    def suppress(self, service: str, reason: Suppression) -> None:
        """Count a verb that was not."""
        key = (service, str(reason))
        self.suppressed[key] = self.suppressed.get(key, 0) + 1

    def outcome(self, service: str, verb: str, outcome: str) -> None:
        """Count what came of a verb."""
        key = (service, verb, outcome)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        if outcome == Outcome.FAILED:
            self.failed[service, verb] = self.failed.get((service, verb), 0) + 1

    def took(self, verb: str, seconds: float) -> None:
        """Count how long an init system needed for a verb."""
        found = self.action_seconds.setdefault(verb, Distribution(ACTION_BUCKETS))
        found.observe(seconds)


class Surroundings(Struct, frozen=True):
    """What the snapshot shows beside the engine; `detail`: with readings and rules."""

    at: float
    started_at: float
    ready: bool
    cycle: float
    inits: tuple[InitView, ...]
    samples: Mapping[str, Sample]
    files: tuple[FileView, ...]
    config_ok: bool
    config_loaded_at: float
    rules_disabled: int
    outbox: OutboxView
    recent: tuple[Action, ...]
    tally: Tally
    missed_runs: int
    clock_steps: int
    sent: Mapping[str, int]
    refused: Mapping[str, int]
    schemes: frozenset[str]
    own: Mapping[str, float]
    trouble: tuple[str, ...]
    denied: Denied
    raw: Callable[[str], Mapping[MetricId, float]]
    detail: bool


def snapshot(engine: Engine, around: Surroundings) -> Snapshot:
    """Read the present state off the engine."""
    views = {name: _service(engine, subject, around) for name, subject in engine.subjects.items()}
    host = views.pop(HOST, None)
    return Snapshot(
        at=around.at,
        version=steadyd.__version__,
        started_at=around.started_at,
        hostname=engine.options.hostname,
        ready=around.ready,
        inits=around.inits,
        services=tuple(views.values()),
        host=host,
        open=tuple(sorted(engine.incidents.values(), key=lambda i: i.opened_at, reverse=True)),
        dark=engine.dark,
        actions=_actions(engine, around.recent),
        alerts=tuple(_alerts(engine)),
        rules_loaded=len(engine.rules),
        rules_disabled=around.rules_disabled,
        files=around.files,
        config_ok=around.config_ok,
        config_loaded_at=around.config_loaded_at,
        outbox=around.outbox,
        counters=_counters(engine, around),
        dry_run=engine.options.dry_run,
        silences=tuple(each for each in engine.silences if each.until > around.at),
        jobs=tuple(_jobs(engine)),
        own=around.own,
        trouble=around.trouble,
    )


def _actions(engine: Engine, recent: tuple[Action, ...]) -> tuple[Action, ...]:
    by_id = {a.id: a for a in recent} | engine.ladder.actions
    return tuple(sorted(by_id.values(), key=lambda a: a.asked_at, reverse=True)[:RECENT])


def _service(engine: Engine, subject: Subject, around: Surroundings) -> ServiceView:
    status, sample = subject.status, around.samples.get(subject.name)
    init, unit = subject.unit or ("", "")
    memory = engine.units.get((init, unit))
    readings: dict[MetricId, Reading] = {}
    if around.detail:
        wanted = engine.metrics_of(subject.name) | subject.readings.keys()
        readings = {metric: engine.reading(subject.name, metric) for metric in wanted}
    return ServiceView(
        name=subject.name,
        unit=unit,
        init=init,
        state=status.state if status else ServiceState.UNKNOWN,
        reason=subject.reason,
        since=status.since if status else 0.0,
        type=status.type if status else "",
        processes=sample.processes if sample else (),
        main_pid=status.main_pid if status else 0,
        tasks_max=status.tasks_max if status else 0,
        sample=sample,
        readings=readings,
        restarts={**_NO_RESTARTS, **memory.restarts} if memory else _NO_RESTARTS,
        watched=watched_of(engine, subject.name) if around.detail else (),
        denied=around.denied.get(subject.name, {}),
        daemon=_of_host(engine) if subject.name == HOST else around.raw(subject.name),
        named=engine.metrics_of(subject.name),
    )


def _of_host(engine: Engine) -> dict[MetricId, float]:
    """Return what rules read of the host now; what is counted, per second."""
    found = {metric: engine.reading(HOST, metric) for metric in engine.metrics_of(HOST)}
    counters = engine.options.counters
    return {
        metric: reading.value / reading.elapsed if metric in counters else reading.value
        for metric, reading in found.items()
        if reading.value is not None and (metric not in counters or reading.elapsed)
    }


def watched_of(engine: Engine, service: str) -> tuple[Watched, ...]:
    """Return the rules of a service, and where they stand."""
    return tuple(_watched(engine, rule) for rule in engine.rules_of(service))


def _watched(engine: Engine, rule: Rule) -> Watched:
    state = engine.states.get(rule.key)
    phase = state.phase if state else Phase.OK
    watched = Watched(rule, phase)
    missing = _missing(engine, watched)
    if not missing:
        return watched
    return replace(watched, missing=missing, unknown=engine.truth(rule.key) is None)


def _missing(engine: Engine, watched: Watched) -> dict[MetricId, str]:
    """Return why there is no reading; states are told as states."""
    missing = {}
    for each in watched.compared:
        reading = engine.reading(watched.rule.service, each.metric)
        if reading.value is None and each.metric != UP:
            missing[each.metric] = reading.why_missing or "it is no number"
    return missing


def _jobs(engine: Engine) -> Iterator[JobView]:
    for key, job in engine.jobs.items():
        state = engine.job_states[key]
        overdue = engine.incident_of(key) is not None
        yield JobView(
            job.name, job.every, state.last if state.ran else 0.0, state.due(job), overdue
        )


def _alerts(engine: Engine) -> list[AlertView]:
    alerts = []
    for key, state in engine.states.items():
        rule = engine.rules.get(key)
        if rule is None or state.phase is Phase.OK:
            continue
        firing = engine.incident_of(key) is not None
        if not firing and state.phase is not Phase.PENDING:
            continue
        phase = "firing" if firing else "pending"
        alerts.append(AlertView(rule.topic, rule.service, rule.severity, phase))
    return alerts


def _counters(engine: Engine, around: Surroundings) -> Counters:
    tally, group = around.tally, f"{around.cycle:g}s"
    pairs = {
        (rule.service, str(verb.verb)): 0 for rule in engine.rules.values() for verb in rule.deeds
    }
    reasons = {(name, str(reason)): 0 for name, _ in pairs for reason in Suppression}
    outcomes = {
        (name, verb, str(outcome)): 0
        for name, verb in pairs
        for outcome in Outcome
        if outcome is not Outcome.SUPPRESSED
    }
    schemes = dict.fromkeys(around.schemes, 0)
    return Counters(
        evaluations={group: engine.evaluations},
        evaluation_failures={group: engine.unknowns},
        evaluation_seconds={group: tally.evaluation_seconds.view()},
        last_evaluation_at={group: tally.last_evaluation_at},
        missed_runs=around.missed_runs,
        actions=pairs | tally.actions,
        actions_failed=pairs | tally.failed,
        suppressed=reasons | tally.suppressed,
        outcomes=outcomes | tally.outcomes,
        action_seconds={verb: d.view() for verb, d in tally.action_seconds.items()},
        notifications=schemes | dict(around.sent),
        notifications_failed=schemes | dict(around.refused),
        dead_parcels=around.outbox.dead,
        overflows=tally.overflows,
        clock_steps=around.clock_steps,
    )
