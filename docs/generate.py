"""Writes what the pages say of commands and metrics: from the parser, the catalogue, /metrics.

A page holds `<!-- made: NAME -->`, what is made, and `<!-- end -->`; all else is written by hand.
`make docs` runs it, and a test holds the pages to it.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).resolve().parent
ROOT: Final = DOCS.parent
sys.path[:0] = [str(ROOT / "src")]

from steadyd.cli import COMMANDS, whole  # noqa: E402 - found beside this file
from steadyd.model.metric import Dimension, Metric, Subject  # noqa: E402
from steadyd.probes.catalogue import CATALOGUE  # noqa: E402
from steadyd.probes.names import FAMILIES  # noqa: E402
from steadyd.rulefiles import editing  # noqa: E402

GOLDEN: Final = ROOT / "tests/golden/metrics.prom"
_MADE: Final = re.compile(r"(<!-- made: ([^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)
_EMPTY: Final = "<!-- made: {} -->\n<!-- end -->\n"
_LABEL: Final = re.compile(r'([a-z_]+)="')


class GenerateError(Exception):
    """A page asks for what nobody makes, or lacks what it must have; str() is one clear line."""


def page(name: str) -> str:
    """Return the text of a page with its made parts as they are to be. Raises GenerateError."""
    text = (DOCS / name).read_text("utf-8")
    asked = {found[2] for found in _MADE.finditer(text)}
    for part in PAGES[name]:
        if part in COMMANDS and part not in asked:  # a new one: its section is to be moved and told
            text += f"\n## steadyd {part}\n\n{_sentence(COMMANDS[part])}\n\n{_EMPTY.format(part)}"
        elif part not in asked:
            raise GenerateError(f"docs/{name}: nowhere stands <!-- made: {part} -->")

    def renewed(found: re.Match[str]) -> str:
        if found[2] not in PAGES[name]:
            raise GenerateError(f"docs/{name}: nobody makes `{found[2]}`")
        return f"{found[1]}\n{PAGES[name][found[2]]().strip()}\n\n{found[3]}"

    return _MADE.sub(renewed, text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# commands


def _command(name: str) -> Callable[[], str]:
    def make() -> str:
        parser: argparse.ArgumentParser = _subparsers(whole())[name]
        verbs = _subparsers(parser)
        return "\n\n".join(_usage(each) for each in (verbs.values() if verbs else (parser,)))

    return make


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _usage(parser: argparse.ArgumentParser) -> str:
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    rows = [(_shown(action), action.help or "") for action in actions]
    words = " ".join(filter(None, (_word(action) for action in actions)))
    more = " [OPTIONS]" if any(action.option_strings for action in actions) else ""
    usage = f"```text\n{parser.prog}{more} {words}".rstrip() + "\n```"
    return f"{usage}\n\n{_table(('option', 'meaning'), rows)}" if rows else usage


def _word(action: argparse.Action) -> str:
    if action.option_strings:
        return ""
    name = _value(action)
    return {"?": f"[{name}]", "*": f"[{name}…]", "+": f"{name}…"}.get(str(action.nargs), name)


def _shown(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_value(action)}`"
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return f"`{', '.join(action.option_strings)}{value}`"


def _value(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return f"{{{','.join(map(str, action.choices))}}}"
    return str(action.metavar or action.dest.upper())


# metrics that rules name


def _families(subject: Subject, servers: bool) -> Callable[[], str]:
    def make() -> str:
        some = [
            metric
            for metric in CATALOGUE.metrics
            if metric.subject is subject and (metric.id.family in FAMILIES) is servers
        ]
        some.sort(key=lambda metric: metric.id.family)
        title = "of the host" if subject is Subject.HOST else "of a service"
        parts = []
        for family, metrics in groupby(some, key=lambda metric: metric.id.family):
            head = f"### {family}" if servers else f"### {family} {title}"
            where = f"\n\n{_where(family)}" if servers else ""
            parts.append(f"{head}{where}\n\n{_metrics(metrics)}")
        return "\n\n".join(parts)

    return make


def _metrics(metrics: Iterable[Metric]) -> str:
    rows = [
        (f"`{each.id}`", _unit(each), each.help)
        for each in sorted(metrics, key=lambda metric: metric.id)
    ]
    return _table(("metric", "is read as", "meaning"), rows)


def _unit(metric: Metric) -> str:
    if metric.dimension is Dimension.COUNT:
        return "gain" if metric.gains else "number"
    return f"gain of {metric.dimension}" if metric.gains else str(metric.dimension)


def _where(family: str) -> str:
    file = family.replace("-", "")
    where = importlib.import_module(f"steadyd.probes.daemons.{file}").DEFAULTS
    given = [
        f"{key} {value}"
        for key in ("socket", "hostname", "port", "username", "endpoint", "database")
        if (value := getattr(where, key))
    ]
    return f"Asked at, unless told otherwise: `with {', '.join(given)}`."


# the language


def _words(known: Mapping[str, str], head: str) -> Callable[[], str]:
    rows = [(f"`{word}`", text) for word, text in known.items()]
    return lambda: _table((head, "meaning"), rows)


# /metrics


def _published() -> str:
    rows: list[tuple[str, ...]] = []
    labels: dict[str, dict[str, None]] = {}
    lines = GOLDEN.read_text("utf-8").splitlines()
    for line in lines:
        name, brace, rest = line.partition("{")
        if brace and not line.startswith("#"):
            labels.setdefault(name, dict.fromkeys(_LABEL.findall(rest.rpartition("}")[0])))
    for line, kind in pairwise(lines):
        if line.startswith("# HELP "):
            name, _, text = line.removeprefix("# HELP ").partition(" ")
            kind = kind.rpartition(" ")[2]
            some = labels.get(f"{name}_bucket" if kind == "histogram" else name, {})
            shown = ", ".join(f"`{label}`" for label in some if label != "le")
            rows.append((f"`{name}`", kind, shown, text))
    return _table(("metric", "type", "labels", "meaning"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(map(_row, (heads, ("---" for _ in heads), *rows)))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


PAGES: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "commands.md": {name: _command(name) for name in COMMANDS},
    "metrics.md": {
        "service": _families(Subject.SERVICE, servers=False),
        "host": _families(Subject.HOST, servers=False),
        "servers": _families(Subject.SERVICE, servers=True),
        "prometheus": _published,
    },
    "rules.md": {
        "parameters": _words(editing.KEYS, "parameter"),
        "events": _words(editing.EVENTS, "event"),
        "actions": _words(editing.ACTIONS, "action"),
    },
}


def main() -> int:
    """Write the pages."""
    try:
        for name in PAGES:
            (DOCS / name).write_text(page(name), "utf-8")
    except GenerateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
