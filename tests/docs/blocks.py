"""What stands between fences in what people read, and the commands of steadyd in it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = (README, *sorted((ROOT / "docs").glob("*.md")))

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)(?: title=\"(?P<title>[^\"]*)\")?\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_INLINE: Final = re.compile(r"`(steadyd [^`]+)`")
_ENDS: Final = frozenset("|&;<>()")


class Block(NamedTuple):
    """A fenced block: its page, the line of its fence, its info string and its text."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*languages: str, pages: tuple[Path, ...] = PAGES) -> list[Block]:
    """Return the blocks of these languages, of all pages; without languages all blocks."""
    return [b for page in pages for b in _of(page) if not languages or b.language in languages]


def _of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], found["title"] or "", dedent(found["text"]))


def typed(block: Block) -> list[str]:
    """Return the lines that a person types: all of `sh`, those behind a prompt of `console`."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        return [line[2:] for line in lines if line[:2] in ("$ ", "# ")]
    return [line for line in lines if line and not line.startswith("#")]


def inline(page: Path) -> list[str]:
    """Return the commands that are named in the text of a page, without those with a `…`."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [found[1] for found in _INLINE.finditer(text)]


def commands(line: str) -> list[list[str]]:
    """Return the arguments of each command of steadyd in a line of shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in words:
        if set(word) <= _ENDS:
            simple.append([])
        else:
            simple[-1].append(word)
    return [_arguments(each) for each in simple if "steadyd" in _programs(each)]


def _programs(words: list[str]) -> list[str]:
    """Return the words that may be the program: the first, or the one behind sudo."""
    return words[:1] if words[:1] != ["sudo"] else words[1:2]


def _arguments(words: list[str]) -> list[str]:
    return words[words.index("steadyd") + 1 :]
