"""PURE: what people write who know other tools, and how it is written here."""

from collections.abc import Sequence
from typing import Final

_DOWN: Final = "`down` is true while a service does not run: if down then restart"
_COMMA: Final = "commas stand between steps: then restart, alert"

_FOUND: Final = {
    "&&": "write `and`",
    "&": "write `and`",
    "||": "write `or`",
    "|": "write `or`",
    "=": "write `==`",
    "equals": "write `==`",
    "is": "write `==`",
    "else": "there is no `else`: incidents close, and tell, by themselves; see `until`",
    "process": "write `check service NAME`; for a mere process add `with pidfile PATH`",
    "program": "write `check service NAME`; for a mere process add `with match TEXT`",
    "system": "write `check host`",
    "filesystem": "a disk is a metric of the host: check host if disk:/ > 90% then alert",
    "device": "a disk is a metric of the host: check host if disk:/ > 90% then alert",
    "exist": _DOWN,
    "exists": _DOWN,
}
_UNITS: Final = frozenset(
    ("b", "k", "kb", "m", "mb", "g", "gb", "t", "tb", "p", "%", "ms", "s", "sec", "min", "h", "d")
)
_STEPS: Final = frozenset(("alert", "restart", "reload", "start", "stop", "exec", "signal"))


def mend(words: Sequence[str], at: int, expected: Sequence[str]) -> str:
    """Return how the word at `at` is meant, "" where that is not known.

    `words` are those of the text, the empty one at its end; `expected` what could stand there.
    """
    word, before = words[at], words[at - 1] if at else ""
    behind = words[at + 1] if at + 1 < len(words) else ""
    if "," in expected and "if" in expected:
        return _between_steps(words, at)
    if word == "=" and behind in ("<", ">"):
        return f"write `{behind}=`"
    if before == "<" and word == ">":
        return "write `!=` with a blank before it"
    if word.startswith("=") and len(word) > 1:
        return f"write `== {word.strip('=')}`"
    if before in ("not", "does") and word in ("exist", "exists", "running", "then"):
        return _DOWN
    if behind[:5] in ("exist", "runni") or before[:5] in ("exist", "runni"):
        return _DOWN
    if "then" in expected and word.lower() in _UNITS:
        return f"no blank stands before a unit: {before}{word}"
    if word != word.lower() and word.lower() in (*expected, "and", "or", "not"):
        return f"write `{word.lower()}`"
    return _FOUND.get(word, "")


def _between_steps(words: Sequence[str], at: int) -> str:
    """Tell why a step, or a parameter, does not go on here."""
    word, before = words[at], words[at - 1]
    behind = words[at + 1] if at + 1 < len(words) else ""
    if "else" in (before, word):
        return _FOUND["else"]
    if before == "to" and words[at - 2] == "alert":
        return f"write `alert {word}`"
    if before == "and" and word in _STEPS:
        return f"the word behind `alert` is its route; {_COMMA}"
    if word in _STEPS or (word in ("and", "&&", "then") and behind in _STEPS):
        return _COMMA
    return ""
