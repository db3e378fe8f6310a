"""The only wiring: the tasks of the daemon in the order of the flow.

    rule files ─▶ init systems ─▶ tick ─▶ engine ─▶ store ─▶ remedies ─▶ post office

One loop, one queue, one consumer. A task that ends by a bug ends the process; the init system
starts it again, and the store brings everything back.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from steadyd.delivery.notifier import Notifier
from steadyd.delivery.routes import Routes
from steadyd.engine import Engine, Options
from steadyd.healing.remedies import carry_out, run_program
from steadyd.model.fact import (
    Alerted,
    Answered,
    Bound,
    Fact,
    ForeignAlert,
    Intent,
    JobRan,
    Moment,
    RulesChanged,
    Sampled,
    Silenced,
    Step,
    condensed,
)
from steadyd.model.incident import Action, Incident, LineKind, make_id
from steadyd.model.metric import Dimension, MetricId, Readings, Subject
from steadyd.model.notification import (
    DEFAULT_ROUTE,
    Parcel,
)
from steadyd.model.rule import HOST
from steadyd.model.service import ServiceState
from steadyd.model.silence import Silence, SilenceKind
from steadyd.model.snapshot import TICKS, Chapter, Snapshot, Watched, Why
from steadyd.ports import (
    Denied,
    HistoryUnreadable,
    InitSystem,
    ReloadReport,
    Right,
    Sampler,
    Supervisor,
    TestReport,
)
from steadyd.probes.catalogue import CATALOGUE, metric_id
from steadyd.pulse import Pulse
from steadyd.reloading import Reloading
from steadyd.rights import Rights, wanted
from steadyd.rulefiles.watch import RuleWatch
from steadyd.sampling import Sampling
from steadyd.schedule import Ticker
from steadyd.settings import Settings, SettingsError
from steadyd.store import Batch, Store
from steadyd.view import RECENT, Surroundings, Tally, snapshot, watched_of
from steadyd.watch import Watch
from steadyd.zone import local_zone

if TYPE_CHECKING:
    from steadyd.exposition.statsd import Statsd

log = logging.getLogger(__name__)

FRESH = 1.0  # seconds for which a sample serves several scrapes
MOST_FACTS = 20_000  # queued facts; beyond, what a later one says better is dropped
FIRST_LOOK = 5.0  # seconds to wait for the init systems before the first tick
HOUSEKEEPING = 3600.0
SAVE = 300.0  # seconds of history that may be lost if we are killed
ALIVE = 60.0  # seconds between two notes that we are: a host that was down excuses jobs
STORY = 50  # incidents in one `why`


class App:
    """The running daemon; what the web and the control socket may ask of it is ports.Daemon."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        detect: Callable[[bool], Sequence[InitSystem]],
        sampler: Sampler,
        supervisor: Supervisor,
    ) -> None:
        """Bring everything back from the store. Raises SettingsError.

        `detect` returns the init systems that run now (see `Watch`); it is asked again while one
        is missed.
        """
        self.settings, self.store, self.hostname = settings, store, socket.gethostname()
        self.started_at, self.ready = time.time(), asyncio.Event()
        options = Options(
            self.hostname,
            settings.cycle_seconds,
            settings.dry_run,
            settings.host_budget,
            frozenset(metric.id for metric in CATALOGUE.metrics if metric.per_process),
            frozenset(metric.id for metric in CATALOGUE.metrics if metric.gains),
            local_zone(),
            frozenset(settings.exec.allow),
        )
        self.engine = Engine(options, store.memory(), _now())
        self.sampling = Sampling(self.engine, sampler, settings)
        # an inspeqtor.conf is judged by the first reload, like a rule file: a bad one stops nobody
        routes = Routes(settings.alone().targets(), store.key)
        self.notifier = Notifier(routes, store.parcels(), self._save, self.hostname, _dimension_of)
        try:
            self.watch = Watch(detect, self.tell, lambda: self.reloading.regroup())
        except ValueError as error:
            raise SettingsError(str(error)) from error
        self.reloading = Reloading(settings, store, store.key, self.notifier, self.watch, self.tell)
        self._trouble = ""
        if store.moved_aside:
            log.error("%s", store.moved_aside)
        self._tally, self._ticker, self.rights = Tally(), Ticker(), Rights()
        self._statsd = _statsd(settings, self.hostname)
        self._supervisor = supervisor
        self._facts: deque[Fact] = deque()
        self._dense = 0  # facts that were left when they were too many
        self._wake, self._pulse = asyncio.Event(), Pulse()
        self._waiting: list[asyncio.Event] = []
        self._reload_lock = asyncio.Lock()
        self._recent: list[Action] = []  # newest first
        self._tasks: asyncio.TaskGroup | None = None
        self._asked_again = False  # for a reload, before there were tasks

    # -- the flow

    async def run(self, *others: Coroutine[Any, Any, None]) -> None:
        """Run, with `others` beside, until cancelled. Raises what a task raised: that is a bug."""
        with contextlib.suppress(HistoryUnreadable):  # the store says so
            self._recent.extend(await self.store.actions(RECENT))
        await self.reload()
        self._ticker.every(self.settings.cycle_seconds, self._tick)
        try:
            async with asyncio.TaskGroup() as group:
                self._tasks = group
                rules = RuleWatch(self.settings.rules)
                for task in (
                    rules.run(self.reload_soon),
                    self.watch.run(),
                    self._ticker.run(),
                    self._decide(),
                    self.notifier.run(),
                    self._keep_house(),
                    *others,
                ):
                    group.create_task(task)
                if self._asked_again:
                    self.reload_soon()
                await self._first_look()
                await self._tick()  # so that rules know what was before, whatever comes now
                await self._caught_up()
                self.ready.set()
        finally:
            await self._save_history()
            await self.notifier.close()

    @property
    def summary(self) -> str:
        """Return in a few words what is watched."""
        services, rules = len(self.engine.subjects.keys() - {HOST}), len(self.engine.rules)
        return (
            f"watching {services} service{'s' * (services != 1)}, {rules} rule{'s' * (rules != 1)}"
        )

    @property
    def routed(self) -> bool:
        """Tell whether an alert without a route reaches anybody."""
        return bool(self.notifier.routes.to(DEFAULT_ROUTE))

    def tell(self, fact: Fact) -> None:
        """Queue a fact."""
        if len(self._facts) >= max(MOST_FACTS, 2 * self._dense):
            self._facts = deque(condensed(self._facts))
            self._dense = len(self._facts)
            self._tally.overflows += 1
        self._facts.append(fact)
        self._wake.set()

    async def _first_look(self) -> None:
        try:
            async with asyncio.timeout(FIRST_LOOK):
                await self.watch.settled()
        except TimeoutError:
            log.warning("the init systems have not answered yet; going on without them")

    async def _caught_up(self) -> None:
        """Wait until every fact that is queued now was taken into account."""
        done = asyncio.Event()
        self._waiting.append(done)
        self._wake.set()
        await done.wait()

    async def _decide(self) -> None:
        """Be the one consumer of facts."""
        while True:
            await self._rest()
            self._wake.clear()
            facts, waiting = list(self._facts), list(self._waiting)
            self._facts.clear()
            self._waiting.clear()
            stale = self.engine.stale(time.monotonic())
            if stale and not any(isinstance(f, Sampled) and f.tick for f in facts):
                facts.append(Sampled(await self.sampling.look(stale)))
            await self._step(facts)
            for done in waiting:
                done.set()

    async def _rest(self) -> None:
        at = self.engine.wake_at()
        beat = self._supervisor.beat
        waits = [beat] if beat is not None else []
        waits += [max(0.0, at - time.monotonic())] if at is not None else []
        try:
            async with asyncio.timeout(min(waits, default=None)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _step(self, facts: Sequence[Fact]) -> None:
        started = time.perf_counter()
        step = self.engine.step(facts, _now(), kill_switch=self._kill_switch())
        batch = Batch()
        batch.step(step)
        batch.parcels(self.notifier.post(step.notifications))
        await self._write(batch)
        self.notifier.nudge()
        self._account(step)
        for intent in step.intents:
            self.begin(self._act(intent))
        if any(isinstance(fact, RulesChanged | Bound) for fact in facts) and self._tasks:
            self.begin(self.learn_rights())
        if any(isinstance(fact, RulesChanged) for fact in facts):
            self.sampling.rules_changed()
            if self._tasks:
                self.begin(self.sampling.ask_servers(at_once=True))
        if any(not isinstance(fact, Sampled) for fact in facts):
            self.sampling.recent.saw(time.time(), self._states())
        self._pulse.beat()
        if any(isinstance(fact, Sampled) and fact.tick for fact in facts):
            self._tally.evaluation_seconds.observe(time.perf_counter() - started)
            self._tally.last_evaluation_at = time.time()
        self._supervisor.alive()

    def _states(self) -> Iterable[tuple[str, ServiceState]]:
        for subject in self.engine.subjects.values():
            yield subject.name, subject.status.state if subject.status else ServiceState.UNKNOWN

    def _kill_switch(self) -> bool:
        """Tell whether the file is there, or cannot be looked for."""
        try:
            os.lstat(self.settings.actions.kill_switch)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    async def _act(self, intent: Intent) -> None:
        if intent.command:
            for fact in await run_program(intent, self.hostname):
                self.tell(fact)
            return
        init = self.watch.inits.get(intent.action.init)
        if init is None:
            self.tell(Answered(intent.action.id, f"{intent.action.init} is gone from this host"))
            return
        started = time.monotonic()
        for fact in await carry_out(intent, init):
            self.tell(fact)
            if isinstance(fact, Answered):
                self.rights.tried(intent.action, fact)
        self._tally.took(intent.action.verb, time.monotonic() - started)

    async def _tick(self) -> None:
        if self.watch.missing:
            self.watch.look_again()
        elif self.watch.members and self._tasks is not None:
            self.begin(self.watch.list_members())
        self.tell(Sampled(await self.sampling.tick(), tick=True))
        if self._tasks is not None and self._statsd is not None:
            await self._caught_up()
            await self._statsd.send(self._named())
        if self._tasks is not None:
            self.begin(self.sampling.ask_servers())

    def _named(self) -> Iterable[tuple[str, Readings]]:
        """Yield what the rules of each service name, as it reads now."""
        for name in self.engine.subjects:
            metrics = self.engine.metrics_of(name)
            yield name, {metric: self.engine.reading(name, metric) for metric in metrics}

    async def _keep_house(self) -> None:
        kept = saved = time.monotonic()
        while True:
            batch = Batch()
            batch.keep("alive", time.time())
            await self._write(batch)
            await asyncio.sleep(ALIVE)
            if time.monotonic() - kept >= HOUSEKEEPING:
                kept = time.monotonic()
                await self.store.retain()
            if time.monotonic() - saved >= SAVE:
                saved = time.monotonic()
                await self._save_history()

    async def _save_history(self) -> None:
        if pieces := self.engine.unsaved(_now()):
            batch = Batch()
            batch.past(pieces)
            await self._write(batch)

    def reload_soon(self) -> None:
        """Reload beside; while we start, as soon as that is possible."""
        if self._tasks is None:
            self._asked_again = True
        else:
            self.begin(self.reload())

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something beside, as a task of the daemon."""
        if self._tasks is None:
            raise RuntimeError("the daemon does not run")
        try:
            self._tasks.create_task(work)
        except RuntimeError:  # the group is shutting down: a last tick may still be under way
            work.close()

    # -- the store

    async def _save(self, parcels: Sequence[Parcel]) -> None:
        batch = Batch()
        batch.parcels(parcels)
        await self._write(batch)

    async def _write(self, batch: Batch) -> None:
        """Commit; say once that it is not possible, and once that it is again."""
        await self.store.write(batch)
        if self.store.trouble and not self._trouble:
            log.error("%s; it is kept in memory meanwhile", self.store.trouble)
        elif self._trouble and not self.store.trouble:
            log.info("%s takes everything again", self.store.folder / "state.db")
        self._trouble = self.store.trouble

    def _account(self, step: Step) -> None:
        """Count and log what was decided."""
        for intent in step.intents:
            self._tally.acted(intent.action)
        for service, reason in step.suppressed:
            self._tally.suppress(service, reason)
        for service, verb, outcome in step.outcomes:
            self._tally.outcome(service, verb, outcome)
        known = {action.id: action for action in self._recent} | step.actions
        self._recent = sorted(known.values(), key=lambda a: a.asked_at, reverse=True)[:RECENT]
        services = {action.incident: action.service for action in self._recent}
        incidents = {**self.engine.incidents, **step.incidents}
        services |= {id: incident.service for id, incident in incidents.items()}
        for line in step.lines:
            if line.kind is not LineKind.NOTIFICATION:
                service = services.get(line.incident, line.incident)
                log.info("%s: %s: %s", service, line.kind, line.text)

    # -- ports.Daemon

    def snapshot(self, *, detail: bool = True) -> Snapshot:
        """Return the newest state; without `detail` services have no readings and no rules."""
        return self._snapshot(detail)

    def watched(self, name: str) -> Sequence[Watched]:
        """Return the rules of a service, and where they stand."""
        return watched_of(self.engine, name)

    def _snapshot(self, detail: bool) -> Snapshot:
        trouble = (
            self.store.trouble,
            self.store.moved_aside,
            self.reloading.config_error,
            *self.watch.refused.values(),
        )
        return snapshot(
            self.engine,
            Surroundings(
                time.time(),
                self.started_at,
                self.ready.is_set(),
                self.settings.cycle_seconds,
                self.watch.views,
                self.sampling.newest,
                self.reloading.views,
                self.reloading.good,
                self.reloading.loaded_at,
                self.reloading.disabled,
                self.notifier.view(),
                tuple(self._recent),
                self._tally,
                self._ticker.missed_runs,
                self._ticker.clock_steps,
                self.notifier.sent,
                self.notifier.failed,
                self.notifier.routes.schemes,
                self.sampling.own(),
                tuple(text for text in trouble if text),
                self.rights.denied,
                self.sampling.raw,
                detail,
            ),
        )

    async def fresh(self, *, detail: bool = True) -> Snapshot:
        """Return the state with a sample that is at most one second old."""
        await self.sampling.refresh(FRESH)
        return self._snapshot(detail)

    async def incidents(self, limit: int) -> Sequence[tuple[Incident, Sequence[Action]]]:
        """Return incidents with their actions, newest first."""
        return await self.store.incidents(limit)

    async def actions(self, limit: int) -> Sequence[Action]:
        """Return actions, newest first."""
        return await self.store.actions(limit)

    async def why(self, name: str) -> Why | None:
        """Return the story of a service, or None if nobody watches it."""
        now = self.snapshot()
        views = [*now.services, *([now.host] if now.host else [])]
        service = next((view for view in views if view.name == name), None)
        if service is None:
            return None
        chapters = [
            Chapter(incident, tuple(actions), tuple(await self.store.lines(incident.id)))
            for incident, actions in await self.store.incidents(STORY, name)
        ]
        return Why(service, tuple(chapters))

    async def reload(self) -> ReloadReport:
        """Read all rule files, and the routes of the configuration, again, now."""
        async with self._reload_lock:
            if self._tasks is not None:
                self._supervisor.reloading()
            world, errors = await self.reloading.read()
            if self._tasks is not None:
                await self._caught_up()
                await self.learn_rights()
                self._supervisor.ready(self.summary)
            self._pulse.beat()
            rules, denied = world.rules, self.rights.denied
            return ReloadReport(not errors, len(rules.rules), rules.disabled, errors, denied)

    def rights_wanted(self) -> Sequence[Right]:
        """Return all that the rules may ask of the init systems."""
        return wanted(self.engine)

    def deny(self, denied: Denied) -> None:
        """Take root's word for which verbs we may not carry out."""
        self.rights.denied = {**self.rights.denied, **denied}

    async def learn_rights(self) -> None:
        """Find out which verbs of the rules we may carry out."""
        await self.rights.learn(wanted(self.engine), self.watch.inits)

    @property
    def cycle_seconds(self) -> float:
        """Seconds between two ticks."""
        return self.settings.cycle_seconds

    @property
    def deploy_seconds(self) -> float:
        """How long a deploy lasts that nobody ends."""
        return self.settings.deploy_seconds

    def silences(self) -> Sequence[Silence]:
        """Return the silences and deploys that are in force."""
        now = time.time()
        return [silence for silence in self.engine.silences if silence.until > now]

    async def silence(
        self, kind: SilenceKind, services: Sequence[str], seconds: float, comment: str, by: str
    ) -> Silence:
        """Begin a silence or a deploy; another deploy of the same services replaces the last."""
        now = time.time()
        made = Silence(
            make_id(kind, *services, f"{now:.6f}"),
            kind,
            now,
            now + seconds,
            tuple(services),
            comment,
            by,
        )
        deploy = kind is SilenceKind.DEPLOY
        kept = [
            each
            for each in self.silences()
            if not (deploy and each.kind is kind and each.services == made.services)
        ]
        await self._silence((*kept, made))
        return made

    async def expire(
        self, id: str, kind: SilenceKind, services: Sequence[str]
    ) -> Sequence[Silence]:
        """End the silence of an id, else all of a kind (of these services, if any are named)."""
        ended = [
            each
            for each in self.silences()
            if (each.id == id if id else each.kind is kind)
            and (id or not services or each.services == tuple(services))
        ]
        await self._silence(tuple(each for each in self.silences() if each not in ended))
        return ended

    async def _silence(self, silences: tuple[Silence, ...]) -> None:
        self.tell(Silenced(silences))
        await self._caught_up()

    def curve(
        self, service: str, metric: MetricId, most: int = TICKS
    ) -> Sequence[float | None] | None:
        """Return the last readings of a metric that a rule names, oldest first; None: none does."""
        return self.sampling.recent.of(service, metric, most)

    def states(self, service: str) -> Sequence[tuple[float, ServiceState]]:
        """Return the changes of state of the last hour, oldest first: when, and to what."""
        return self.sampling.recent.states(service)

    @property
    def revision(self) -> int:
        """A number that is another one whenever something changed, each tick at least."""
        return self._pulse.revision

    async def changed(self, revision: int) -> None:
        """Return when the revision is another one."""
        await self._pulse.after(revision)

    def alerted(self, alerts: Sequence[ForeignAlert]) -> None:
        """Take what Alertmanager tells."""
        self.tell(Alerted(tuple(alerts)))

    async def job_done(self, name: str) -> bool:
        """Take note that a recurring job ran; False: there is no such job."""
        if f"job {name}" not in self.engine.jobs:
            return False
        self.tell(JobRan(name))
        await self._caught_up()
        return True

    async def test_alert(self, route: str) -> Sequence[TestReport]:
        """Send a test message through each target of a route. Raises KeyError: no such route."""
        return await self.notifier.test(route)


def _statsd(settings: Settings, hostname: str) -> "Statsd | None":
    """Return who sends to a statsd, None if nobody wants it. Raises SettingsError."""
    if not settings.statsd:
        return None
    from steadyd.exposition.statsd import Statsd  # noqa: PLC0415 - few want it

    def is_counter(service: str, metric: MetricId) -> bool:
        entry = CATALOGUE.lookup(Subject.HOST if service == HOST else Subject.SERVICE, metric)
        return entry is not None and entry.gains

    try:
        return Statsd(settings.statsd, hostname, is_counter)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _now() -> Moment:
    return Moment(time.monotonic(), time.time())


def _dimension_of(topic: str) -> Dimension | None:
    for subject in Subject:
        metric = CATALOGUE.lookup(subject, metric_id(topic))
        if metric is not None:
            return metric.dimension
    return None
