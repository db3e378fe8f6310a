"""PURE: the parse of a rule file, as written: nothing is looked up, nothing left out.

Every node knows its offset in the text (`start`, code points). Quotes stay on names, as Inspeqtor
keeps them.
"""

from typing import NamedTuple

from steadyd.rulefiles.amounts import Quantity
from steadyd.rulefiles.diagnostics import Diagnostic
from steadyd.rulefiles.lexer import Places


class Over(NamedTuple):
    """`avg … over 5m`."""

    function: str
    seconds: float
    start: int


class Comparison(NamedTuple):
    """`memory:rss > 6g`. `after` is the offset of the token behind the amount."""

    family: str
    name: str
    operator: str
    raw: str
    quantity: Quantity
    start: int
    raw_start: int
    after: int
    over: Over | None = None

    @property
    def metric(self) -> str:
        """Return the metric as `family:name`, or the family alone."""
        return f"{self.family}:{self.name}" if self.name else self.family


class Forecast(NamedTuple):
    """`disk:/ will reach 95% within 6h`: a comparison without an operator, and seconds."""

    reached: Comparison
    within: float


class Event(NamedTuple):
    """`down`; `name` is that of the alert in `alerted NAME`, "" for the others."""

    word: str
    start: int
    name: str = ""


class Not(NamedTuple):
    """`not …`."""

    term: "Condition"
    start: int


class Joined(NamedTuple):
    """Terms with `and` or `or` (`word`) between them."""

    word: str
    terms: tuple["Condition", ...]
    start: int


Condition = Comparison | Forecast | Event | Not | Joined


def start_of(condition: Condition) -> int:
    """Return where a condition begins."""
    return (condition.reached if isinstance(condition, Forecast) else condition).start


def text_of(condition: Condition) -> str:
    """Return a condition as text, blanks folded."""
    match condition:
        case Comparison():
            over = condition.over
            value = condition.metric
            if over is not None:
                value = f"{over.function} {value} over {over.seconds:.15g}s"
            return f"{value} {condition.operator} {condition.raw}"
        case Forecast():
            reached, within = condition.reached, condition.within
            return f"{reached.metric} will reach {reached.raw} within {within:.15g}s"
        case Event():
            return f"{condition.word} {condition.name}" if condition.name else condition.word
        case Not():
            return f"not {_grouped(condition.term)}"
        case Joined():
            return f" {condition.word} ".join(map(_grouped, condition.terms))


def _grouped(term: Condition) -> str:
    return f"({text_of(term)})" if isinstance(term, Joined) else text_of(term)


class Hold(NamedTuple):
    """`for 3 cycles` (cycles), `for 3 of 5 cycles` (of) or `for 30s` (seconds)."""

    cycles: int | None
    seconds: float | None
    start: int
    of: int | None = None


class Until(NamedTuple):
    """`until … for …`."""

    condition: Condition
    hold: Hold | None
    start: int


class Window(NamedTuple):
    """`not between 22:00 and 06:00 Europe/Berlin on mon, weekend`, as written."""

    outside: bool
    begin: tuple[str, str]
    end: tuple[str, str]
    zone: str
    days: tuple["Word", ...]
    start: int
    zone_start: int


class Action(NamedTuple):
    """A step: `alert ops`, `restart`, `after 5m signal USR1`, `exec "…"`.

    `argument` is the route, the signal or the program, "" where none was written; `after` seconds.
    """

    name: str
    argument: str
    start: int
    argument_start: int
    after: float = 0.0


class Rule(NamedTuple):
    """`if … then …`."""

    condition: Condition
    hold: Hold | None
    actions: tuple[Action, ...]
    start: int
    until: Until | None = None
    window: Window | None = None


class Param(NamedTuple):
    """One `KEY VALUE` of a `with`; the value is decoded."""

    key: str
    value: str
    start: int
    value_start: int


class Word(NamedTuple):
    """A name somewhere in the text."""

    text: str
    start: int


class Check(NamedTuple):
    """`check service NAME …`, or `check host …` where `name` is None."""

    name: Word | None
    params: tuple[Param, ...]
    exposed: tuple[Word, ...]
    rules: tuple[Rule, ...]
    start: int


class Job(NamedTuple):
    """`sweep happens every 5 minutes`; `every` is in seconds, `period_start` where it stands."""

    name: str
    every: int
    start: int
    period_start: int


class Jobs(NamedTuple):
    """`check jobs …`."""

    params: tuple[Param, ...]
    jobs: tuple[Job, ...]
    start: int


class File(NamedTuple):
    """All that a text says, as far as it could be read.

    `diagnostics` are those of the syntax; with an error among them the text is bad as a whole.
    """

    checks: tuple[Check, ...]
    diagnostics: tuple[Diagnostic, ...]
    places: Places
    jobs: tuple[Jobs, ...] = ()

    @property
    def bad(self) -> bool:
        """Tell whether the text has a syntax error."""
        return any(each.is_error for each in self.diagnostics)
