"""PURE: a rule text in its usual dress. Tokens and comments stay; only white space changes.

Checks stand at the margin with an empty line between them, rules on lines of their own, two blanks
in. What is too long breaks before `then`, `with` or `expose`, four blanks in. A comment stays at
the end of its line, or on a line of its own.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from steadyd.rulefiles.cursor import SPELLED
from steadyd.rulefiles.lexer import COMMENT, END, NAME, OPERATOR, Tokens, scan

WIDTH: Final = 80  # columns of a line before it is broken
_BREAKS: Final = ("then", "with", "expose")
_INDENT: Final = {"check": 0}
_OTHER, _CONTINUED = 2, 4
_METRIC: Final = ("will", "over")


class _Item(NamedTuple):
    """A token or a comment. `gap` is what stands before it in the source, `tight`: no blank."""

    kind: str
    text: str
    gap: str
    tight: bool = False

    @property
    def own_line(self) -> bool:
        return self.kind == COMMENT and "\n" in self.gap


class _Line(NamedTuple):
    """A check's head, a rule or a job, with the comments on lines of their own before it."""

    before: list[_Item]
    items: list[_Item]


def formatted(text: str) -> str:
    """Return a text, which has no syntax error, in its usual dress; of its own result the same."""
    written: list[str] = []
    for line in _lines(list(_items(text))):
        first = not written
        in_check = line.items and line.items[0].kind not in ("check", END)
        written += _leading(line, first) if not in_check else _above(line, first)
        written += _laid_out(line.items)
    return "".join(f"{each}\n" for each in written)


def _items(text: str) -> Iterator[_Item]:
    tight = iter(_tight(scan(text)))
    end = 0
    for kind, word, start in zip(*scan(text, comments=True), strict=True):
        gap = text[end:start] if end else "\n" + text[:start]
        end = start + len(word)
        if kind == COMMENT:
            yield _Item(kind, word.rstrip(" \t\r"), gap)
            continue
        yield _Item(kind, word, gap, next(tight))
        if kind == END:
            return


def _tight(tokens: Tokens) -> list[bool]:
    """Tell of each token whether no blank stands before it."""
    kinds, texts, _ = tokens
    found = [False]
    for at, (before, kind) in enumerate(pairwise(kinds), 1):
        metric = kind == "(" and before == NAME and _ends_metric(kinds, texts, at + 3)
        metric = metric and kinds[at + 1 : at + 3] == [NAME, ")"]
        found.append(metric or kind in (",", ":", ")") or before in (":", "("))
    return found


def _ends_metric(kinds: list[str], texts: list[str], at: int) -> bool:
    if kinds[at : at + 1] != [NAME]:
        return kinds[at : at + 1] == [OPERATOR]
    return texts[at] in _METRIC or texts[at].startswith(SPELLED)


def _lines(items: list[_Item]) -> Iterator[_Line]:
    """Yield what has a line of its own; the last one holds the end of the text alone."""
    tokens = [place for place, item in enumerate(items) if item.kind != COMMENT]
    begins = [0, *_begins(items, tokens), tokens[-1]]
    before: list[_Item] = []
    for begin, following in pairwise(begins):
        end = max((at for at in range(begin, following) if items[at].kind != COMMENT), default=-1)
        end += 1
        if end and items[end].kind == COMMENT and not items[end].own_line:
            end += 1
        if end:
            yield _Line(before, items[begin:end])
        before = items[max(begin, end) : following]
    yield _Line(before, [items[-1]])


def _begins(items: list[_Item], tokens: list[int]) -> Iterator[int]:
    jobs = False
    for number, place in enumerate(tokens[:-1]):
        words = [items[at].text for at in tokens[number : number + 3]]
        if items[place].kind == "check":
            jobs = words[1:2] == ["jobs"]
        is_job = jobs and items[place].kind == NAME and words[1:] == ["happens", "every"]
        if items[place].kind in ("check", "if") or is_job:
            yield place


def _leading(line: _Line, first: bool) -> Iterator[str]:
    """Yield the comments before a check or the end, and the empty line between checks."""
    comments = line.before
    at_margin = len(comments)
    while at_margin and (first or _at_margin(comments[at_margin - 1])):
        at_margin -= 1
    empty = [_is_empty(each) for each in (*comments, line.items[0])]
    if line.items[0].kind == "check" and not any(empty[at_margin:]):
        empty[at_margin] = True
    for place, comment in enumerate(comments):
        if empty[place] and not (first and place == 0):
            yield ""
        yield (" " * _OTHER if place < at_margin else "") + comment.text
    if line.items[0].kind == "check" and empty[-1] and not (first and not comments):
        yield ""


def _above(line: _Line, first: bool) -> Iterator[str]:
    """Yield the comments before a rule, and the empty lines that were left there."""
    for item in (*line.before, line.items[0]):
        if _is_empty(item) and not first:
            yield ""
        if item.kind == COMMENT:
            yield " " * _OTHER + item.text


def _is_empty(item: _Item) -> bool:
    return item.gap.count("\n") > 1


def _at_margin(comment: _Item) -> bool:
    return comment.gap.endswith("\n")


def _laid_out(items: list[_Item]) -> Iterator[str]:
    """Yield the lines of a check's head or a rule; a comment ends its line."""
    indent = _INDENT.get(items[0].kind, _OTHER)
    part: list[_Item] = []
    for item in items:
        if item.kind == END:
            continue
        if item.own_line:
            yield from _broken(part, indent)
            yield " " * _CONTINUED + item.text
        elif item.kind == COMMENT:
            *lines, last = _broken(part, indent)
            yield from lines
            yield f"{last}  {item.text}"
        else:
            part.append(item)
            continue
        part, indent = [], _CONTINUED
    yield from _broken(part, indent)


def _broken(part: list[_Item], indent: int) -> Iterator[str]:
    """Yield tokens as one line, or as several where that would be too long."""
    if not part:
        return
    line = _spaced(part)
    if indent + len(line) <= WIDTH:
        yield " " * indent + line
        return
    begin = 0
    for at in range(1, len(part) + 1):
        if at == len(part) or part[at].kind in _BREAKS:
            yield " " * indent + _spaced(part[begin:at])
            begin, indent = at, _CONTINUED


def _spaced(part: list[_Item]) -> str:
    return "".join(("" if each.tight else " ") + each.text for each in part).lstrip(" ")
