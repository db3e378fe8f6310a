"""PURE: the text of an `inspeqtor.conf` into what it sets, by inspeqtor.md sections 1 and 3.1.

What Inspeqtor accepts has the same parse here; what is refused is refused at the token where
Inspeqtor stops. Two texts that it refuses are good: one without a statement, and one that ends
in a comment without a newline. What the values mean is told by `steadyd.inspeqtor`.
"""

import re
from typing import Final, NoReturn

from msgspec import Struct

from steadyd.rulefiles import quotes
from steadyd.rulefiles.diagnostics import Diagnostic, Report, quoted
from steadyd.rulefiles.lexer import Places

FILE_NAME: Final = "inspeqtor.conf"

_KEYWORDS: Final = frozenset(("send", "alerts", "via", "with", "to", "set"))
_VALUE, _INVALID, _END = "value", "invalid", "end"

# As in rule files, but : ; < > are letters. An unfinished quoted text takes all that follows.
_LETTER: Final = r'[^\x00-\x20"#(),\[\\\]\x7f-\xff]'
_TOKEN: Final = re.compile(
    rf"""(?P<skipped> (?: [ \t\r\n] | \#[^\n]*+ )*+ )
    (?: (?P<word> {_LETTER}++ )
      | (?P<quoted> "(?:\\.|[^\\])(?:\\.|[^"\\])*+" )
      | (?P<comma> , )
      | (?P<invalid> ".* | . )
      | \Z )""",
    re.DOTALL | re.VERBOSE,
)
_SECRET: Final = re.compile(
    r"""(\b(?:password|token|url|username):?\s+)("(?:\\.|[^"\\])*+"?|[^\s,"]++[^,\n]*+)"""
)


class Setting(Struct, frozen=True):
    """`KEY VALUE`, the value decoded; the places are offsets in code points."""

    key: str
    value: str
    start: int
    value_start: int


class Route(Struct, frozen=True):
    """`send alerts to NAME via CHANNEL with …`; `name` is "" where none was written.

    Quotes stay on the name and the channel, as Inspeqtor keeps them.
    """

    name: str
    channel: str
    settings: tuple[Setting, ...]
    start: int
    channel_start: int

    @property
    def params(self) -> dict[str, str]:
        """Return the parameters; of a repeated one the first written."""
        return _first(self.settings)


class Conf(Struct, frozen=True):
    """All that the text says, in written order, with its syntax errors."""

    settings: tuple[Setting, ...]
    routes: tuple[Route, ...]
    diagnostics: tuple[Diagnostic, ...]
    places: Places

    @property
    def bad(self) -> bool:
        """Tell whether the text has a syntax error."""
        return any(each.is_error for each in self.diagnostics)

    @property
    def variables(self) -> dict[str, str]:
        """Return what is set; of a repeated key the first written."""
        return _first(self.settings)

    @property
    def in_force(self) -> tuple[Route, ...]:
        """Return the routes; of a repeated name the first written."""
        routes: dict[str, Route] = {}
        for route in self.routes:
            routes.setdefault(route.name, route)
        return tuple(routes.values())


def masked(text: str) -> str:
    """Return the text as it may be shown: secrets are covered, and no place is moved."""
    return _SECRET.sub(lambda found: found[1] + re.sub(r"[^\s,]", "*", found[2]), text)


def parse(text: str) -> Conf:
    """Return what a text without a byte-order mark says."""
    return _Parser(text).file()


def _first(settings: tuple[Setting, ...]) -> dict[str, str]:
    return {each.key: each.value for each in reversed(settings)}


class _Stop(Exception):
    """An error was reported; go on at the next statement."""


class _Parser:
    def __init__(self, text: str) -> None:
        self._source = text
        self._places = Places(text)
        self._report = Report(self._places)
        self._settings: list[Setting] = []
        self._routes: list[Route] = []
        self._position = 0
        self._next()

    def file(self) -> Conf:
        if self._kind == _END:
            self._report.warning(0, "the file sets nothing and names no route")
        while self._kind != _END:
            try:
                self._statement()
            except _Stop:
                while self._kind not in ("send", "set", _END):
                    self._next()
        done = self._report.done()
        return Conf(tuple(self._settings), tuple(self._routes), done, self._places)

    def _statement(self) -> None:
        start = self._start
        if self._kind == "set":
            self._next()
            self._settings += self._pairs("a variable", lists=False)
            return
        self._take("send")
        self._take("alerts")
        name = ""
        if self._kind == "to":
            self._next()
            name, _ = self._take(_VALUE, "the name of a route")
        elif self._kind != "via":
            self._fail("`to`", "`via`")
        self._take("via")
        channel, channel_start = self._take(_VALUE, "a channel such as email")
        self._take("with")
        pairs = self._pairs("a parameter", lists=True)
        self._routes.append(Route(name, channel, tuple(pairs), start, channel_start))

    def _pairs(self, what: str, *, lists: bool) -> list[Setting]:
        """Read `KEY VALUE`s. A bad value is reported at the token after them, if it may stand."""
        good: list[Setting] = []
        bad: list[str] = []
        while True:
            key, start = self._take(_VALUE, what)
            value, value_start = self._take(_VALUE, f"a value for {quoted(key)}")
            try:
                good.append(Setting(key, quotes.decode(value), start, value_start))
            except quotes.BadQuote as why:
                bad.append(f"the value of {quoted(key)}: {why}")
            if not lists or self._kind != ",":
                break
            self._next()
        if self._kind not in ("send", "set", _END):
            self._fail(*(["`,`"] if lists else []), "`send`", "`set`", "the end")
        for message in bad:
            self._report.error(self._start, message)
        return good

    def _next(self) -> None:
        found = _TOKEN.match(self._source, self._position)
        if found is None:
            raise AssertionError("the last alternatives match anything")
        self._position, self._start = found.end(), found.end("skipped")
        self._text = found[0][len(found["skipped"]) :]
        match found.lastgroup:
            case "word":
                self._kind = self._text if self._text in _KEYWORDS else _VALUE
            case "quoted":
                self._kind = _VALUE
            case "comma":
                self._kind = ","
            case "invalid":
                self._kind = _INVALID
            case _:
                self._kind = _END

    def _take(self, kind: str, meaning: str = "") -> tuple[str, int]:
        if self._kind != kind:
            self._fail(meaning or f"`{kind}`")
        taken = self._text, self._start
        self._next()
        return taken

    def _fail(self, *expected: str) -> NoReturn:
        wanted = " or ".join(expected)
        if self._kind == _INVALID and self._text[0] == '"':
            message, help = 'a quoted text begins here and does not end with "', ""
        elif self._kind == _INVALID:
            char = self._text[0]
            shown = char if char.isprintable() else f"U+{ord(char):04X}"
            message, help = f"the character {shown} cannot stand here", "put the text into quotes"
        elif self._kind == _END:
            message, help = f"expected {wanted}, the file ends", ""
        else:
            shown = quoted(self._text) if self._mend() else "another word"  # it may be a secret
            message, help = f"expected {wanted}, found {shown}", self._mend()
        self._report.error(self._start, message, help)
        raise _Stop

    def _mend(self) -> str:
        if self._text in _KEYWORDS:
            return f"{self._text} is a word of the language: put it into quotes to use it as text"
        return "there is no =: write set cycle_time 15" if self._text == "=" else ""
