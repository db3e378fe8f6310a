"""PURE: rule text into tokens, by the words of inspeqtor.md section 1.

White space and comments (which may end the file without a newline) separate tokens and have no
other meaning. The time is linear in the length of the text, whatever the text.
"""

import re
from bisect import bisect_right
from typing import Final

KEYWORDS: Final = frozenset(
    ("check", "service", "host", "expose", "restart", "reload", "alert", "with", "if", "then")
) | {"for", "cycles"}

NAME: Final = "name"
OPERATOR: Final = "operator"
INVALID: Final = "invalid"
END: Final = "end"

_KINDS: Final = {word: word for word in (*KEYWORDS, ",", ":", "(", ")")} | dict.fromkeys(
    ("<", ">", "<=", ">="), OPERATOR
)

# Three groups: what separates, a good token, a bad one. The first item of a quoted text may be a
# quote itself; an unfinished one takes all that follows.
_TOKEN: Final = re.compile(
    r"""((?:[ \t\r\n]++|\#[^\n]*+)*+)
    (?: ( [A-Za-z0-9!$%&'*+\-/=?^_`{|}~.@\u0100-\U0010ffff]++
        | [,:()]
        | [<>]=?
        | "(?:\\.|[^\\])(?:\\.|[^"\\])*+" )
      | (".*|.)
      | \Z )""",
    re.DOTALL | re.VERBOSE,
)

Token = tuple[str, str, int]
"""Kind, text, offset in code points. The kind of a keyword or a sign is its text."""


def scan(text: str) -> list[Token]:
    """Return the tokens of a text, the last of them END."""
    tokens: list[Token] = []
    add, kind_of, position = tokens.append, _KINDS.get, 0
    for gap, good, bad in _TOKEN.findall(text):
        position += len(gap)
        if good:
            add((kind_of(good, NAME), good, position))
            position += len(good)
        elif bad:
            add((INVALID, bad, position))
            position += len(bad)
    add((END, "", position))
    return tokens


class Places:
    """Offsets into lines and columns, counted as Inspeqtor does.

    Lines count LF only. Columns count code points from 1, but a tab counts 4 and CR starts anew.
    """

    def __init__(self, text: str) -> None:
        self._lines = [found.end() for found in re.finditer("\n", text)]
        self._resets = [0, *(found.end() for found in re.finditer("[\r\n]", text))]
        self._tabs = [found.start() for found in re.finditer("\t", text)]

    def line(self, offset: int) -> int:
        """Return the line, from 1."""
        return bisect_right(self._lines, offset) + 1

    def column(self, offset: int) -> int:
        """Return the column, from 1."""
        start = self._resets[bisect_right(self._resets, offset) - 1]
        tabs = bisect_right(self._tabs, offset - 1) - bisect_right(self._tabs, start - 1)
        return 1 + offset - start + 3 * tabs
