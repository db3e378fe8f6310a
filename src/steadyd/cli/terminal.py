"""Text for people: columns, colours on a terminal only, nothing that steers the terminal."""

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence

_COLOUR = re.compile(r"\x1b\[\d*m")
_PIECE = re.compile(r"\x1b\[\d*m|.", re.DOTALL)
WIDE = 10_000  # cells of what is no terminal: nothing is cut
_LEAST = 8  # cells that a column keeps

_COLOURS = {
    "active": "32",
    "healed": "32",
    "ok": "32",
    "failed": "31",
    "not_healed": "31",
    "came_back": "31",
    "critical": "31",
    "no right": "31",
    "unknown": "33",
    "warning": "33",
    "open": "33",
}


def plain(line: str) -> str:
    """Return a line with its blanks, without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in line)


def clean(text: object) -> str:
    """Return it on one line, without characters that a terminal would obey."""
    return plain(" ".join(str(text).split()))


def paint(text: str, word: str = "") -> str:
    """Colour a text by what `word` (else the text itself) means, if this is a terminal."""
    colour = _COLOURS.get((word or text).strip())
    if not colour or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def columns() -> int:
    """Return how wide lines may be: the terminal's width; without one nothing is cut."""
    return max(20, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDE


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns; a head that ends with `>` is of numbers.

    On a terminal the widest columns are cut first, never a number. What has no room in the last
    column has lines of its own.
    """
    cells = [[head.removesuffix(">") for head in heads], *([clean(c) for c in r] for r in rows)]
    widths = _widths(heads, cells)
    lines = []
    for number, row in enumerate(cells):
        padded = [
            _padded(cut(cell, wide), wide, right=head.endswith(">"))
            for cell, wide, head in zip(row[:-1], widths, heads[:-1], strict=True)
        ]
        line = "  ".join(padded).rstrip()
        both = f"{'  '.join(padded)}  {row[-1]}".rstrip()
        fits = width(both) <= columns()
        line = cut(both if fits else line, columns())
        lines.append(line if number == 0 else _painted(line, padded))
        lines += [] if fits else fold(f"  {row[-1]}", columns())
    return lines


def _widths(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of all columns but the last: cut, the widest first, until they fit."""
    widths = [max(width(row[i]) for row in cells) for i in range(len(heads) - 1)]
    texts = [i for i, head in enumerate(heads[:-1]) if not head.endswith(">")]
    while sum(widths) + 2 * (len(widths) - 1) > columns():
        widest = max(texts, key=lambda i: widths[i])
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    return widths


def _padded(cell: str, wide: int, *, right: bool) -> str:
    blank = " " * (wide - width(cell))
    return blank + cell if right else cell + blank


def width(text: str) -> int:
    """Return how many cells of a terminal it takes; colours take none."""
    text = _COLOUR.sub("", text)
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, most: int) -> str:
    """Return as much of it as that many cells hold."""
    if width(text) <= most:
        return text
    return f"{_begin(text, most - 1)}…" + ("\x1b[0m" if "\x1b" in text else "")


def fold(text: str, most: int) -> list[str]:
    """Return it in lines of at most that many cells, broken at blanks, the further ones indented.

    A word that is longer than a line is broken too.
    """
    words = re.findall(r"\s*\S+", text)
    indent = " " * min(len(text) - len(text.lstrip()) + 2, most // 3)
    lines, line = list[str](), ""
    for word in words:
        if width(line + word) > most and line.strip():
            lines, line, word = [*lines, line], "", indent + word.lstrip()
        line += word
        while width(line) > most:
            begin = _begin(line, most)
            lines, line = [*lines, begin], indent + line[len(begin) :]
    return [*lines, line]


def _begin(text: str, most: int) -> str:
    kept = ""
    for piece in _PIECE.findall(text):
        if width(kept + piece) > most:
            break
        kept += piece
    return kept


def _painted(line: str, cells: Sequence[str]) -> str:
    for cell in cells[1:]:
        if cell.strip() in _COLOURS:
            return line.replace(f"  {cell}", f"  {paint(cell)}", 1)
    return line
