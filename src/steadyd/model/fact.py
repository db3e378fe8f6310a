"""What goes into the engine and what comes out: facts, intents, and one Step for a batch of facts.

Facts of one batch are applied in the order configuration, operator, events, samples
(design.md, section 3).
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct, field

from steadyd.model.incident import Action, Incident, Line, Suppression
from steadyd.model.job import JobState
from steadyd.model.metric import Readings
from steadyd.model.notification import Notification
from steadyd.model.rule import RuleSet
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.model.silence import Silence


class Moment(Struct, frozen=True):
    """One instant on two clocks, both in seconds: CLOCK_MONOTONIC and the wall clock."""

    mono: float
    wall: float


class RulesChanged(Struct, frozen=True):
    """These rules are in force from now on; `routes` are the names that alerts may go to."""

    rules: RuleSet
    routes: frozenset[str] = frozenset()


class Bound(Struct, frozen=True):
    """A service's name stands for this unit."""

    service: str
    init: str
    unit: str


class Unbound(Struct, frozen=True):
    """No init system knows the service, or none can be asked."""

    service: str
    reason: str


class UnitSeen(Struct, frozen=True):
    """The init system said this of a unit; `packaging`: while packages were installed."""

    status: UnitStatus
    packaging: bool = False


class UnitUnknown(Struct, frozen=True):
    """The init system no longer knows the unit, or cannot be asked (then `unit` is "")."""

    init: str
    unit: str
    reason: str


class Silenced(Struct, frozen=True):
    """These silences and deploys are in force from now on."""

    silences: tuple[Silence, ...]


class ForeignAlert(Struct, frozen=True):
    """An alert that Alertmanager tells of: its name, its labels, and whether it fires."""

    name: str
    labels: Mapping[str, str]
    firing: bool


class Alerted(Struct, frozen=True):
    """Alertmanager told of these alerts."""

    alerts: tuple[ForeignAlert, ...]


class JobRan(Struct, frozen=True):
    """A recurring job reported that it ran."""

    name: str


class Answered(Struct, frozen=True):
    """The init system answered a verb. `error` is "" when it was carried out.

    `refused` is set where nothing was done at all (no right, no such verb).
    """

    action: str
    error: str = ""
    refused: Suppression | None = None


class Sampled(Struct, frozen=True):
    """Readings by service, made together. Only a tick counts as a cycle.

    `rules` are the keys of those that are evaluated where a replay knows that nothing can change
    for the others; None: all.
    """

    readings: Mapping[str, Readings]
    tick: bool = False
    rules: frozenset[str] | None = None


Fact = (
    RulesChanged
    | Silenced
    | JobRan
    | Alerted
    | Bound
    | Unbound
    | UnitSeen
    | UnitUnknown
    | Answered
    | Sampled
)


def condensed(facts: Iterable[Fact]) -> list[Fact]:
    """Leave out what a later fact says better: all but the last status, and the last failure, of
    each unit, and all samples but the last ones of a tick.
    """
    seen: set[object] = set()
    kept = []
    for fact in list(facts)[::-1]:
        about: object = None
        match fact:
            case UnitSeen(status):
                failed = status.state is ServiceState.FAILED
                about = (status.init, status.unit, failed)
            case Sampled():
                about = fact.tick
            case _:
                pass
        if about is None or about not in seen:
            kept.append(fact)
            seen.add(about)
    return kept[::-1]


class Intent(Struct, frozen=True):
    """A verb that is to be asked of the init system, once the Step is committed."""

    action: Action
    signal: str = ""
    command: str = ""  # of `exec`, in place of a verb


class Phase(StrEnum):
    """Where a rule stands."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"


class Spell(Struct, frozen=True):
    """How long something has been true, as far as a hold asks.

    streak   ticks in a row at which it was true, this cycle included
    base     the streak at the end of the cycle before this one
    held     seconds for which it was observed true
    last     monotonic time of the last evaluation that was true, None after any other
    blanks   ticks in a row without a truth
    past     the last ticks, the newest in the lowest bit (`for 3 of 5 cycles`)
    """

    streak: int = 0
    base: int = 0
    held: float = 0.0
    last: float | None = None
    blanks: int = 0
    past: int = 0

    @property
    def alive(self) -> bool:
        """Tell whether anything of it counts still."""
        return bool(self.streak or self.held or self.past or self.last is not None)


class RuleState(Struct, frozen=True):
    """Where one rule stands; replaced, never changed.

    opening  the spell of its hold
    closing  the spell of the hold of its `until`
    good     evaluations in a row that speak for closing, without `until`
    settled  the condition was false once since the rule is known: verbs are free
    """

    phase: Phase = Phase.OK
    opening: Spell = Spell()
    closing: Spell = Spell()
    good: int = 0
    settled: bool = False


class Course(Struct, frozen=True):
    """How far the ladder of an open incident has got.

    opened        monotonic time at which it began
    due_at        monotonic time at which the next timed step falls due
    done          texts of the steps that were run or finally suppressed, in order
    action        id of the action that waits for its answer or for its healing, "" if none
    verify_until  monotonic time at which an answered action counts as not healed
    confirm_at    monotonic time at which a single sample is read again before a verb
    retry_at      monotonic time at which a deferred verb is asked again
    deferred      why it was deferred
    gave_up       people were told that nothing more will be tried
    new           opened by a rule that was never false: no verbs
    """

    opened: float = 0.0
    due_at: float | None = None
    done: tuple[str, ...] = ()
    action: str = ""
    verify_until: float | None = None
    confirm_at: float | None = None
    retry_at: float | None = None
    deferred: Suppression | None = None
    gave_up: bool = False
    new: bool = False


class UnitMemory(Struct, frozen=True):
    """What must be known of a unit across restarts of the daemon."""

    invocation: str = ""
    respawns: int = 0
    crashes: int = 0
    restarts: Mapping[str, int] = field(default_factory=dict)


class Step(Struct):
    """The engine's answer to one batch of facts: what to store, what to tell, what to ask for.

    `states`, `units` and `jobs` None mean: forget it; `silences` None: they are as before.
    Everything is committed in one transaction before anything is done.
    """

    states: dict[str, RuleState | None] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    courses: dict[str, Course] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    units: dict[str, UnitMemory | None] = field(default_factory=dict)
    jobs: dict[str, JobState | None] = field(default_factory=dict)
    silences: tuple[Silence, ...] | None = None
    lines: list[Line] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)
    suppressed: list[tuple[str, Suppression]] = field(default_factory=list)
    outcomes: list[tuple[str, str, str]] = field(default_factory=list)


class Past(Struct, frozen=True):
    """A piece of the history of a metric of a service, as it is stored.

    `points` are (wall-clock seconds, value, seconds over which a counter gained it), oldest first;
    `anew` tells that what was before is of another process; after `until` nobody needs it.
    """

    service: str
    metric: str
    until: float
    points: tuple[tuple[float, float, float], ...]
    anew: bool = False


class Memory(Struct, frozen=True):
    """What the store remembers when the daemon starts.

    `same_boot` tells whether monotonic times in it still mean something; `alive` is the wall-clock
    time at which the daemon was seen last. `recent` are the verbs of the last week, oldest first.
    """

    states: Mapping[str, RuleState] = field(default_factory=dict)
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    courses: Mapping[str, Course] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    units: Mapping[str, UnitMemory] = field(default_factory=dict)
    recent: tuple[Action, ...] = ()
    same_boot: bool = True
    jobs: Mapping[str, JobState] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    alive: float = 0.0
    past: tuple[Past, ...] = ()
