"""PURE: what stands between `if` and `then`: terms, and, or, not, holds, ends, windows.

New words are contextual: one that is followed by an operator, `will`, `:` or `(NAME)` with one of
these behind it is a metric, whatever the word.
"""

import re
from collections.abc import Callable
from typing import Final

from steadyd.rulefiles import amounts
from steadyd.rulefiles.cursor import SPELLED, Cursor, Stop
from steadyd.rulefiles.diagnostics import quoted
from steadyd.rulefiles.lexer import NAME, OPERATOR
from steadyd.rulefiles.tree import (
    Comparison,
    Condition,
    Event,
    Forecast,
    Hold,
    Joined,
    Not,
    Over,
    Until,
    Window,
    Word,
)

_EVENTS: Final = frozenset(("down", "crashed", "oom", "flapping", "alerted"))

_FUNCTIONS: Final = frozenset(("avg", "min", "max", "p50", "p90", "p95", "p99", "delta", "rate"))
_OPPOSITE: Final = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
# What may stand behind an amount or a hold, where Inspeqtor has a syntax error.
_JOINTS: Final = frozenset(("and", "or", "until", "between", "not"))
_CLOCK: Final = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]")
_DEEPEST: Final = 50  # parentheses and `not` inside each other

_NOTHING: Final = amounts.Quantity(0, amounts.Unit.NONE, 0.0, False)


