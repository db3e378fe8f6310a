"""The rules of Grafana's dashboard-linter for Prometheus, and some of our own (with a plus sign).

Exceptions stand in `.lint` beside the boards, in the form of dashboard-linter:
`exclusions: {rule: {reason: …, entries: [{dashboard: …, panel: …}]}}`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from grafana_foundation_sdk.models import units

from tests.dashboards.grafana import Board, panels

VALUES = ("stat", "table", "timeseries", "bargauge")
UNITS = frozenset(
    value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)
)
SOURCE = "${datasource}"


class Fault(NamedTuple):
    """A rule that is broken, where and how."""

    rule: str
    text: str
    panel: str = ""


def faults(board: Board) -> Iterator[Fault]:
    """Yield what is wrong with a board."""
    yield from _frame(board)
    yield from _variables(board)
    for panel in panels(board):
        yield from _panel(panel)
        for target in panel.get("targets") or ():
            for rule, text in _target(board, target["expr"]):
                yield Fault(rule, text, panel["title"])
            if panel["type"] == "timeseries" and target.get("legendFormat") in (None, "__auto"):
                yield Fault("+legend", "no legend", panel["title"])


def excluded(folder: Path) -> Mapping[str, Any]:
    """Read the exceptions of a folder."""
    found: Mapping[str, Any] = yaml.safe_load((folder / ".lint").read_text())["exclusions"]
    assert all(rule.get("reason") for rule in found.values())
    return found


def entries(exclusions: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the exceptions as (rule, board, panel)."""
    return [
        (rule, entry["dashboard"], entry["panel"])
        for rule, each in exclusions.items()
        for entry in each["entries"]
    ]


def _frame(board: Board) -> Iterator[Fault]:
    if board.get("editable") is not False:
        yield Fault("uneditable-dashboard", "a board that is kept as code can be edited")
    if not board.get("uid"):
        yield Fault("+uid", "no uid: links break")
    if board.get("id", 0) is not None:
        yield Fault("+id", "the id must be null in a file")
    ids = Counter(panel.get("id") for panel in panels(board, rows=True))
    for number, times in ids.items():
        if times > 1 or not number:
            yield Fault("+panel-id", f"{times} panels have the id {number}")


def _variables(board: Board) -> Iterator[Fault]:
    listed = board["templating"]["list"]
    by_name = {each["name"]: each for each in listed}
    sources = [each for each in listed if each["type"] == "datasource"]
    if [(s["name"], s["label"]) for s in sources] != [("datasource", "Data source")]:
        yield Fault("template-datasource-rule", "not one variable `datasource`, `Data source`")
    for name in ("job", "instance"):
        rule, each = f"template-{name}-rule", by_name.get(name)
        if each is None:
            yield Fault(rule, f"no variable ${name}")
            continue
        if not each.get("multi") or each.get("allValue") != ".+":
            yield Fault(rule, f"${name} must take several values, and `.+` for all")
        if each["label"].lower() != name:
            yield Fault(rule, f"${name} is labelled {each['label']!r}")
    for each in listed:
        if each["type"] != "query":
            continue
        if each.get("refresh") != 2:
            yield Fault("template-on-time-change-reload-rule", f"${each['name']} is not refreshed")
        if each["datasource"]["uid"] != SOURCE:
            yield Fault("template-datasource-rule", f"${each['name']} has a source of its own")


def _panel(panel: Mapping[str, Any]) -> Iterator[Fault]:
    title, kind = panel.get("title") or f"id {panel.get('id')}", panel["type"]
    if not panel.get("title") or not panel.get("description"):
        yield Fault("panel-title-description-rule", "no title or no description", title)
    for each in (panel, *(panel.get("targets") or ())):
        if (each.get("datasource") or {}).get("uid") != SOURCE:
            yield Fault("panel-datasource-rule", "the source is not the variable", title)
    if not panel.get("targets"):
        yield Fault("panel-no-targets-rule", "no query", title)
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults.get("unit", "")
    if kind in VALUES and unit not in UNITS and not unit.startswith("suffix:"):
        yield Fault("panel-units-rule", f"unknown unit {unit!r}", title)
    if "noValue" not in defaults:
        yield Fault("+no-value", "nothing is said where there is no value", title)
    place = panel["gridPos"]
    if place["x"] + place["w"] > 24:
        yield Fault("+grid", "wider than the board", title)


def _target(board: Board, expr: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"\b(by|without|on|group_left|group_right)\s*\([^)]*\)", " ", expr)
    for name in ("job", "instance"):
        for metric, matchers in _SELECTOR.findall(text):
            if f'{name}=~"${name}"' not in matchers:
                yield f"target-{name}-rule", f"{metric} is not limited to ${name}"
    bare = _QUOTED.sub('""', re.sub(r"\{[^}]*\}", "{}", text))
    for metric in re.findall(r"\b(?:steadyd|process)_\w+(?!\w|\{)", bare):
        yield "target-job-rule", f"{metric} has no matchers"
    for function, window in _RANGE.findall(text):
        if window != "$__rate_interval":
            yield "target-rate-interval-rule", f"{function}[{window}], not [$__rate_interval]"
    for match in re.finditer(r"\bsteadyd_\w+_total\b", text):
        if not re.search(r"\b(rate|increase|changes)\s*\([^()]*$", text[: match.start()]):
            yield "target-counter-agg-rule", f"{match[0]} outside of rate, increase, changes"
    names = {each["name"] for each in board["templating"]["list"]}
    for name in re.findall(r"\$\{?(\w+)", expr):
        if not name.startswith("__") and name not in names:
            yield "+undefined-variable", f"${name}"


_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_RANGE = re.compile(r"\b(rate|increase)\s*\([^\[\]]*\[([^\]]+)\]")
