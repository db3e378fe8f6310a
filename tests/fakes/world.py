"""An engine in virtual time, with the memory that a store would keep of it."""

from msgspec.structs import replace

from steadyd.engine import Engine, Options
from steadyd.model.condition import Amount, Comparison, Condition, Event, EventWord, Hold, Operator
from steadyd.model.fact import (
    Bound,
    Fact,
    Memory,
    Moment,
    Past,
    RulesChanged,
    Sampled,
    Step,
    UnitSeen,
)
from steadyd.model.incident import Action
from steadyd.model.metric import MetricId, Reading
from steadyd.model.rule import (
    Act,
    Alert,
    Check,
    CheckParams,
    Rule,
    RuleSet,
    Source,
    Verb,
)
from steadyd.model.rule import Step as RuleStep
from steadyd.model.service import ServiceState, UnitStatus

CYCLE = 15.0
RSS = MetricId("memory", "total_rss")
BIG = Comparison(RSS, Operator.ABOVE, Amount("100", 100))
DOWN = Event(EventWord.DOWN)
UP = UnitStatus(
    "systemd", "web.service", ServiceState.ACTIVE, main_pid=7, invocation="a", can_reload=True
)
FAILED = replace(UP, state=ServiceState.FAILED, main_pid=0, result="signal", reason="killed")
ALERT, RELOAD, RESTART = Alert(), Act(Verb.RELOAD), Act(Verb.RESTART)


def rule(
    condition: Condition,
    *steps: RuleStep,
    hold: Hold | None = None,
    params: CheckParams | None = None,
) -> Rule:
    return Rule(
        "web", condition, hold or Hold(), steps, Source("a.inq", 2), params or CheckParams()
    )


class World:
    """An engine with a clock in its hand, and the memory that a store would keep of it."""

    def __init__(self, *rules: Rule, memory: Memory | None = None, **options: object) -> None:
        self.options = Options("box", CYCLE, per_process=frozenset({RSS}), **options)  # type: ignore[arg-type]
        self.now, self.kill_switch = 1000.0, False
        self.engine = Engine(self.options, memory or Memory(), self.moment())
        self.kept = Step()
        self.past: list[Past] = []
        self.files(*rules)
        self.step(Bound("web", "systemd", "web.service"), UnitSeen(UP))

    def moment(self) -> Moment:
        return Moment(self.now, self.now + 1e9)

    def step(self, *facts: Fact, after: float = 0.0) -> Step:
        self.now += after
        out = self.engine.step(facts, self.moment(), kill_switch=self.kill_switch)
        for name in ("states", "incidents", "courses", "actions", "units", "jobs"):
            getattr(self.kept, name).update(getattr(out, name))
        if out.silences is not None:
            self.kept.silences = out.silences
        self.past += self.engine.unsaved(self.moment())
        return out

    def files(self, *rules: Rule) -> Step:
        checks = (Check("web", rules[0].params, rules, Source("a.inq", 1)),) if rules else ()
        return self.step(RulesChanged(RuleSet(checks), frozenset({"default", "ops"})))

    def tick(self, value: float | None, after: float = CYCLE) -> Step:
        reading = Reading(value, "" if value is not None else "no data")
        return self.step(Sampled({"web": {RSS: reading}}, tick=True), after=after)

    def wake(self, value: float | None = None) -> Step:
        """Go to the time that the engine asked for, with a fresh sample if it wants one."""
        at = self.engine.wake_at()
        assert at is not None
        self.now = at
        fresh = self.engine.stale(self.now)
        facts = [Sampled({"web": {RSS: Reading(value)}})] if "web" in fresh else []
        return self.step(*facts)

    def open_on_big(self) -> Action:
        """Let `BIG` open and its first verb be asked; return the action."""
        self.tick(1)
        assert self.tick(101).intents == []  # a single sample of a process sum
        (intent,) = self.wake(101).intents
        return intent.action

    def reborn(
        self, *rules: Rule, same_boot: bool = True, away: float = 1.0, alive: float = 0.0
    ) -> "World":
        """The same after a crash: a new engine with what the store kept."""
        open_ = {k: i for k, i in self.kept.incidents.items() if i.closed_at is None}
        memory = Memory(
            {k: s for k, s in self.kept.states.items() if s is not None},
            open_,
            {k: c for k, c in self.kept.courses.items() if k in open_},
            {k: a for k, a in self.kept.actions.items() if a.incident in open_},
            {k: u for k, u in self.kept.units.items() if u is not None},
            tuple(a for a in self.kept.actions.values() if a.ran),
            same_boot,
            {k: j for k, j in self.kept.jobs.items() if j is not None},
            self.kept.silences or (),
            alive,
            tuple(self.past),
        )
        other = World.__new__(World)
        other.options, other.kill_switch, other.kept = self.options, False, self.kept
        other.past = self.past
        other.now = self.now + away
        other.engine = Engine(self.options, memory, other.moment())
        if rules:
            other.files(*rules)
        return other
