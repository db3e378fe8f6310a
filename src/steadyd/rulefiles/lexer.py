"""PURE: rule text into tokens, by the words of inspeqtor.md section 1.

White space and comments (which may end the file without a newline) separate tokens and have no
other meaning. The time is linear in the length of the text, whatever the text.
"""

import re
from bisect import bisect_right
from itertools import accumulate, compress, repeat
from operator import sub
from typing import Final, NamedTuple

KEYWORDS: Final = frozenset(
    ("check", "service", "host", "expose", "restart", "reload", "alert", "with", "if", "then")
) | {"for", "cycles"}

NAME: Final = "name"
OPERATOR: Final = "operator"
INVALID: Final = "invalid"
END: Final = "end"
COMMENT: Final = "comment"

_BLANKS: Final = " \t\r\n"
_LETTER: Final = r'[^\x00-\x20"#(),:;<>\[\\\]\x7f-\xff]'
# The first item of a quoted text may be a quote itself; an unfinished one takes all that follows.
_QUOTED: Final = re.compile(r'"(?:\\.|[^\\])(?:\\.|[^"\\])*+"', re.DOTALL)
_PIECE: Final = re.compile(
    rf"""[{_BLANKS}]*+ (?: {_LETTER}++ | [,:()] | [<>]=? | {_QUOTED.pattern}
                         | \#[^\n]*+ | ".* | . | \Z )""",
    re.DOTALL | re.VERBOSE,
)

# By the whole piece, else by its first character.
_KINDS: Final = (
    {char: INVALID for char in map(chr, range(256)) if not re.match(_LETTER, char)}
    | {word: word for word in (*KEYWORDS, ",", ":", "(", ")")}
    | dict.fromkeys(("<", ">", "<=", ">="), OPERATOR)
    | {'"': NAME, "#": COMMENT, "": END}
)


class Tokens(NamedTuple):
    """The tokens of a text, the last of them END: kinds, texts, offsets in code points.

    The kind of a keyword or a sign is its text.
    """

    kinds: list[str]
    texts: list[str]
    starts: list[int]


def scan(text: str, *, comments: bool = False) -> Tokens:
    """Return the tokens of a text, with `comments` also those."""
    pieces = _PIECE.findall(text)
    texts = list(map(str.lstrip, pieces, repeat(_BLANKS)))
    starts = list(map(sub, accumulate(map(len, pieces)), map(len, texts)))
    kind_of = _KINDS.get
    kinds = [kind_of(text) or kind_of(text[:1], NAME) for text in texts]
    if len(texts) > 1 and texts[-2][:1] == '"' and not _QUOTED.fullmatch(texts[-2]):
        kinds[-2] = INVALID
    if COMMENT in kinds and not comments:
        wanted = [kind != COMMENT for kind in kinds]
        kinds, texts = list(compress(kinds, wanted)), list(compress(texts, wanted))
        starts = list(compress(starts, wanted))
    return Tokens(kinds, texts, starts)


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
