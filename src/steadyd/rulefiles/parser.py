"""PURE: tokens into a parse, by recursive descent over the grammar of language.md.

Two laws. What Inspeqtor accepts has the same parse here. What is refused is refused at the token
where Inspeqtor stops; a value that cannot be understood is reported at the token after it, and
only if that token may stand there. New words are contextual: `down` is an event only where
Inspeqtor has a syntax error.

After an error the parse goes on at the next `if` or `check`, so that one run tells them all.
"""

from typing import Final, NoReturn

from steadyd.rulefiles import amounts, quotes
from steadyd.rulefiles.diagnostics import Report, quoted
from steadyd.rulefiles.lexer import END, INVALID, KEYWORDS, NAME, OPERATOR, Places, scan
from steadyd.rulefiles.tree import Action, Check, Comparison, Event, File, Hold, Param, Rule, Word

_ACTIONS: Final = ("alert", "restart", "reload")
_EVENTS: Final = frozenset(("down",))
_SPELLED: Final = ("==", "!=")

# Words of language.md that this version does not obey yet, by the place where they may stand.
_LATER_TERMS: Final = frozenset(
    ("not", "avg", "min", "max", "p50", "p90", "p95", "p99", "delta", "rate")
) | {"crashed", "oom", "flapping", "alerted"}
_LATER_JOINTS: Final = frozenset(("and", "or", "until", "between", "not", "will"))
_LATER_STEPS: Final = frozenset(("after", "start", "stop", "signal", "exec"))

_NOTHING: Final = amounts.Quantity(0, amounts.Unit.NONE, 0.0, False)


class _Stop(Exception):
    """An error was reported; go on at the next `if` or `check`."""


def parse(text: str) -> File:
    """Return what a text without a byte-order mark says, with all its syntax errors."""
    return _Parser(text).file()


