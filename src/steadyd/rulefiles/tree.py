"""PURE: the parse of a rule file, as written: nothing is looked up, nothing left out.

Every node knows its offset in the text (`start`, code points). Quotes stay on names, as Inspeqtor
keeps them.
"""

from typing import NamedTuple

from steadyd.rulefiles.amounts import Quantity
from steadyd.rulefiles.diagnostics import Diagnostic
from steadyd.rulefiles.lexer import Places


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

    @property
    def metric(self) -> str:
        """Return the metric as `family:name`, or the family alone."""
        return f"{self.family}:{self.name}" if self.name else self.family


class Event(NamedTuple):
    """`down`."""

    word: str
    start: int


class Hold(NamedTuple):
    """`for 3 cycles` (cycles) or `for 30s` (seconds)."""

    cycles: int | None
    seconds: float | None
    start: int


class Action(NamedTuple):
    """`alert`, `alert ops`, `restart`, `reload`; `route` is "" where none was written."""

    name: str
    route: str
    start: int
    route_start: int


class Rule(NamedTuple):
    """`if … then …`."""

    condition: Comparison | Event
    hold: Hold | None
    actions: tuple[Action, ...]
    start: int


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


class File(NamedTuple):
    """All that a text says, as far as it could be read.

    `diagnostics` are those of the syntax; with an error among them the text is bad as a whole.
    """

    checks: tuple[Check, ...]
    diagnostics: tuple[Diagnostic, ...]
    places: Places

    @property
    def bad(self) -> bool:
        """Tell whether the text has a syntax error."""
        return any(each.is_error for each in self.diagnostics)
