"""Any order of events, and a crash after any of them: what must always be true of the engine."""

import itertools
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from steadyd.model.condition import UP as UP_METRIC
from steadyd.model.condition import Hold
from steadyd.model.fact import Answered, Bound, Intent, Step, UnitSeen, UnitUnknown
from steadyd.model.incident import Outcome, Suppression
from steadyd.model.notification import Occasion
from steadyd.model.rule import Budget, CheckParams
from steadyd.model.rule import Rule as SteadyRule
from steadyd.model.service import ServiceState
from tests.fakes import world as fake
from tests.fakes.world import ALERT, BIG, DOWN, FAILED, RELOAD, RESTART, UP, World

PARAMS = CheckParams(cooldown=20, budget=Budget(2, 600), verify=40)
RULES = (
    fake.rule(BIG, ALERT, RELOAD, RESTART, params=PARAMS),
    fake.rule(DOWN, ALERT, RESTART, hold=Hold(seconds=10), params=PARAMS),
    fake.rule(BIG, ALERT, hold=Hold(cycles=3), params=PARAMS),
)
STOPPED = replace(UP, state=ServiceState.INACTIVE, main_pid=0, stopped=True)
ACTING = replace(UP, state=ServiceState.ACTIVATING, main_pid=0, acting=True)


class Daemon(RuleBasedStateMachine):
    """One service, three rules, an init system that answers when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(*RULES)
        self.files: tuple[SteadyRule, ...] = RULES
        self.asked: dict[str, tuple[float, Intent]] = {}
        self.flying: dict[str, Intent] = {}
        self.told: Counter[tuple[str, Occasion]] = Counter()
        self.invocation = 0

    @initialize(value=st.integers(0, 200))
    def first_sample(self, value: int) -> None:
        self.take(self.world.tick(value))

    def take(self, step: Step) -> None:
        for intent in step.intents:
            assert intent.action.id not in self.asked, "the same action twice"
            assert not self.flying, "two actions on one unit"
            assert not self.world.kill_switch
            assert not self.status_is_stopped()
            assert self.is_true(intent), "a verb on a condition that is not known to be true"
            self.asked[intent.action.id] = (self.world.now, intent)
            self.flying[intent.action.id] = intent
        for notification in step.notifications:
            assert notification.incident is not None
            key = (notification.incident.id, notification.occasion)
            self.told[key] += 1
            assert self.told[key] == 1, "told twice"
            if notification.occasion is not Occasion.OPENED:
                assert (notification.incident.id, Occasion.OPENED) in self.told

    def is_true(self, intent: Intent) -> bool:
        """Tell whether the readings of this moment make the rule of an action true."""
        key = self.world.kept.incidents[intent.action.incident].rule_key
        metrics = self.world.engine.rules[key].metrics
        read = {metric: self.world.engine.reading("web", metric).value for metric in metrics}
        if UP_METRIC in metrics:  # our own verb makes it unknown as soon as it is asked
            return self.world.engine.subjects["web"].up_since is None
        return all(value is not None and value > 100 for value in read.values())

    def status_is_stopped(self) -> bool:
        status = self.world.engine.subjects["web"].status
        return status is not None and status.stopped

    @rule(value=st.sampled_from([0, 99, 101, 150, None]))
    def tick(self, value: int | None) -> None:
        self.take(self.world.tick(value))

    @precondition(lambda self: self.world.engine.wake_at() is not None)
    @rule(value=st.sampled_from([50, 101, None]))
    def wake(self, value: int | None) -> None:
        self.take(self.world.wake(value))

    @rule(kind=st.sampled_from(["up", "failed", "stopped", "acting", "restarted"]))
    def event(self, kind: str) -> None:
        self.invocation += kind == "restarted"
        status = {"up": UP, "failed": FAILED, "stopped": STOPPED, "acting": ACTING}.get(kind, UP)
        self.take(
            self.world.step(UnitSeen(replace(status, invocation=f"i{self.invocation}")), after=0.5)
        )

    @rule(unit=st.sampled_from(["", "web.service"]))
    def lost(self, unit: str) -> None:
        self.take(self.world.step(UnitUnknown("systemd", unit, "gone"), after=0.5))

    @precondition(lambda self: self.flying)
    @rule(how=st.sampled_from(["good", "failed", "refused"]))
    def answer(self, how: str) -> None:
        _, intent = self.flying.popitem()
        error = "" if how == "good" else "it did not work"
        refused = Suppression.RIGHTS if how == "refused" else None
        self.take(self.world.step(Answered(intent.action.id, error, refused), after=0.2))

    @rule(on=st.booleans())
    def kill_switch(self, on: bool) -> None:
        self.world.kill_switch = on

    @rule(count=st.integers(1, 3))
    def edit(self, count: int) -> None:
        self.files = RULES[:count]
        self.take(self.world.files(*self.files))

    @rule(away=st.sampled_from([1.0, 100.0]), same_boot=st.booleans())
    def crash(self, away: float, same_boot: bool) -> None:
        kill_switch = self.world.kill_switch
        self.world = self.world.reborn(*self.files, same_boot=same_boot, away=away)
        self.world.kill_switch = kill_switch
        self.flying.clear()
        status = replace(UP, invocation=f"i{self.invocation}")
        self.take(self.world.step(Bound("web", "systemd", "web.service"), UnitSeen(status)))

    @invariant()
    def verbs_stay_within_budget_and_cooldown(self) -> None:
        times = sorted(at for at, _ in self.asked.values())
        for earlier, later in itertools.pairwise(times):
            assert later - earlier >= PARAMS.cooldown - 1e-6
        for index, at in enumerate(times):
            window = [t for t in times[: index + 1] if at - t < PARAMS.budget.seconds]
            assert len(window) <= PARAMS.budget.count

    @invariant()
    def a_step_of_a_ladder_runs_once(self) -> None:
        steps = Counter((i.action.incident, i.action.verb) for _, i in self.asked.values())
        assert all(count == 1 for count in steps.values())

    @invariant()
    def what_is_open_was_told_and_what_closed_was_not_left_open(self) -> None:
        for incident in self.world.engine.incidents.values():
            assert self.told[incident.id, Occasion.OPENED] == 1
            assert self.told[incident.id, Occasion.CLOSED] == 0
            assert incident.id in self.world.engine.ladder.courses
        assert set(self.world.engine.ladder.courses) == set(self.world.engine.incidents)

    @invariant()
    def every_action_ends_with_an_outcome(self) -> None:
        open_ = set(self.world.engine.incidents)
        for action in self.world.kept.actions.values():
            if action.incident not in open_ and action.id not in self.flying:
                assert action.outcome is not None or action.finished_at is None
            if action.outcome is Outcome.SUPPRESSED:
                assert action.reason


TestDaemon = Daemon.TestCase
TestDaemon.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