class _Parser:
    def __init__(self, text: str) -> None:
        self._kinds, self._texts, self._starts = scan(text)
        self._places = Places(text)
        self._report = Report(self._places)
        self._index = 0
        self._kind, self._text, self._start = self._kinds[0], self._texts[0], self._starts[0]
        self._broken = False  # a value of this rule was reported as bad
        self._later = ""  # a word of the language, met in this phrase, that we do not obey yet

    def file(self) -> File:
        checks: list[Check] = []
        if self._kind == END:
            self._report.warning(0, "the file holds no check")
        while self._kind != END:
            try:
                checks.append(self._check())
            except _Stop:
                self._recover()
                if self._kind == "if":  # of a check that could not be read: for its errors
                    self._rules()
        return File(tuple(checks), self._report.done(), self._places)

    # Checks

    def _check(self) -> Check:
        start = self._take("check")[1]
        kind = self._kind
        name = None
        if kind == "service":
            self._next()
            name = Word(*self._take(NAME, "the name of a service"))
        elif kind == "host":
            self._next()
        else:
            self._later = "check jobs" if self._text == "jobs" else ""
            self._fail("service", "host")
        may_follow = ("expose", "if") if name else ("if",)
        params = self._params(may_follow)
        exposed = self._exposed() if name else ()
        self._expect_end_of_head(may_follow if params or exposed else ("with", *may_follow))
        return Check(name, params, exposed, self._rules(), start)

    def _expect_end_of_head(self, may_follow: tuple[str, ...]) -> None:
        if self._kind not in ("if", "check", END):
            self._fail(*may_follow, "check", END)

    def _params(self, may_follow: tuple[str, ...]) -> tuple[Param, ...]:
        if self._kind != "with":
            return ()
        self._next()
        params: list[Param] = []
        bad: list[str] = []
        while True:
            key, start = self._take(NAME, "a parameter")
            value, value_start = self._take(NAME, f"a value for {quoted(key)}")
            try:
                params.append(Param(key, quotes.decode(value), start, value_start))
            except quotes.BadQuote as why:
                bad.append(f"the value of {quoted(key)}: {why}")
            if self._kind != ",":
                break
            self._next()
        if self._kind not in (*may_follow, "check", END):
            self._fail(",", *may_follow, "check", END)
        for message in bad:
            self._report.error(self._start, message)
        return tuple(params)

    def _exposed(self) -> tuple[Word, ...]:
        if self._kind != "expose":
            return ()
        words: list[Word] = []
        while True:
            self._next()
            words.append(Word(*self._take(NAME, "a name to expose")))
            if self._kind != ",":
                return tuple(words)

    # Rules

    def _rules(self) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        while self._kind == "if":
            try:
                if (rule := self._rule()) is not None:
                    rules.append(rule)
                if self._kind not in ("if", "check", END):
                    self._fail(",", "if", "check", END)
            except _Stop:
                self._recover()
        return tuple(rules)

    def _rule(self) -> Rule | None:
        self._broken, self._later = False, ""
        start = self._take("if")[1]
        condition = self._condition()
        hold = self._hold() if self._kind == "for" else None
        self._note_later(_LATER_JOINTS)
        self._take("then")
        actions = [self._action()]
        while self._kind == ",":
            self._next()
            actions.append(self._action())
        return None if self._broken else Rule(condition, hold, tuple(actions), start)

    def _condition(self) -> Comparison | Event:
        if self._kind == "(":
            self._later = "( … )"
        word, start = self._take(NAME, "a metric")
        if word in _LATER_TERMS:
            self._later = word  # explains an error, should this be no metric
        if self._kind not in (OPERATOR, ":", "(") and not self._spells_operator():
            self._note_later(_LATER_JOINTS)
            if word in _EVENTS:
                return Event(word, start)
            self._fail(OPERATOR)
        name = self._metric_name() if self._kind != OPERATOR else ""
        operator = self._operator()
        self._later = ""
        return self._comparison(word, name, operator, start)

    def _metric_name(self) -> str:
        sign = self._kind
        if sign not in (":", "("):
            return ""
        self._next()
        name, _ = self._take(NAME, "the name of a metric")
        if sign == "(":
            self._take(")")
        return name

    def _spells_operator(self) -> bool:
        return self._kind == NAME and self._text.startswith(_SPELLED)

    def _operator(self) -> str:
        if not self._spells_operator():
            self._note_later(_LATER_JOINTS)
            return self._take(OPERATOR)[0]
        word = self._text
        if len(word) == 2:
            self._next()
        else:  # `==5`: the rest of the word is the amount
            self._text, self._start = word[2:], self._start + 2
        return word[:2]

    def _comparison(self, family: str, name: str, operator: str, start: int) -> Comparison:
        raw, raw_start = self._take(NAME, "an amount")
        if self._kind not in ("for", "then"):
            self._note_later(_LATER_JOINTS)
            self._fail("for", "then")
        quantity = _NOTHING
        try:
            quantity = amounts.amount(raw)
        except amounts.BadNumber as why:
            mend = "an amount is such as 5, 1.5g, 80% or 10/sec"
            self._bad(self._start, f"{quoted(raw)} {why}", mend)
        return Comparison(family, name, operator, raw, quantity, start, raw_start, self._start)

    def _hold(self) -> Hold:
        self._next()
        count, start = self._take(NAME, "a number of cycles or a duration")
        kind, unit, after = self._kind, self._text, self._start
        counted = kind == "cycles" or unit == "cycle"
        if not counted and kind != "then":
            self._later = "for N of M cycles" if unit == "of" else ""
            self._note_later(_LATER_JOINTS)
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

    def _action(self) -> Action:
        kind, start = self._kind, self._start
        if kind not in _ACTIONS:
            self._note_later(_LATER_STEPS)
            self._fail(*_ACTIONS)
        self._next()
        if kind == "alert" and self._kind == NAME:
            action = Action("alert", self._text, start, self._start)
            self._next()
            return action
        return Action(kind, "", start, start)

    # Tokens and errors

    def _next(self) -> None:
        self._index = index = self._index + 1
        self._kind, self._text = self._kinds[index], self._texts[index]
        self._start = self._starts[index]

    def _take(self, kind: str, meaning: str = "") -> tuple[str, int]:
        if self._kind != kind:
            self._fail(meaning or kind)
        taken = self._text, self._start
        self._next()
        return taken

    def _recover(self) -> None:
        while self._kind not in ("if", "check", END):
            self._next()

    def _note_later(self, words: frozenset[str]) -> None:
        if self._kind == NAME and self._text in words:
            self._later = self._text

    def _bad(self, start: int, message: str, help: str) -> None:
        self._broken = True
        self._report.error(start, message, help)

    def _fail(self, *expected: str, help: str = "") -> NoReturn:
        if self._later:
            text = f"{quoted(self._later)} is not understood by this version"
            self._report.error(self._start, text)
        elif self._kind == INVALID:
            self._report.error(self._start, *_invalid(self._text[0]))
        else:
            found = "the file ends" if self._kind == END else f"found {quoted(self._text)}"
            wanted = " or ".join(_WORDING.get(word, word) for word in expected)
            if OPERATOR in expected:
                help = _help_with_operator(self._texts[self._index - 1])
            if not help and self._kind == NAME:
                help = self._report.nearest(self._text, expected)
            self._report.error(self._start, f"expected {wanted}, {found}", help)
        self._later = ""
        raise _Stop


_WORDING: Final = {OPERATOR: "a comparison (> < >= <= == !=)", END: "the end"} | {
    word: f"`{word}`" for word in (*KEYWORDS, *",:()")
}


def _invalid(char: str) -> tuple[str, str]:
    if char == '"':
        return 'a quoted text begins here and does not end with "', '"" cannot be written'
    shown = char if char.isprintable() else f"U+{ord(char):04X}"
    return f"the character {shown} cannot stand here", "put the text into quotes"


def _help_with_operator(before: str) -> str:
    """Tell why `rss==5` is no comparison: `=` and `!` are letters."""
    return next((f"put a blank before {sign}" for sign in _SPELLED if sign in before), "")


def _help_with_hold(count: str, unit: str) -> str:
    if not count.isdecimal():
        return "a hold is such as `for 3 cycles` or `for 90s`"
    short = {"s": "s", "m": "m", "h": "h"}.get(unit[:1], "s") if unit != "then" else "s"
    return f"write `for {count[:12]} cycles` or `for {count[:12]}{short}`"
