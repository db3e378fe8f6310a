"""PURE: what a quoted text means. Most places keep the quotes; parameter values are decoded."""

import re
from typing import Final

_SIMPLE: Final = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))
_ITEM: Final = re.compile(
    r"""([^\\"\n]+)
    | \\(?: ([abfnrtv\\"]) | ([0-7]{3}) | x([0-9A-Fa-f]{2})
          | u([0-9A-Fa-f]{4}) | U([0-9A-Fa-f]{8}) )""",
    re.VERBOSE,
)
NEEDLESS: Final = re.compile(r"[\w.@-]+", re.ASCII)  # names that are words without quotes too
_BROKEN: Final = re.compile("[\ud800-\udfff]")


class BadQuote(ValueError):
    """The text between the quotes is none that Go's string rules know."""


def is_quoted(text: str) -> bool:
    """Tell whether a word was written as a quoted text."""
    return text.startswith('"')


def bare(text: str) -> str:
    """Return a word without the quotes around it, where it is used as a name."""
    return text[1:-1] if is_quoted(text) else text


def decode(text: str) -> str:
    """Return the value of a parameter; quoted text by Go's rules (spec, String literals).

    Bytes that make no UTF-8 (`\\xff`) become U+FFFD. Raises BadQuote.
    """
    if not is_quoted(text):
        return text
    parts: list[bytes] = []
    position, end = 1, len(text) - 1
    while position < end:
        found = _ITEM.match(text, position, end)
        if found is None:
            raise BadQuote(_why(text, position))
        parts.append(_item(found))
        position = found.end()
    return _BROKEN.sub("\ufffd", b"".join(parts).decode("utf-8", "surrogateescape"))


def _item(found: re.Match[str]) -> bytes:
    plain, simple, octal, byte, short, long = found.groups()
    if plain is not None:
        return plain.encode("utf-8")
    if simple is not None:
        return _SIMPLE[simple].encode()
    number = int(octal, 8) if octal else int(byte or short or long, 16)
    if octal or byte:
        if number > 255:
            raise BadQuote(f"\\{octal} is more than a byte")
        return bytes([number])
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise BadQuote(f"U+{number:X} is no character")
    return chr(number).encode("utf-8")


def _why(text: str, position: int) -> str:
    if text[position] == "\n":
        return "a quoted value may not run over a line's end; write \\n"
    if text[position] == '"':
        return 'a quote inside a quoted value is written \\"'
    return f"the escape {text[position : position + 2]!r} is not known"
