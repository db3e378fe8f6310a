"""Whether each expression of a board finds something in a Prometheus, and says it legibly."""

import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.dashboards.grafana import (
    Board,
    Prometheus,
    PrometheusError,
    Query,
    Series,
    labels_of,
    legend,
    metrics_of,
    queries,
    view,
)

UNMEASURED = Path(__file__).with_name("unmeasured.toml")


@dataclass(frozen=True)
class Unmeasured:
    """What the story cannot bring about: a text within expressions, and the reason."""

    text: str
    why: str


def unmeasured() -> Sequence[Unmeasured]:
    """Read the list."""
    table = tomllib.loads(UNMEASURED.read_text())
    return [Unmeasured(each["text"], each["why"]) for each in table.get("unmeasured", [])]


def check(
    prometheus: Prometheus, board: Board, span: float, chosen: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[Query]]:
    """Run all queries of a board for each choice of variables.

    Returns what is wrong, and the queries that found nothing with any choice.
    """
    wrong: list[str] = []
    problems = Counter[str]()
    empty = Counter[Query]()
    for only in chosen:
        seen = view(prometheus, span)
        seen.choose(board, only)
        problems.update(f"{board['title']}: {problem}" for problem in seen.problems)
        for query in queries(board):
            left = [v for v in ("${", "$") if v in seen.filled(query.expr, 1)]
            if left:
                wrong.append(f"{query}: a variable that is not defined")
            try:
                found = seen.run(query)
            except PrometheusError as error:
                wrong.append(f"{query}: {error}")
                continue
            wrong += (f"{query}: {what}" for what in faults(query, found))
            empty[query] += not _any(found)
    wrong += (text for text, times in problems.items() if times == len(chosen))
    known = prometheus.known()
    missing = [query for query, times in empty.items() if times == len(chosen)]
    for query in empty:
        strange = sorted(metrics_of(query.expr) - known)
        if strange and query not in missing:
            wrong.append(f"{query}: no such metric: {', '.join(strange)}")
    return list(dict.fromkeys(wrong)), missing


def faults(query: Query, found: Sequence[Series]) -> Iterator[str]:
    """Yield what would be hard to read: a label that is not there, series of one name."""
    if not found or query.kind in ("table", "annotation", ""):
        return
    have = frozenset(label for series in found for label in series.labels)
    for label in sorted(labels_of(query.legend) - have):
        yield f"the legend names {label}, which no series has"
    names = Counter(legend(query.legend, series.labels) for series in found)
    for name, times in names.items():
        if times > 1:
            yield f"{times} series share the name {name!r}"


def unexplained(
    missing: Iterable[Query], listed: Sequence[Unmeasured]
) -> tuple[list[str], list[str]]:
    """Return the empty queries that nothing in the list explains, and what it lists for nothing."""
    missing = list(missing)
    silent = [f"{q}: finds nothing" for q in missing if not any(u.text in q.expr for u in listed)]
    stale = [u.text for u in listed if not any(u.text in query.expr for query in missing)]
    return silent, stale


def _any(found: Sequence[Series]) -> bool:
    return any(not math.isnan(value) for series in found for _, value in series.points)
