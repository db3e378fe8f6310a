"""A rule as it was written, and all that its text says; nothing of where it stands now."""

from enum import StrEnum
from typing import ClassVar

from msgspec import Struct, field
from msgspec.structs import force_setattr

from steadyd.model.condition import (
    UP,
    Comparison,
    Condition,
    Forecast,
    Hold,
    Leaf,
    Until,
    Window,
    leaves,
    metrics_of,
    seconds,
)
from steadyd.model.metric import MetricId

HOST = "host"  # a reserved word of the language, so that no service can have this name


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


class Alert(Struct, frozen=True):
    """`alert` or `alert ROUTE`; without a route the check's owner or the default route.

    `after` is when the step falls due, in seconds after the opening; so for all steps.
    """

    route: str = ""
    after: float = 0.0

    @property
    def text(self) -> str:
        """Return the step without its time."""
        return f"alert {self.route}" if self.route else "alert"

    def __str__(self) -> str:
        return _due(self.text, self.after)


class Act(Struct, frozen=True):
    """A verb for the init system; `signal` is the name in `signal NAME`."""

    verb: Verb
    signal: str = ""
    after: float = 0.0

    @property
    def text(self) -> str:
        """Return the step without its time."""
        return f"{self.verb} {self.signal}" if self.signal else str(self.verb)

    def __str__(self) -> str:
        return _due(self.text, self.after)


class Exec(Struct, frozen=True):
    """A program of our own, `command` split at blanks without a shell."""

    command: str
    after: float = 0.0
    verb: ClassVar[str] = "exec"

    @property
    def text(self) -> str:
        """Return the step without its time."""
        escaped = self.command.replace("\\", "\\\\").replace('"', '\\"')
        return f'exec "{escaped}"'

    def __str__(self) -> str:
        return _due(self.text, self.after)


Deed = Act | Exec
Step = Alert | Act | Exec


def _due(text: str, after: float) -> str:
    return f"after {seconds(after)} {text}" if after else text


class Budget(Struct, frozen=True):
    """`3/1h`: at most `count` verbs within `seconds`."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count} in {self.seconds:.15g} s"


class CheckParams(Struct, frozen=True):
    """The meaning of `with …`. Durations are seconds; `verify` None: by the verb's own default.

    Services of one `group` are acted upon one at a time. For `quiet` seconds after its start a
    service is silenced.
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
    depends: str = ""
    group: str = ""
    warmup: float = 600.0
    quiet: float = 0.0
    alert_only: bool = False
    given: tuple[tuple[str, str], ...] = ()

    @property
    def process(self) -> str:
        """Return the unit of the mere process that the check is about, "" if it is about none."""
        if self.pidfile:
            return f"pidfile:{self.pidfile}"
        return f"match:{self.match}" if self.match else ""

    def verify_seconds(self, verb: str) -> float:
        """Return how long after the verb the condition may stay true (restart 1m, reload 5m)."""
        if self.verify is not None:
            return self.verify
        return 300.0 if verb == Verb.RELOAD else 60.0


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
    until: Until | None = None
    window: Window | None = None
    ordinal: int = 0
    implicit: bool = False
    key: str = ""

    def __post_init__(self) -> None:
        until = "" if self.until is None else self.until.canonical()
        parse = f"if {self.condition.canonical()}{self.hold}{until}{self._rest()}"
        kind = "host" if self.service == HOST else f"service {self.service}"
        force_setattr(self, "key", f"{kind} {parse} #{self.ordinal}")

    def __str__(self) -> str:
        return f"if {self.condition}{self.hold}{self.until or ''}{self._rest()}"

    def _rest(self) -> str:
        return f"{self.window or ''} then {', '.join(str(step) for step in self.steps)}"

    @property
    def severity(self) -> Severity:
        """Return the check's severity; else critical for what is down, warning for the rest."""
        if self.params.severity is not None:
            return self.params.severity
        return Severity.CRITICAL if UP in self.metrics else Severity.WARNING

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """Return the verbs for the init system among the steps, in order."""
        return tuple(step.verb for step in self.steps if isinstance(step, Act))

    @property
    def deeds(self) -> tuple[Deed, ...]:
        """Return the steps that do more than tell."""
        return tuple(step for step in self.steps if not isinstance(step, Alert))

    @property
    def metrics(self) -> frozenset[MetricId]:
        """Return the metrics that the rule reads."""
        found = metrics_of(self.condition)
        return found if self.until is None else found | metrics_of(self.until.condition)

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Return all that the rule compares and asks for."""
        ends = () if self.until is None else leaves(self.until.condition)
        return (*leaves(self.condition), *ends)

    @property
    def looks_back(self) -> bool:
        """Tell whether it is about a history, so that what it finds was observed for a while."""
        return any(
            isinstance(leaf, Forecast) or (isinstance(leaf, Comparison) and leaf.over is not None)
            for leaf in leaves(self.condition)
        )

    @property
    def topics(self) -> tuple[str, ...]:
        """Return what the rule is about: its metrics and event words, in order."""
        return tuple(dict.fromkeys(leaf.topic for leaf in leaves(self.condition)))

    @property
    def topic(self) -> str:
        """Return what the rule is about first (the label `alertname`)."""
        return self.topics[0]


class Check(Struct, frozen=True):
    """One `check service NAME` or `check host` with the rules that are in force."""

    service: str
    params: CheckParams
    rules: tuple[Rule, ...]
    source: Source


class Job(Struct, frozen=True):
    """`sweep happens every 5 minutes`; `every` is in seconds, `owner` the route it is told to."""

    name: str
    every: float
    source: Source
    owner: str = ""

    @property
    def key(self) -> str:
        """Return its identity, beside those of rules."""
        return f"job {self.name}"

    def __str__(self) -> str:
        return f"{self.name} happens every {seconds(self.every)}"


class RuleSet(Struct, frozen=True):
    """All that the rule files say now. `disabled` counts rules with a semantic error."""

    checks: tuple[Check, ...] = ()
    disabled: int = 0
    jobs: tuple[Job, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules of all checks, in order."""
        return tuple(rule for check in self.checks for rule in check.rules)
