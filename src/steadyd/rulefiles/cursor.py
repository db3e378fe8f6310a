"""PURE: a place in the tokens of a text, and what is said where they are not what was wanted."""

from typing import Final, NoReturn

from steadyd.rulefiles.diagnostics import Report, quoted
from steadyd.rulefiles.lexer import END, INVALID, KEYWORDS, NAME, OPERATOR, Places, Tokens, scan
from steadyd.rulefiles.slips import mend

SPELLED: Final = ("==", "!=")


class Stop(Exception):
    """An error was reported; go on at the next `if` or `check`."""


class Cursor:
    """Reads tokens one by one; `_broken` tells that a value of this rule was reported as bad."""

    def __init__(self, text: str, tokens: Tokens | None = None) -> None:
        self._kinds, self._texts, self._starts = tokens or scan(text)
        self._places = Places(text)
        self._report = Report(self._places)
        self._index = 0
        self._kind, self._text, self._start = self._kinds[0], self._texts[0], self._starts[0]
        self._broken = False  # a value of this rule was reported as bad

    def _says(self, *words: str) -> bool:
        return self._kind == NAME and self._text in words

    def _spells_operator(self) -> bool:
        return self._kind == NAME and self._text.startswith(SPELLED)

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

    def _bad(self, start: int, message: str, help: str) -> None:
        self._broken = True
        self._report.error(start, message, help)

    def _fail(self, *expected: str, help: str = "") -> NoReturn:
        if self._kind == INVALID:
            self._report.error(self._start, *_invalid(self._text[0]))
        else:
            found = "the file ends" if self._kind == END else f"found {quoted(self._text)}"
            wanted = " or ".join(_WORDING.get(word, word) for word in expected)
            if OPERATOR in expected:
                help = _help_with_operator(self._texts[self._index - 1])
            help = help or mend(self._texts, self._index, expected)
            if not help and self._kind == NAME:
                help = self._report.nearest(self._text, expected)
            self._report.error(self._start, f"expected {wanted}, {found}", help)
        raise Stop


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
    sign = next((sign for sign in SPELLED if sign in before), "")
    if not sign and "=" in before[1:]:
        name, _, amount = before.partition("=")
        return f"write `{name} == {amount}`" if amount else f"write `{name} ==`"
    return f"put a blank before {sign}" if sign else ""
