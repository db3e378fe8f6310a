"""PURE: what an import makes: files, and what could not be translated."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from steadyd.rulefiles.diagnostics import printable
from steadyd.rulefiles.lexer import KEYWORDS

SETTINGS: Final = "steadyd.toml"
RULES: Final = "rules.d"
LEFT: Final = "not-translated.txt"

_WORD: Final = re.compile(r"[^\x00-\x20\"#(),:;<>\[\\\]\x7f-\xff]+")


class OutFile(Struct, frozen=True):
    """A file to be written, by its name under the folder; a secret one is for its owner only."""

    name: str
    text: str
    secret: bool = False


class Left(Struct, frozen=True):
    """A statement that has no translation, or not a whole one, and why."""

    path: str
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"{printable(self.path)}:{self.line}: {one_line(self.text)}: {one_line(self.why)}"


class Product(Struct, frozen=True):
    """All that an import made. `errors` are ready to print: what could not even be read."""

    files: tuple[OutFile, ...]
    left: tuple[Left, ...] = ()
    errors: tuple[str, ...] = ()


def one_line(text: str, most: int = 200) -> str:
    """Return a text for a comment: one line, nothing that could end it."""
    return printable(" ".join(text.split()), most)


def word(text: str) -> str:
    """Return a name as it is written in a rule, in quotes where it must be."""
    return text if _WORD.fullmatch(text) and text not in KEYWORDS else quoted(text)


def quoted(text: str) -> str:
    """Return a text in quotes, by Go's string rules as the language reads them."""
    names = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(names.get(char) or _escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    return char if char >= " " and char != "\x7f" else f"\\x{ord(char):02x}"


def settings_file(
    rules: str,
    head: Mapping[str, str],
    routes: Mapping[str, Sequence[str]],
    comments: Iterable[str] = (),
) -> list[OutFile]:
    """Return steadyd.toml, and a file beside it for each URL that holds a secret."""
    lines = [f"# {one_line(comment)}" for comment in comments]
    lines += [f"rules = [{json.dumps(rules)}]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in head.items()]
    secrets: list[OutFile] = []
    if routes:
        lines += ["", "[routes]"]
    for name, urls in routes.items():
        written = []
        for url in urls:
            if _is_secret(url):
                secrets.append(OutFile(f"route-{len(secrets) + 1}", url + "\n", secret=True))
                url = f"file:{secrets[-1].name}"
            written.append(url)
        key = name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)
        lines.append(f"{key} = {json.dumps(written)}")
    return [OutFile(SETTINGS, "\n".join(lines) + "\n"), *secrets]


def _is_secret(url: str) -> bool:
    return not url.startswith("mailto://") or "@" in url.partition("?")[0]
