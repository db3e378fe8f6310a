"""What Grafana does to a board before it asks Prometheus: variables, intervals, interpolation."""

import http.client
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

POINTS = 200  # that a panel is wide
USUAL_SCRAPE = 15.0  # what the intervals that are written in the boards are meant for
Board = Mapping[str, Any]


class PrometheusError(Exception):
    """Prometheus refused a question; the text is its reason."""


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus at a URL, scraping every `scrape` seconds."""

    url: str
    scrape: float

    def ask(self, path: str, **params: str | float) -> Any:
        """Return `data` of an answer of its API. Raises PrometheusError."""
        place = urlsplit(self.url)
        assert place.hostname
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        try:
            query = urlencode({name.replace("match", "match[]"): v for name, v in params.items()})
            connection.request("GET", f"/api/v1/{path}?{query}")
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        try:
            told = json.loads(body)
        except ValueError:
            raise PrometheusError(f"HTTP {answer.status}: {body[:200]!r}") from None
        if told["status"] != "success":
            raise PrometheusError(told.get("error", "no reason given"))
        return told["data"]

    def known(self) -> frozenset[str]:
        """Return the names of all metrics."""
        return frozenset(self.ask("label/__name__/values"))


@dataclass(frozen=True)
class Variable:
    """A variable with its values; `raw` stands for all of them as it is."""

    values: Sequence[str]
    multi: bool = False
    raw: str = ""


@dataclass(frozen=True)
class Series:
    """The labels of one series and its points (seconds, value)."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass
class View:
    """A board as it is looked at: the time range, and what is chosen.

    Intervals of panels are meant for a scrape every 15 s; they are scaled to the one that is.
    """

    prometheus: Prometheus
    start: float
    end: float
    variables: dict[str, Variable] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def step(self, least: str = "") -> float:
        """Return $__interval in seconds for a panel with this lowest interval."""
        scale = self.prometheus.scrape / USUAL_SCRAPE
        wide = (self.end - self.start) / POINTS
        return float(max(1, round(max(wide, self.prometheus.scrape, seconds(least) * scale))))

    def filled(self, text: str, step: float) -> str:
        """Return the text with its variables filled in; what is not defined stays."""
        rate = max(step + self.prometheus.scrape, 4 * self.prometheus.scrape)
        wide = self.end - self.start
        own = {
            "__interval": f"{step:.0f}s",
            "__interval_ms": f"{step * 1000:.0f}",
            "__rate_interval": f"{rate:.0f}s",
            "__rate_interval_ms": f"{rate * 1000:.0f}",
            "__range": f"{wide:.0f}s",
            "__range_s": f"{wide:.0f}",
        }

        def value(match: re.Match[str]) -> str:
            name = match["braced"] or match["bare"]
            if name in own:
                return own[name]
            if name not in self.variables:
                return match[0]
            variable = self.variables[name]
            return variable.raw or _written(variable)

        return _VARIABLE.sub(value, text)

    def choose(self, board: Board, only: Mapping[str, str]) -> None:
        """Find the values of the variables, in their order; `only` narrows some to one."""
        for each in board["templating"]["list"]:
            name = each["name"]
            if each["type"] == "datasource":
                self.variables[name] = Variable(["prometheus"])
                continue
            values = self.label_values(each["query"]["query"])
            if not values:
                self.problems.append(f"${name} has no values")
            multi = bool(each.get("multi"))
            if name in only or not multi:
                values = [value for value in values if value == only.get(name, values[0])]
            raw = each.get("allValue", "") if multi and name not in only else ""
            self.variables[name] = Variable(values, multi, raw)

    def label_values(self, query: str) -> list[str]:
        """Answer `label_values(selector, label)`."""
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert match, f"only label_values(selector, label) is understood: {query}"
        selector = self.filled(match[1], self.step())
        path = f"label/{match[2]}/values"
        return list(
            self.prometheus.ask(path, match=selector, start=self.start, end=self.end),
        )

    def run(self, query: "Query") -> list[Series]:
        """Run it as its panel would. Raises PrometheusError."""
        step = self.step(query.interval)
        text = self.filled(query.expr, step)
        if query.instant:
            data = self.prometheus.ask("query", query=text, time=self.end)
        else:
            first = math.ceil(self.start / step) * step
            data = self.prometheus.ask(
                "query_range", query=text, start=first, end=self.end, step=step
            )
        if data["resultType"] == "scalar":
            return [Series({}, [_point(data["result"])])]
        return [
            Series(each["metric"], [_point(p) for p in each.get("values") or [each["value"]]])
            for each in data["result"]
        ]


@dataclass(frozen=True)
class Query:
    """One expression of a board and where it stands."""

    board: str
    place: str
    expr: str
    instant: bool = False
    interval: str = ""
    legend: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.board}, {self.place}: {self.expr}"


def queries(board: Board) -> Iterator[Query]:
    """Yield what a board asks: in its panels, those of collapsed rows too, and annotations."""
    for panel in panels(board):
        for target in panel.get("targets") or ():
            yield Query(
                board["title"],
                f"{panel['title']} {target['refId']}",
                target["expr"],
                instant=bool(target.get("instant")),
                interval=panel.get("interval") or "",
                legend=target.get("legendFormat") or "",
                kind=panel["type"],
            )
    for annotation in board["annotations"]["list"]:
        yield Query(board["title"], f"annotation {annotation['name']}", annotation["expr"])


def panels(board: Board, *, rows: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the panels of a board, those of collapsed rows too; with the rows if wanted."""
    for panel in board["panels"]:
        if rows or panel["type"] != "row":
            yield panel
        yield from panel.get("panels") or ()


def legend(text: str, labels: Mapping[str, str]) -> str:
    """Write the name of a series as Grafana does."""
    if text in ("", "__auto"):
        rest = ", ".join(f'{k}="{v}"' for k, v in labels.items() if k != "__name__")
        return f"{labels.get('__name__', '')}{{{rest}}}"
    return _LABEL.sub(lambda match: labels.get(match[1], ""), text)


def labels_of(text: str) -> frozenset[str]:
    """Return the labels that a legend names."""
    return frozenset(_LABEL.findall(text))


def metrics_of(expr: str) -> frozenset[str]:
    """Return the metrics that an expression names: ours and those that are recorded."""
    words = frozenset(_WORD.findall(_RANGE.sub("[]", _QUOTED.sub('""', expr))))
    return frozenset(w for w in words if w.startswith(("steadyd_", "process_")) or ":" in w)


def seconds(text: str) -> float:
    """Return the length of a duration such as `1m`, 0 for none."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0


def view(prometheus: Prometheus, span: float) -> View:
    """Look at the last `span` seconds."""
    end = time.time()
    return View(prometheus, end - span, end)


_VARIABLE = re.compile(r"\$\{(?P<braced>\w+)(?::\w+)?\}|\$(?P<bare>\w+)")
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_WORD = re.compile(r"[a-zA-Z_:][\w:]*")
_SPECIAL = re.compile(r"([\\^$.|?*+()\[\]{}/])")


def _written(variable: Variable) -> str:
    """Write the values as the Prometheus data source does: for `=~` where there may be many."""
    if not variable.multi:
        return "".join(v.replace("\\", "\\\\").replace('"', '\\"') for v in variable.values[:1])
    escaped = [_SPECIAL.sub(r"\\\\\1", value) for value in variable.values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
