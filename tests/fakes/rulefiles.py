"""Rule texts for tests: `§` marks the places where something has to be reported."""

from collections.abc import Collection, Iterable

from steadyd.model.rule import RuleSet
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.compile import Compiled, compile_file
from steadyd.rulefiles.diagnostics import Diagnostic
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.merge import merge
from steadyd.rulefiles.parser import parse

MARK = "§"


def unmark(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without its marks, and line and column of each (no tabs, no CR)."""
    plain, places = "", []
    for part in text.split(MARK)[:-1]:
        plain += part
        places.append((plain.count("\n") + 1, len(plain) - plain.rfind("\n")))
    return text.replace(MARK, ""), places


def compiled(text: str, routes: Collection[str] | None = None, path: str = "a.inq") -> Compiled:
    """Return what a text that has no syntax error means."""
    file = parse(text)
    assert not file.bad, file.diagnostics
    return compile_file(path, file, Known(CATALOGUE, routes))


def rules(*texts: str) -> RuleSet:
    """Return the rules of some files a.inq, b.inq, … together."""
    return merge(
        compiled(text, path=f"{name}.inq") for name, text in zip("abcdef", texts, strict=False)
    ).rules


def places(diagnostics: Iterable[Diagnostic]) -> list[tuple[int, int]]:
    """Return line and column of each."""
    return [(each.line, each.column) for each in diagnostics]
