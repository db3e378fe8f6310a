"""PURE: the text of a monitrc into statements, each with its place; their meaning is monit.py's.

Words as in monit(1) 5.33: keywords in any case, `#` comments, texts in either kind of quotes,
lists in braces. An `include` stands for the statements of its files.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

Include = Callable[[str], Sequence[tuple[str, str]]]
"""Returns path and text of each file that a pattern names."""

_DEEPEST: Final = 10  # includes within includes
_MOST: Final = 200_000  # tokens of all files

_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*+ (?: \#[^\n]*+ [ \t\r\n]*+ )*+
    (?: (?P<quoted> "[^"]*" | '[^']*' ) | (?P<sign> [<>!=]=? | [(){},] )
      | (?P<word> [^\s"'(){},<>=]+ ) | (?P<other> . ) | \Z )""",
    re.VERBOSE | re.DOTALL,
)
_IN_CHECK: Final = frozenset(
    ("if", "start", "stop", "restart", "group", "depends", "depend", "alert", "noalert", "every")
) | {"mode", "onreboot", "ignore"}
_SECRET: Final = re.compile(
    r"""(\bpassword\s+(?:=\s+)?|\ballow\s+["']?[^\s:"']+:|//[^\s/:@]+:(?=\S{1,300}@))"""
    r"""(?:"[^"]*"|'[^']*'|[^\s@"']+)""",
    re.IGNORECASE,
)
_TOP: Final = frozenset(("set", "check"))


class Token(NamedTuple):
    """A word, a sign, or a quoted text without its quotes; `raw` is what was written."""

    text: str
    raw: str
    path: str
    line: int

    @property
    def low(self) -> str:
        """Return a keyword in lower case, "" for a quoted text, which is none."""
        return "" if self.raw[:1] in "\"'" else self.text.lower()


class Statement(NamedTuple):
    """`set …`, `if …` and so on."""

    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """Return what was written, blanks folded and secrets covered."""
        return _SECRET.sub(r"\1***", " ".join(token.raw for token in self.tokens))

    @property
    def word(self) -> str:
        """Return the keyword it begins with."""
        return self.tokens[0].low


class Check(NamedTuple):
    """`check KIND NAME …` and what stands below it."""

    head: Statement
    body: tuple[Statement, ...]

    @property
    def kind(self) -> str:
        """Return process, system, filesystem and so on."""
        return self.head.tokens[1].low if len(self.head.tokens) > 1 else ""

    @property
    def name(self) -> str:
        """Return the name, "" where none was written."""
        return self.head.tokens[2].text if len(self.head.tokens) > 2 else ""


class File(NamedTuple):
    """All statements, and what could not be read (ready to print)."""

    globals: tuple[Statement, ...]
    checks: tuple[Check, ...]
    errors: tuple[str, ...]


def parse(path: str, text: str, include: Include) -> File:
    """Return the statements of a file and of all that it includes."""
    errors: list[str] = []
    tokens: list[Token] = []
    for token in _tokens(path, text, include, errors, 0):
        if len(tokens) >= _MOST:
            errors.append(f"{path}: more than {_MOST} words: the rest is not read")
            break
        tokens.append(token)
    globals_: list[Statement] = []
    checks: list[tuple[Statement, list[Statement]]] = []
    for statement in _statements(tokens):
        if statement.word == "check":
            checks.append((statement, []))
        elif checks and statement.word != "set":
            checks[-1][1].append(statement)
        else:
            globals_.append(statement)
    made = tuple(Check(head, tuple(body)) for head, body in checks)
    return File(tuple(globals_), made, tuple(errors))


def _tokens(
    path: str, text: str, include: Include, errors: list[str], depth: int
) -> Iterator[Token]:
    line, position = 1, 0
    including = False
    while True:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            return
        raw = found[found.lastgroup]
        line += text.count("\n", position, found.start(found.lastgroup))
        token = Token(raw[1:-1] if found["quoted"] else raw, raw, path, line)
        line += raw.count("\n")
        position = found.end()
        if including:
            including = False
            yield from _included(token, include, errors, depth)
        elif token.low == "include":
            including = True
        elif found["other"]:
            errors.append(f"{path}:{token.line}: a quoted text begins here and does not end")
            return
        else:
            yield token


def _included(token: Token, include: Include, errors: list[str], depth: int) -> Iterator[Token]:
    if depth >= _DEEPEST:
        errors.append(f"{token.path}:{token.line}: include is nested too deeply; it is not read")
        return
    for path, text in include(token.text):
        yield from _tokens(path, text, include, errors, depth + 1)


def _statements(tokens: Sequence[Token]) -> Iterator[Statement]:
    start = 0
    while start < len(tokens):
        end = _end(tokens, start)
        yield Statement(tuple(tokens[start:end]))
        start = end


def _end(tokens: Sequence[Token], start: int) -> int:
    """Return where the statement ends that begins at `start`."""
    first, depth = tokens[start].low, 0
    at = start + {"check": 3, "set": 2}.get(first, 1 if first == "if" else 2)
    waiting = first == "if"  # for `then`: before it, any word belongs to the test
    while at < len(tokens):
        word = tokens[at].low
        depth += (word == "{") - (word == "}")
        if depth <= 0:
            if word in _TOP:
                break
            if word == "then":
                waiting, at = False, at + 2  # the action, which may be called like a statement
                continue
            if word == "else":
                waiting = at + 1 < len(tokens) and tokens[at + 1].low == "if"
                at += 2
                continue
            if not waiting and first != "set" and _begins(tokens, at):
                break
        at += 1
    return min(at, len(tokens))


def _begins(tokens: Sequence[Token], at: int) -> bool:
    word = tokens[at].low
    if word == "not":
        return at + 1 < len(tokens) and tokens[at + 1].low == "every"
    return word in _IN_CHECK and tokens[at - 1].low not in ("repeat", "not")
