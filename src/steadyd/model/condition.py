"""What a rule asks about: comparisons, forecasts and events, what joins them, holds and windows."""

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from steadyd.model.metric import MetricId

UP = MetricId("init", "up")  # what `down` reads: `down` is `init:up < 1`
OOM_KILLS = MetricId("init", "oom_kills")  # what `oom` reads


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


class Amount(Struct, frozen=True):
    """`6g`, `95%`, `1k/sec`: `value` in the metric's base unit, `per` the seconds after the slash.

    `per` is 0 without a slash; `raw` is the text as the user wrote it.
    """

    raw: str
    value: float
    per: float = 0.0

    def canonical(self) -> str:
        """Return it as a number."""
        return f"{self.value!r}/{self.per:g}s" if self.per else f"{self.value!r}"


class Function(StrEnum):
    """What is made of the history of a metric."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    P50 = "p50"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"
    DELTA = "delta"
    RATE = "rate"


class Over(Struct, frozen=True):
    """`avg … over 5m`."""

    function: Function
    seconds: float


class Comparison(Struct, frozen=True):
    """`memory:rss > 6g`, `avg memory:rss over 5m > 6g`."""

    metric: MetricId
    operator: Operator
    amount: Amount
    over: Over | None = None

    @property
    def topic(self) -> str:
        """Return what it is about."""
        return str(self.metric)

    @property
    def subject(self) -> str:
        """Return what is compared, in the words of the language."""
        if self.over is None:
            return str(self.metric)
        return f"{self.over.function} {self.metric} over {seconds(self.over.seconds)}"

    def canonical(self) -> str:
        """Return the parse as text: amounts as numbers, blanks folded."""
        return f"{self.subject} {self.operator} {self.amount.canonical()}"

    def __str__(self) -> str:
        return f"{self.subject} {self.operator} {self.amount.raw}"


class Forecast(Struct, frozen=True):
    """`disk:/ will reach 95% within 6h`; `within` in seconds."""

    metric: MetricId
    amount: Amount
    within: float

    @property
    def topic(self) -> str:
        """Return what it is about."""
        return str(self.metric)

    def canonical(self) -> str:
        """Return the parse as text."""
        limit = self.amount.canonical()
        return f"{self.metric} will reach {limit} within {seconds(self.within)}"

    def __str__(self) -> str:
        return f"{self.metric} will reach {self.amount.raw} within {seconds(self.within)}"


class EventWord(StrEnum):
    """What can happen to a service, as a condition."""

    DOWN = "down"
    CRASHED = "crashed"
    OOM = "oom"
    FLAPPING = "flapping"
    ALERTED = "alerted"


class Event(Struct, frozen=True):
    """`down`; `name` is that of the alert in `alerted NAME`."""

    word: EventWord
    name: str = ""

    @property
    def topic(self) -> str:
        """Return what it is about."""
        return str(self.word)

    def canonical(self) -> str:
        """Return the parse as text."""
        return str(self)

    def __str__(self) -> str:
        return f"{self.word} {self.name}" if self.name else str(self.word)


class Not(Struct, frozen=True):
    """`not down`."""

    term: "Condition"

    def canonical(self) -> str:
        """Return the parse as text."""
        return f"not {_inner(self.term)}"

    def __str__(self) -> str:
        return f"not {_grouped(self.term)}"


class All(Struct, frozen=True):
    """`… and …`."""

    terms: tuple["Condition", ...]

    def canonical(self) -> str:
        """Return the parse as text."""
        return " and ".join(_inner(term) for term in self.terms)

    def __str__(self) -> str:
        return " and ".join(_grouped(term) for term in self.terms)


class Any(Struct, frozen=True):
    """`… or …`."""

    terms: tuple["Condition", ...]

    def canonical(self) -> str:
        """Return the parse as text."""
        return " or ".join(_inner(term) for term in self.terms)

    def __str__(self) -> str:
        return " or ".join(_grouped(term) for term in self.terms)


Leaf = Comparison | Forecast | Event
Condition = Comparison | Forecast | Event | Not | All | Any


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Yield what a condition compares and asks for, in written order."""
    match condition:
        case Not():
            yield from leaves(condition.term)
        case All() | Any():
            for term in condition.terms:
                yield from leaves(term)
        case _:
            yield condition


def metrics_of(condition: Condition) -> frozenset[MetricId]:
    """Return the metrics that a condition reads."""
    found = set()
    for leaf in leaves(condition):
        if not isinstance(leaf, Event):
            found.add(leaf.metric)
        elif leaf.word is EventWord.DOWN:
            found.add(UP)
        elif leaf.word is EventWord.OOM:
            found.add(OOM_KILLS)
    return frozenset(found)


class Hold(Struct, frozen=True):
    """`for 3 cycles` (cycles=3), `for 3 of 5 cycles` (of=5) or `for 30s` (seconds=30).

    None of them: one evaluation. `cycles` below 1 never fires, as in Inspeqtor.
    """

    cycles: int | None = None
    seconds: float | None = None
    of: int | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f" for {seconds(self.seconds)}"
        if self.of is not None:
            return f" for {self.cycles} of {self.of} cycles"
        if self.cycles is not None and self.cycles != 1:
            return f" for {self.cycles} cycles"
        return ""

    @property
    def instant(self) -> bool:
        """Tell whether a single evaluation is enough."""
        return self.seconds is None and self.of is None and self.cycles in (None, 1)


class Until(Struct, frozen=True):
    """`until memory:rss < 1g for 5m`: what closes an incident, in place of two good ticks."""

    condition: Condition
    hold: Hold = Hold()

    def canonical(self) -> str:
        """Return the parse as text."""
        return f" until {self.condition.canonical()}{self.hold}"

    def __str__(self) -> str:
        return f" until {self.condition}{self.hold}"


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Window(Struct, frozen=True):
    """`between 22:00 and 06:00 Europe/Berlin on mon,tue`: when a rule may open and act.

    start, end  minutes after midnight; it may cross midnight, and is never empty
    zone        an IANA name, "" for the host's own
    days        those on which it starts, 0 is Monday; none given: all of them
    outside     `not between`: the rest of the time is meant
    """

    start: int
    end: int
    zone: str = ""
    days: tuple[int, ...] = ()
    outside: bool = False

    def __str__(self) -> str:
        text = f" {'not ' if self.outside else ''}between {_clock(self.start)} and "
        text += _clock(self.end) + (f" {self.zone}" if self.zone else "")
        return text + (f" on {', '.join(DAYS[day] for day in self.days)}" if self.days else "")


def seconds(value: float) -> str:
    """Return a duration in the words of the language."""
    return f"{value:.15g}s"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _inner(term: Condition) -> str:
    return f"({term.canonical()})" if isinstance(term, All | Any) else term.canonical()


def _grouped(term: Condition) -> str:
    return f"({term})" if isinstance(term, All | Any) else str(term)
