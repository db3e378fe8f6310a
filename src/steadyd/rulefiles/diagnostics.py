"""PURE: what is wrong with a rule file, where, and how to mend it; and how that is shown."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from steadyd.rulefiles.lexer import Places

_MOST: Final = 1000  # diagnostics of one kind and file; a hostile text could make a million
_SUGGESTIONS: Final = 30  # per file, since each costs up to milliseconds
_BEFORE, _WIDTH = 90, 140  # characters shown of a long line, before the place and in all


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"


class Diagnostic(Struct, frozen=True):
    """One finding. `line` and `column` count as Inspeqtor does, `offset` in code points."""

    severity: Level
    line: int
    column: int
    message: str
    help: str = ""
    offset: int = 0

    @property
    def is_error(self) -> bool:
        """Tell an error from a warning."""
        return self.severity is Level.ERROR

    def at(self, path: str) -> str:
        """Return the one-line form `FILE:LINE:COLUMN: error: …`."""
        return f"{printable(path)}:{self.line}:{self.column}: {self.severity}: {self.message}"


class Report:
    """Collects the diagnostics of one text, up to a bound, and hands out suggestions."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._found: list[Diagnostic] = []
        self._counts = dict.fromkeys(Level, 0)
        self._suggestions = _SUGGESTIONS

    def error(self, offset: int, message: str, help: str = "") -> None:
        """Report an error."""
        self._add(Level.ERROR, offset, message, help)

    def warning(self, offset: int, message: str, help: str = "") -> None:
        """Report a warning."""
        self._add(Level.WARNING, offset, message, help)

    @property
    def count(self) -> int:
        """Return how much was reported so far."""
        return sum(self._counts.values())

    def nearest(self, word: str, known: Iterable[str]) -> str:
        """Return `did you mean …?`, or "" where nothing is near."""
        if self._suggestions <= 0 or len(word) > 60:
            return ""
        self._suggestions -= 1
        from difflib import get_close_matches  # noqa: PLC0415 - few daemons ever see a slip

        near = get_close_matches(word, list(known), n=1, cutoff=0.6)
        return f"did you mean {near[0]}?" if near else ""

    def done(self) -> tuple[Diagnostic, ...]:
        """Return what was found, with a note in place of what went over the bound."""
        for level, count in self._counts.items():
            if count > _MOST:
                text = f"{count - _MOST} more of the kind are not shown"
                self._found.append(Diagnostic(level, 1, 1, text))
        return tuple(self._found)

    def _add(self, level: Level, offset: int, message: str, help: str) -> None:
        self._counts[level] += 1
        if self._counts[level] <= _MOST:
            line, column = self._places.line(offset), self._places.column(offset)
            self._found.append(Diagnostic(level, line, column, message, help, offset))


def printable(text: str, most: int = 4096) -> str:
    """Return text that a terminal cannot mistake for orders, cut to `most` characters."""
    cut = text if len(text) <= most else text[:most] + "…"
    return cut if cut.isprintable() else "".join(_shown(char) for char in cut)


def quoted(text: str) -> str:
    """Return a word of a rule file for a message, cut and in backquotes."""
    return f"`{printable(text, 60)}`"


def render(path: str, text: str, diagnostic: Diagnostic) -> str:
    """Return the long form: place and message, source line, caret under the place, help.

    Tabs are shown as four blanks; wide characters take two cells (UAX 11), combining ones none.
    """
    lines = [diagnostic.at(path)]
    source, indent = _excerpt(text, diagnostic.offset)
    if source.strip():
        lines += ["    " + source, "    " + " " * indent + "^"]
    if diagnostic.help:
        lines.append(f"    help: {diagnostic.help}")
    return "\n".join(lines)


def _excerpt(text: str, offset: int) -> tuple[str, int]:
    near = max(0, offset - _BEFORE)
    start = max(text.rfind("\n", near, offset), text.rfind("\r", near, offset)) + 1
    cut = start == 0 and near > 0
    start = start or near
    before = ("…" if cut else "") + "".join(map(_shown, text[start:offset]))
    rest = text[offset : start + _WIDTH].splitlines() or [""]
    after = "".join(map(_shown, rest[0])) if text[offset : offset + 1] not in "\r\n" else ""
    return before + after, sum(map(_cells, before))


def _shown(char: str) -> str:
    if char == "\t":
        return "    "
    from unicodedata import combining  # noqa: PLC0415 - as above

    return char if char.isprintable() or combining(char) else "\ufffd"


def _cells(char: str) -> int:
    import unicodedata  # noqa: PLC0415 - as above

    if unicodedata.combining(char):
        return 0
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
