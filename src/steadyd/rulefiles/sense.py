"""PURE: what is always or never true by its own text, whatever will be measured."""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final, NamedTuple

from steadyd.model.condition import (
    UP,
    All,
    Any,
    Comparison,
    Condition,
    Function,
    Not,
    Operator,
)
from steadyd.model.metric import Dimension, Kind, Metric, MetricId
from steadyd.rulefiles.diagnostics import printable

_SHARES: Final = frozenset(("disk", "swap", "pressure"))
_OURS: Final = _SHARES | {"memory", "cpu", "process", "init", "io", "load", "net"}
_MOST: Final = 50  # comparisons of one value that are held against each other
_OPPOSITE: Final = {
    Operator.ABOVE: Operator.AT_MOST,
    Operator.AT_MOST: Operator.ABOVE,
    Operator.BELOW: Operator.AT_LEAST,
    Operator.AT_LEAST: Operator.BELOW,
    Operator.EQUAL: Operator.UNEQUAL,
    Operator.UNEQUAL: Operator.EQUAL,
}


class Span(NamedTuple):
    """The least and the greatest value that there can be."""

    low: float = -inf
    high: float = inf

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}" if self.high < inf else "never below 0"


Claim = tuple[Operator, float]


def span(metric: Metric, id: MetricId, function: Function | None) -> Span:
    """Return between which values a metric, or what is made of its history, stays."""
    counter = metric.kind is Kind.COUNTER
    if id.family not in _OURS or (function in (Function.DELTA, Function.RATE) and not counter):
        return Span()
    if id == UP:
        return Span(0, 1)
    share = id.family in _SHARES or id.name.endswith("_ratio")
    return Span(0, 100 if share and metric.dimension is Dimension.PERCENT else inf)


def possible(claims: Sequence[Claim], within: Span) -> bool:
    """Tell whether one value can fulfil all claims."""
    low, high = within
    low_is_out = high_is_out = False
    unequal = set()
    for operator, limit in claims:
        if operator is Operator.UNEQUAL:
            unequal.add(limit)
        if operator in (Operator.ABOVE, Operator.AT_LEAST, Operator.EQUAL) and limit >= low:
            low_is_out = (low_is_out and limit == low) or operator is Operator.ABOVE
            low = limit
        if operator in (Operator.BELOW, Operator.AT_MOST, Operator.EQUAL) and limit <= high:
            high_is_out = (high_is_out and limit == high) or operator is Operator.BELOW
            high = limit
    if low == high:
        return not (low_is_out or high_is_out or low in unequal)
    return low < high


def of_comparison(compared: Comparison, within: Span) -> str:
    """Return what is odd in one comparison, "" if nothing is."""
    operator, limit = compared.operator, compared.amount.value
    if not possible([(operator, limit)], within):
        return f"{_shown(compared)} is never true: {compared.metric} is {within}"
    if not possible([(_OPPOSITE[operator], limit)], within):
        return f"{_shown(compared)} is always true: {compared.metric} is {within}"
    return ""


def of_joined(joined: All | Any) -> Iterator[tuple[int, str]]:
    """Yield the number of a term and what is odd in it together with those before it."""
    together = isinstance(joined, All)
    seen: set[str] = set()
    claims: dict[object, list[tuple[Claim, Condition]]] = {}
    odd: set[object] = set()
    for number, term in enumerate(joined.terms):
        text = term.canonical()
        if text in seen:
            yield number, f"{_shown(term)} stands here twice"
            continue
        seen.add(text)
        opposite = text.removeprefix("not ") if isinstance(term, Not) else f"not {text}"
        found = _claim(term)
        if found is None:
            if opposite in seen:
                yield number, _verdict([term, _negated(term)], together)
            continue
        subject, claim = found
        known = claims.setdefault(subject, [])
        known.append((claim if together else (_OPPOSITE[claim[0]], claim[1]), term))
        if subject in odd or len(known) > _MOST or possible([each for each, _ in known], Span()):
            continue
        odd.add(subject)
        if all(possible([each], Span()) for each, _ in known):
            yield number, _verdict([each for _, each in known], together)


def _claim(term: Condition) -> tuple[object, Claim] | None:
    negated = isinstance(term, Not)
    if isinstance(term, Not):
        term = term.term
    if not isinstance(term, Comparison):
        return None
    operator, amount = term.operator, term.amount
    limit = amount.value / amount.per if amount.per else amount.value
    claim = (_OPPOSITE[operator] if negated else operator, limit)
    return (term.metric, term.over, bool(amount.per)), claim


def _negated(term: Condition) -> Condition:
    return term.term if isinstance(term, Not) else Not(term)


def _verdict(terms: Sequence[Condition], together: bool) -> str:
    shown = (" and " if together else " or ").join(map(_shown, terms[:2]))
    more = "" if len(terms) == 2 else " and so on"
    return f"{shown}{more}: " + ("never true together" if together else "always true")


def _shown(term: Condition) -> str:
    return f"`{printable(str(term), 60)}`"