class Conditions(Cursor):
    """Reads conditions; `_depth` is how deep they are nested here."""

    _depth = 0

    def _condition(self) -> Condition:
        return self._joined("or", lambda: self._joined("and", self._term))

    def _joined(self, word: str, operand: Callable[[], Condition]) -> Condition:
        start = self._start
        first = operand()
        if not self._says(word):
            return first
        terms = [first]
        while self._says(word):
            self._next()
            terms.append(operand())
        return Joined(word, tuple(terms), start)

    def _term(self) -> Condition:
        if self._kind == "(":
            return self._group()
        word, start = self._take(NAME, "a metric")
        if not self._is_metric():
            if word == "not" and self._kind in (NAME, "("):
                return Not(self._deeper(self._term), start)
            if word in _FUNCTIONS and self._kind == NAME:
                return self._aggregate(word, start)
            if word == "alerted":
                return Event(word, start, self._take(NAME, "the name of an alert")[0])
            if word in _EVENTS:
                return Event(word, start)
        name = self._metric_name()
        if self._says("will"):
            return self._forecast(word, name, start)
        return self._comparison(word, name, self._operator(), start)

    def _is_metric(self, at: int | None = None) -> bool:
        """Tell whether the word before this token (or the one at `at`) is a metric."""
        at = self._index if at is None else at
        kind, text = self._kinds[at], self._texts[at]
        if kind in (OPERATOR, ":"):
            return True
        if kind == NAME:
            return text.startswith(SPELLED) or text == "will"
        if kind != "(" or self._kinds[at + 1 : at + 3] != [NAME, ")"]:
            return False
        word = self._texts[at + 3]
        return self._kinds[at + 3] == OPERATOR or (
            self._kinds[at + 3] == NAME and (word.startswith(SPELLED) or word in ("will", "over"))
        )

    def _group(self) -> Condition:
        self._next()
        condition = self._deeper(self._condition)
        self._take(")")
        return condition

    def _deeper(self, read: Callable[[], Condition]) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._report.error(self._start, "the condition is nested too deep", "split the rule")
            raise Stop
        found = read()
        self._depth -= 1
        return found

    def _aggregate(self, function: str, start: int) -> Comparison:
        family, _ = self._take(NAME, "a metric")
        name = self._metric_name()
        if not self._says("over"):
            self._fail("`over`", help=f"write `{function} {family} over 5m`")
        self._next()
        span, place = self._take(NAME, "a duration")
        seconds = self._duration(span, place)
        over = Over(function, seconds, place)
        return self._comparison(family, name, self._operator(), start, over)

    def _forecast(self, family: str, name: str, start: int) -> Forecast:
        self._next()
        if not self._says("reach"):
            self._fail("`reach`", help="write `will reach 95% within 6h`")
        self._next()
        raw, raw_start = self._take(NAME, "an amount")
        if not self._says("within"):
            self._fail("`within`", help="write `will reach 95% within 6h`")
        quantity = self._quantity(raw)
        reached = Comparison(family, name, "", raw, quantity, start, raw_start, self._start)
        self._next()
        span, place = self._take(NAME, "a duration")
        return Forecast(reached, self._duration(span, place))

    def _metric_name(self) -> str:
        sign = self._kind
        if sign not in (":", "("):
            return ""
        self._next()
        name, _ = self._take(NAME, "the name of a metric")
        if sign == "(":
            self._take(")")
        return name

    def _operator(self) -> str:
        if not self._spells_operator():
            return self._take(OPERATOR)[0]
        word = self._text
        if len(word) == 2:
            self._next()
        else:  # `==5`: the rest of the word is the amount
            self._text, self._start = word[2:], self._start + 2
        return word[:2]

    def _comparison(
        self, family: str, name: str, operator: str, start: int, over: Over | None = None
    ) -> Comparison:
        raw, raw_start = self._take(NAME, "an amount")
        if self._kind not in ("for", "then") and not self._ends_comparison():
            self._fail("for", "then")
        quantity = self._quantity(raw)
        after = self._start
        return Comparison(family, name, operator, raw, quantity, start, raw_start, after, over)

    def _ends_comparison(self) -> bool:
        if self._kind == ")":
            return self._depth > 0
        return self._kind == NAME and self._text in _JOINTS

    def _quantity(self, raw: str) -> amounts.Quantity:
        try:
            return amounts.amount(raw)
        except amounts.BadNumber as why:
            mend = "an amount is such as 5, 1.5g, 80% or 10/sec"
            self._bad(self._start, f"{quoted(raw)} {why}", mend)
            return _NOTHING

    def _duration(self, text: str, place: int) -> float:
        try:
            return amounts.duration(text)
        except amounts.BadNumber as why:
            self._bad(place, f"{quoted(text)} {why}", "a duration is such as 90s, 5m or 2h")
            return 0.0

    # Holds, ends, windows

    def _hold(self) -> Hold:
        self._next()
        count, start = self._take(NAME, "a number of cycles or a duration")
        if self._says("of"):
            return self._share(count, start)
        kind, unit, after = self._kind, self._text, self._start
        counted = kind == "cycles" or unit == "cycle"
        if not counted and kind != "then" and not self._says("until", "between", "not"):
            self._fail("`cycles`", help=_help_with_hold(count, unit))
        try:
            if not counted:
                return Hold(None, amounts.duration(count), start)
            self._next()
            return Hold(amounts.integer(count), None, start)
        except amounts.BadNumber as why:
            if not counted:
                self._fail("`cycles`", help=_help_with_hold(count, unit))
            self._bad(after, f"{quoted(count)} {why}", "cycles are counted: for 3 cycles")
            return Hold(None, None, start)

    def _share(self, count: str, start: int) -> Hold:
        self._next()
        of, of_start = self._take(NAME, "a number of cycles")
        if self._kind != "cycles":
            self._fail("`cycles`", help="write `for 3 of 5 cycles`")
        self._next()
        try:
            return Hold(amounts.integer(count), None, start, amounts.integer(of))
        except amounts.BadNumber as why:
            place, text = (start, count) if not count.isdecimal() else (of_start, of)
            self._bad(place, f"{quoted(text)} {why}", "write `for 3 of 5 cycles`")
            return Hold(None, None, start)

    def _until(self, condition: Condition) -> Until:
        start = self._start
        self._next()
        spelled = self._spells_operator() and not self._is_metric(self._index + 1)
        if self._kind == OPERATOR or spelled:
            ends: Condition = self._opposite(condition)
        else:
            ends = self._condition()
        return Until(ends, self._hold() if self._kind == "for" else None, start)

    def _opposite(self, condition: Condition) -> Comparison:
        """Read `OP AMOUNT`: of the same value, in the opposite direction."""
        start = self._start
        operator = self._operator()
        if not isinstance(condition, Comparison):
            mend = "write the whole comparison"
            self._bad(start, "what is compared is not said: there is no single comparison", mend)
            return self._comparison("", "", operator, start)
        opposite = _OPPOSITE.get(condition.operator)
        if opposite is None or operator[0] != opposite[0]:
            found = f"`until {operator}` does not lead back from `{condition.operator}`"
            self._bad(start, found, f"write `until {opposite or '!='} AMOUNT`")
        return self._comparison(
            condition.family, condition.name, operator, condition.start, condition.over
        )

    def _window(self) -> Window:
        start, outside = self._start, self._says("not")
        if outside:
            self._next()
        if not self._says("between"):
            self._fail("`between`")
        self._next()
        begin = self._clock()
        if not self._says("and"):
            self._fail("`and`", help="write `between 22:00 and 06:00`")
        self._next()
        end = self._clock()
        zone, zone_start = "", self._start
        if self._kind == NAME and self._text != "on":
            zone = self._text
            self._next()
        days: list[Word] = []
        if self._says("on"):
            while not days or self._kind == ",":
                self._next()
                days.append(Word(*self._take(NAME, "a day")))
        return Window(outside, begin, end, zone, tuple(days), start, zone_start)

    def _clock(self) -> tuple[str, str]:
        hours, start = self._take(NAME, "a time such as 22:00")
        self._take(":")
        minutes, _ = self._take(NAME, "minutes")
        if not (_CLOCK.fullmatch(hours + ":" + minutes)):
            text = f"{quoted(hours + ':' + minutes)} is no time"
            self._bad(start, text, "a time is such as 07:30; midnight is 00:00")
            return "00", "00"
        return hours, minutes


def _help_with_hold(count: str, unit: str) -> str:
    if not count.isdecimal():
        return "a hold is such as `for 3 cycles` or `for 90s`"
    short = {"s": "s", "m": "m", "h": "h"}.get(unit[:1], "s") if unit != "then" else "s"
    return f"write `for {count[:12]} cycles` or `for {count[:12]}{short}`"
