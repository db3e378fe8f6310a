"""PURE: what is told of a server that failed, in one line, short and without secrets."""

import base64
import errno
import re
import ssl
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

LONGEST: Final = 300  # characters of a server's own words


class ProbeFailed(Exception):
    """A server could not be read. str() says in one line why, and the mend; never a secret."""


_ERRNO: Final = {
    errno.ECONNREFUSED: "connection refused; is it running, and are the host and port right?",
    errno.ENOENT: "there is no such socket; is it running, and is the path right?",
    errno.EACCES: "no right to connect; let the user of steadyd use the socket",
    errno.ECONNRESET: "it broke the connection off; is this another server?",
    errno.EPIPE: "it broke the connection off; is this another server?",
}


def line(text: str | bytes) -> str:
    """Return a server's words as one short printable line."""
    if isinstance(text, bytes):
        text = text[: 4 * LONGEST].decode("utf-8", "replace")
    text = " ".join(text[: 4 * LONGEST].split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def why(error: BaseException) -> str:
    """Return why a server could not be read, from whatever was raised."""
    match error:
        case ProbeFailed():
            return line(str(error))
        case ssl.SSLCertVerificationError():
            return f"its certificate is not good: {line(error.verify_message)}"
        case ssl.SSLError():
            return f"TLS failed: {line(error.reason or str(error))}; does it speak TLS there?"
        case EOFError():
            return "it closed the connection before it had answered; is this another server?"
        case OSError() if error.errno in _ERRNO:
            return _ERRNO[error.errno]
        case OSError():
            return line(error.strerror or str(error) or type(error).__name__)
        case _:
            kind = type(error).__name__
            return f"its answer makes no sense ({kind}: {line(str(error))}); is it another server?"


def shown(endpoint: str) -> str:
    """Return an endpoint without what may be secret: its user and its query."""
    scheme, slashes, rest = endpoint.partition("://")
    if slashes and "@" in rest:  # a password may hold what a URL must not: all before is hidden
        rest = f"***@{rest.rpartition('@')[2]}"
    place, mark, _ = (scheme + slashes + rest).partition("#")[0].partition("?")
    return f"{place}?***" if mark else place


def hidden(text: str, username: str, password: str) -> str:
    """Return a text without the password, also where a server wrote it back in another form."""
    if not password:
        return text
    raw = password.encode("utf-8", "surrogateescape")
    basic = f"{username}:{password}".encode("utf-8", "surrogateescape")
    forms = {password, quote(raw), quote(raw, safe=""), quote_plus(raw), repr(password)[1:-1]}
    forms |= {base64.b64encode(raw).decode(), base64.b64encode(basic).decode(), line(password)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,4})?", re.ASCII)


def number(text: str) -> float | None:
    """Return the number that a text is, None: it is none. Too large a one is infinite."""
    return float(text) if _NUMBER.fullmatch(text) else None


def value(text: str) -> float | str:
    """Return the number that a text is, or the reason why it is none."""
    found = number(text)
    return f"the server says {line(text)!r}, which is no number" if found is None else found


def numbers(pairs: Iterable[tuple[str, str]], names: frozenset[str]) -> dict[str, float | str]:
    """Return of a server's pairs what is a number, and of `names` also why one is none."""
    found: dict[str, float | str] = {}
    for name, text in pairs:
        one = value(text)
        if name in names or not isinstance(one, str):
            found[name] = one
    return found


def count(value: object) -> float | str:
    """Return the number that a JSON value is (true is 1), or the reason why it is none."""
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return "the server's number is too large"
    return "the server does not report it" if value is None else "the server says no number"


def ratio(part: float | str, whole: float | str) -> float | str:
    """Return a part of a whole in percent, or the reason why there is none."""
    if isinstance(part, str):
        return part
    if isinstance(whole, str):
        return whole
    return 100.0 * part / whole if whole > 0 else "there is no limit to hold it against"
