"""Text for people: columns, colours on a terminal only, nothing that steers the terminal."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence

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
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], most: int = 32) -> list[str]:
    """Return lines with aligned columns; a head that ends with `>` is of numbers.

    Cells are at most `most` characters on a terminal, the last one what is left of its width.
    """
    cells = [[head.removesuffix(">") for head in heads], *([clean(c) for c in r] for r in rows)]
    limit = most if columns() < 10_000 else 10_000
    cells = [[*(cut(cell, limit) for cell in row[:-1]), row[-1]] for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = []
    for number, row in enumerate(cells):
        padded = [
            cell.rjust(width) if head.endswith(">") else cell.ljust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        ]
        line = cut("  ".join(padded).rstrip(), columns())
        lines.append(line if number == 0 else _painted(line, padded))
    return lines


def cut(text: str, width: int) -> str:
    """Return at most `width` characters of it."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _painted(line: str, cells: Sequence[str]) -> str:
    for cell in cells[1:]:
        if cell.strip() in _COLOURS:
            return line.replace(f"  {cell}", f"  {paint(cell)}", 1)
    return line
