"""PURE: tokens into a parse, by recursive descent over the grammar of language.md.

Two laws. What Inspeqtor accepts has the same parse here. What is refused is refused at the token
where Inspeqtor stops; a value that cannot be understood is reported at the token after it, and
only if that token may stand there. New words are contextual: `down` is an event only where
Inspeqtor has a syntax error.

After an error the parse goes on at the next `if` or `check`, so that one run tells them all.
"""

from typing import Final

from steadyd.rulefiles import quotes, tree
from steadyd.rulefiles.conditions import Conditions
from steadyd.rulefiles.cursor import Stop
from steadyd.rulefiles.diagnostics import quoted
from steadyd.rulefiles.jobs import Jobs
from steadyd.rulefiles.jobs import scan as scan_jobs
from steadyd.rulefiles.lexer import END, NAME
from steadyd.rulefiles.tree import Action, Check, File, Param, Rule, Word

_ACTIONS: Final = ("alert", "restart", "reload")


def parse(text: str) -> File:
    """Return what a text without a byte-order mark says, with all its syntax errors."""
    return _Parser(text).file()


def parse_jobs(text: str) -> File:
    """Return what a file of a folder `jobs.d` says, with all its syntax errors."""
    return _Parser(text, scan_jobs(text)).file(jobs_only=True)


class _Parser(Conditions, Jobs):
    def file(self, *, jobs_only: bool = False) -> File:
        checks: list[Check] = []
        jobs: list[tree.Jobs] = []
        if self._kind == END:
            self._report.warning(0, "the file holds no check")
        while self._kind != END:
            try:
                found = self._check(jobs_only)
                if isinstance(found, Check):
                    checks.append(found)
                else:
                    jobs.append(found)
            except Stop:
                self._recover()
                if self._kind == "if":  # of a check that could not be read: for its errors
                    self._rules()
        return File(tuple(checks), self._report.done(), self._places, tuple(jobs))

    # Checks

    def _check(self, jobs_only: bool) -> Check | tree.Jobs:
        start = self._take("check")[1]
        kind = self._kind
        name = None
        if self._text == "jobs" and kind in (NAME, "jobs"):
            self._next()
            params = self._params((NAME,))
            return tree.Jobs(params, self._jobs(), start)
        if jobs_only:
            self._fail("`jobs`")
        if kind == "service":
            self._next()
            name = Word(*self._take(NAME, "the name of a service"))
        elif kind == "host":
            self._next()
        else:
            self._fail("service", "host", "`jobs`")
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
                text = quotes.decode(value)
                if text == "file" and self._kind == ":":  # `password file:redis`
                    self._next()
                    text += ":" + quotes.decode(self._take(NAME, "the name of a file")[0])
                params.append(Param(key, text, start, value_start))
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
            except Stop:
                self._recover()
        return tuple(rules)

    def _rule(self) -> Rule | None:
        self._broken, self._depth = False, 0
        start = self._take("if")[1]
        condition = self._condition()
        hold = self._hold() if self._kind == "for" else None
        until = self._until(condition) if self._says("until") else None
        window = self._window() if self._says("between", "not") else None
        self._take("then")
        actions = [self._action()]
        while self._kind == ",":
            self._next()
            actions.append(self._action())
        if self._broken:
            return None
        return Rule(condition, hold, tuple(actions), start, until, window)

    # Steps

    def _action(self) -> Action:
        after = 0.0
        if self._says("after"):
            self._next()
            span, place = self._take(NAME, "a duration")
            after = self._duration(span, place)
        kind, start = self._kind, self._start
        if kind not in _ACTIONS:
            return self._new_action(after)
        self._next()
        if kind == "alert" and self._kind == NAME:
            action = Action("alert", self._text, start, self._start, after)
            self._next()
            return action
        return Action(kind, "", start, start, after)

    def _new_action(self, after: float) -> Action:
        word, start = self._text, self._start
        if not self._says("start", "stop", "signal", "exec"):
            self._fail(*_ACTIONS)
        self._next()
        if word in ("start", "stop"):
            return Action(word, "", start, start, after)
        argument, place = self._take(
            NAME, "a signal such as USR1" if word == "signal" else "a program in quotes"
        )
        if word == "exec":
            argument = self._decoded(argument, place)
        return Action(word, argument, start, place, after)

    def _decoded(self, text: str, place: int) -> str:
        if not quotes.is_quoted(text):
            self._bad(place, "the program of `exec` stands in quotes", f'exec "{text[:40]}"')
            return ""
        try:
            return quotes.decode(text)
        except quotes.BadQuote as why:
            self._bad(place, f"the program of `exec`: {why}", "")
            return ""
