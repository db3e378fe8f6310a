"""A rule as it was written, and all that its text says; nothing of where it stands now."""

from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import force_setattr

from steadyd.model.metric import MetricId

HOST = "host"  # a reserved word of the language, so that no service can have this name


class Operator(StrEnum):
    """The comparisons of the language."""

    ABOVE = ">"
    BELOW = "<"
    AT_LEAST = ">="
    AT_MOST = "<="
    EQUAL = "=="
    UNEQUAL = "!="

    def holds(self, value: float, limit: float) -> bool:
        """Tell whether `value OP limit` is true."""
        match self:
            case Operator.ABOVE:
                return value > limit
            case Operator.BELOW:
                return value < limit
            case Operator.AT_LEAST:
                return value >= limit
            case Operator.AT_MOST:
                return value <= limit
            case Operator.EQUAL:
                return value == limit
            case Operator.UNEQUAL:
                return value != limit


class Verb(StrEnum):
    """What may be asked of an init system."""

    RELOAD = "reload"
    RESTART = "restart"
    START = "start"
    STOP = "stop"
    SIGNAL = "signal"


class Severity(StrEnum):
    """How loud a message is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Source(Struct, frozen=True, order=True):
    """Where something stands, so that every message about it can point there (from 1)."""

    path: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Amount(Struct, frozen=True):
    """`6g`, `95%`, `1k/sec`: `value` in the metric's base unit, `per` the seconds after the slash.

    `per` is 0 without a slash; `raw` is the text as the user wrote it.
    """

    raw: str
    value: float
    per: float = 0.0


class Comparison(Struct, frozen=True):
    """`memory:rss > 6g`."""

    metric: MetricId
    operator: Operator
    amount: Amount

    def canonical(self) -> str:
        """Return the parse as text: amounts as numbers, blanks folded."""
        per = f"/{self.amount.per:g}s" if self.amount.per else ""
        return f"{self.metric} {self.operator} {self.amount.value!r}{per}"

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.amount.raw}"


class EventWord(StrEnum):
    """What can happen to a service, as a condition."""

    DOWN = "down"


class Event(Struct, frozen=True):
    """`down`."""

    word: EventWord

    def canonical(self) -> str:
        """Return the parse as text."""
        return self.word

    def __str__(self) -> str:
        return self.word


Condition = Comparison | Event

UP = MetricId("init", "up")  # what `down` reads: `down` is `init:up < 1`


def metric_of(condition: Condition) -> MetricId:
    """Return the metric that a condition reads."""
    return condition.metric if isinstance(condition, Comparison) else UP


class Hold(Struct, frozen=True):
    """`for 3 cycles` (cycles=3) or `for 30s` (seconds=30); neither: one evaluation.

    `cycles` below 1 never fires, as in Inspeqtor.
    """

    cycles: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f" for {self.seconds:.15g}s"
        if self.cycles is not None and self.cycles != 1:
            return f" for {self.cycles} cycles"
        return ""

    @property
    def instant(self) -> bool:
        """Tell whether a single evaluation opens."""
        return self.seconds is None and self.cycles in (None, 1)


class Alert(Struct, frozen=True):
    """`alert` or `alert ROUTE`; without a route the check's owner or the default route."""

    route: str = ""

    def __str__(self) -> str:
        return f"alert {self.route}" if self.route else "alert"


class Act(Struct, frozen=True):
    """A verb for the init system."""

    verb: Verb

    def __str__(self) -> str:
        return self.verb


Step = Alert | Act


class Budget(Struct, frozen=True):
    """`3/1h`: at most `count` verbs within `seconds`."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count} in {self.seconds:.15g} s"


class CheckParams(Struct, frozen=True):
    """The meaning of `with …`. Durations are seconds; `verify` None: by the verb's own default.

    `pidfile` and `match` find a service that no init system keeps. `alert_only` is set where a
    value that decides about verbs could not be understood. `given` holds all parameters as
    written, also those of other families.
    """

    owner: str = ""
    cooldown: float = 60.0
    budget: Budget = Budget(3, 3600.0)
    dry_run: bool = False
    verify: float | None = None
    settle: float = 10.0
    severity: Severity | None = None
    runbook: str = ""
    watch: bool = True
    init: str = ""
    unit: str = ""
    pidfile: str = ""
    match: str = ""
    reload_signal: str = ""
    alert_only: bool = False
    given: tuple[tuple[str, str], ...] = ()

    @property
    def process(self) -> str:
        """Return the unit of the mere process that the check is about, "" if it is about none."""
        if self.pidfile:
            return f"pidfile:{self.pidfile}"
        return f"match:{self.match}" if self.match else ""

    def verify_seconds(self, verb: Verb) -> float:
        """Return how long after the verb the condition may stay true (restart 1m, reload 5m)."""
        if self.verify is not None:
            return self.verify
        return 300.0 if verb is Verb.RELOAD else 60.0


class Rule(Struct, frozen=True):
    """One `if … then …`.

    `key` is its identity (language.md, Identity): kind, service, canonical parse and ordinal
    among equals; never its line or file, nor its `with`. It follows from the rest, whatever is
    given. `service` is HOST for a host rule. `implicit` marks the
    `if down for 10s then alert` that every service check has.
    """

    service: str
    condition: Condition
    hold: Hold
    steps: tuple[Step, ...]
    source: Source
    params: CheckParams = field(default_factory=CheckParams)
    ordinal: int = 0
    implicit: bool = False
    key: str = ""

    def __post_init__(self) -> None:
        hold = str(self.hold)
        steps = ", ".join(str(step) for step in self.steps)
        parse = f"if {self.condition.canonical()}{hold} then {steps}"
        kind = "host" if self.service == HOST else f"service {self.service}"
        force_setattr(self, "key", f"{kind} {parse} #{self.ordinal}")

    def __str__(self) -> str:
        steps = ", ".join(str(step) for step in self.steps)
        return f"if {self.condition}{self.hold} then {steps}"

    @property
    def severity(self) -> Severity:
        """Return the check's severity; else critical for what is down, warning for the rest."""
        if self.params.severity is not None:
            return self.params.severity
        return Severity.CRITICAL if metric_of(self.condition) == UP else Severity.WARNING

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """Return the verbs among the steps, in order."""
        return tuple(step.verb for step in self.steps if isinstance(step, Act))

    @property
    def topic(self) -> str:
        """Return what the rule is about: its metric or event word (the label `alertname`)."""
        return (
            str(self.condition.metric)
            if isinstance(self.condition, Comparison)
            else str(self.condition)
        )


class Check(Struct, frozen=True):
    """One `check service NAME` or `check host` with the rules that are in force."""

    service: str
    params: CheckParams
    rules: tuple[Rule, ...]
    source: Source


class RuleSet(Struct, frozen=True):
    """All that the rule files say now. `disabled` counts rules with a semantic error."""

    checks: tuple[Check, ...] = ()
    disabled: int = 0

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules of all checks, in order."""
        return tuple(rule for check in self.checks for rule in check.rules)
